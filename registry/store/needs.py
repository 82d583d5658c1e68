"""What names need: each blob that they reach, with its size as it is written, and who needs it.

A model of several variants may be sparse: only the blobs of some were pulled. Which variants those are is
written nowhere, so it is judged by what is here: of a variant that was not pulled no weights are here and
none are in the quarantine, while another variant of the model has some. That holds for models that were
pulled; what was made here was whole once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, MalformedFile, NotFound, OperationFailed, SlmctlError
from registry.manifest import MAX_INDEX_DEPTH, Descriptor, Index, Manifest
from registry.store.index import Referrer
from registry.store.reader import StoreReader


@dataclass(frozen=True, slots=True, order=True)
class User:
    """Who needs a blob: a name, and the variant's id where it is one variant's. Blank: a nameless entry."""

    name: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """An entry of a table of names. `may_be_sparse` where it was pulled."""

    name: str
    descriptor: Descriptor
    may_be_sparse: bool = False


@dataclass(slots=True, kw_only=True)
class Need:
    """A blob that is needed. `sizes` are the bytes it should have, as written by all who need it.

    `optional`: by variants that were not pulled only. `named` is False when only nameless entries need it.
    """

    digest: Digest
    sizes: set[int] = field(default_factory=set)
    users: set[User] = field(default_factory=set)
    optional: bool = True

    @property
    def named(self) -> bool:
        return any(user.name for user in self.users)

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type="", digest=self.digest, size=max(self.sizes))


@dataclass(slots=True, kw_only=True)
class Needs:
    """All that some names need, as far as their manifests can be read.

    `unread` are manifests that cannot be, of which `malformed` (with the reason) have the right bytes.
    """

    blobs: dict[Digest, Need] = field(default_factory=dict)
    unread: set[Digest] = field(default_factory=set)
    malformed: dict[Digest, str] = field(default_factory=dict)

    def add(self, descriptor: Descriptor, user: User, *, optional: bool = False) -> None:
        need = self.blobs.get(descriptor.digest)
        if need is None:
            need = self.blobs[descriptor.digest] = Need(digest=descriptor.digest)
        need.sizes.add(descriptor.size)
        need.users.add(user)
        need.optional = need.optional and optional


class Walker:
    """Follows names to blobs in one store; remembers the manifests that it has read."""

    def __init__(self, reader: StoreReader, put_aside: Iterable[Digest] = ()) -> None:
        self._reader = reader
        self._put_aside = frozenset(put_aside)
        self._documents: dict[Digest, Manifest | Index] = {}

    def needs_of(self, roots: Iterable[Root]) -> Needs:
        """What `roots` need. Damage does not stop it: see `Needs`."""
        needs = Needs()
        for root in roots:
            self._follow(root, needs)
        return needs

    def with_referrers(self, roots: Sequence[Root], referrers: Iterable[Referrer]) -> Needs:
        """What `roots` need, and what refers to it; a referrer is needed by who needs its subject."""
        needs = self.needs_of(roots)
        about = []
        for each in referrers:
            need = needs.blobs.get(each.subject)
            if need is not None:
                owner = min((user.name for user in need.users if user.name), default="")
                about.append(Root(name=owner, descriptor=each.descriptor))
        return self.needs_of([*roots, *about]) if about else needs

    def _follow(self, root: Root, needs: Needs) -> None:
        user = User(root.name)
        variants: dict[Digest, Manifest] = {}
        seen: set[Digest] = set()
        level = [root.descriptor]
        for _ in range(MAX_INDEX_DEPTH):
            below: list[Descriptor] = []
            for each in level:
                needs.add(each, user)
                if each.digest in seen:
                    continue
                seen.add(each.digest)
                document = self._read(each, needs)
                if isinstance(document, Manifest):
                    variants[each.digest] = document
                elif document is not None:
                    below += document.manifests
            level = below
        if level:
            needs.malformed[root.descriptor.digest] = "it is an image index that is nested too deeply"
            needs.unread.add(root.descriptor.digest)
        left_out = self._not_pulled(variants) if root.may_be_sparse else set()
        for digest, manifest in variants.items():
            named = User(root.name, manifest.annotations.get(mediatypes.SLMCTL_VARIANT, "")[:64])
            for blob in manifest.blobs:
                needs.add(blob, named, optional=digest in left_out)

    def _read(self, descriptor: Descriptor, needs: Needs) -> Manifest | Index | None:
        digest = descriptor.digest
        if digest not in self._documents:
            try:
                status = self._reader.blob_status(digest)
                size = descriptor.size if status is None else status.st_size
                self._documents[digest] = self._reader.manifest(
                    Descriptor(media_type=descriptor.media_type, digest=digest, size=size)
                )
            except MalformedFile as error:
                needs.malformed[digest] = error.message
                needs.unread.add(digest)
            except (BadContent, NotFound, OperationFailed, OSError):
                needs.unread.add(digest)
        return self._documents.get(digest)

    def _not_pulled(self, variants: dict[Digest, Manifest]) -> set[Digest]:
        """The variants of a sparse model whose weights nobody has pulled; none when all are away."""
        if len(variants) < 2:
            return set()
        away = {digest for digest, manifest in variants.items() if not self._has_weights(manifest)}
        return away if len(away) < len(variants) else set()

    def _has_weights(self, manifest: Manifest) -> bool:
        weights = [
            layer.digest
            for layer in manifest.layers
            if layer.media_type == mediatypes.MODELPACK_WEIGHT
            and layer.annotations.get(mediatypes.SLMCTL_ROLE, "weights") == "weights"
        ]
        weights = weights or [layer.digest for layer in manifest.layers]
        return any(digest in self._put_aside or self._has(digest) for digest in weights)

    def _has(self, digest: Digest) -> bool:
        try:
            return self._reader.has(digest)
        except (SlmctlError, OSError):
            return True  # not to know is no leave to call it not pulled
