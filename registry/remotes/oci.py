"""Registries that speak the OCI distribution specification 1.1 (docker-registry, GHCR, Docker Hub, zot,
...)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from registry.digest import Digest
from registry.errors import BadContent, DigestMismatch, NotFound, OperationFailed, SizeMismatch, SlmctlError
from registry.formats.quote import quoted
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest, load_json_object, parse
from registry.names import ModelRef
from registry.remotes import referrers
from registry.remotes.answers import refusal, words_of
from registry.remotes.base import Artifact, Blob, Limits, OpenAt
from registry.remotes.blobs import Blobs
from registry.remotes.connection import Connection
from registry.remotes.documents import ACCEPTED, read_document
from registry.remotes.http import Answer
from registry.remotes.limits import limits_of
from registry.remotes.pages import pages
from registry.remotes.ranges import RangedBody
from registry.remotes.repository import Repository, checked_path, checked_tags, reference_of
from registry.remotes.uploads import Uploads

_PAGE = 1000

Explain = Callable[[Answer, str | Digest], SlmctlError | None]
"""The error for a bad answer about a reference, or None where there is nothing special to say."""


class OciRemote:
    """One repository of a registry: pull and push. See `registry.remotes.base.PushRemote`."""

    def __init__(self, connection: Connection, *, explain: Explain | None = None) -> None:
        """`explain` may have a better error for an answer about a manifest than `refusal`."""
        self._connection = connection
        self._explain = explain
        self._blobs = Blobs(connection)
        self._uploads = Uploads(connection)

    @property
    def repository(self) -> Repository:
        return self._connection.repository

    @property
    def shown(self) -> str:
        return self.repository.shown

    @property
    def limits(self) -> Limits:
        return limits_of(self.repository.host)

    def resolve(self, ref: ModelRef) -> Artifact:
        """What the name's tag, or its digest, names now. Raises as `registry.remotes.base.Remote.resolve`."""
        reference = reference_of(ref)
        what = f"the manifest {reference.short}" if isinstance(reference, Digest) else f"the tag {reference}"
        wanted = reference if isinstance(reference, Digest) else None
        document = self._document(reference, wanted, what)
        digest = document.digest
        root = Descriptor(media_type=document.media_type, digest=digest, size=len(document.raw))
        return Artifact(pinned=self._pinned(ref, digest), root=root, document=document)

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        if descriptor.size > MAX_MANIFEST_BYTES:
            raise SizeMismatch(
                f"A manifest of {self.shown} would have {descriptor.size} bytes; more than"
                f" {MAX_MANIFEST_BYTES >> 20} MiB are not read."
            )
        document = self._document(descriptor.digest, descriptor, f"the manifest {descriptor.digest.short}")
        if len(document.raw) != descriptor.size:
            raise SizeMismatch(
                f"The manifest {descriptor.digest.short} of {self.shown} has {len(document.raw)} bytes, and"
                f" {descriptor.size} by the index that names it."
            )
        return document

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        if descriptor.size > limit:
            raise SizeMismatch(
                f"The blob {descriptor.digest.short} of {self.shown} has {descriptor.size} bytes; at"
                f" most {limit} are"
                " read here."
            )
        blob = Blob(digest=descriptor.digest, size=descriptor.size)

        def read() -> bytes:
            with self.open(blob, 0, blob.size) as body:
                return b"".join(body)

        raw = self._connection.patiently(read)
        if (own := Digest.of(raw)) != descriptor.digest:
            raise DigestMismatch(
                f"{self.shown} gave a blob that is not the one asked for: its digest is {own}, not"
                f" {descriptor.digest}.",
                hint="The registry, or something between it and here, is broken or hostile.",
            )
        return raw

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> RangedBody:
        return self._blobs.open(blob, start, stop, validator)

    def tags(self) -> Sequence[str]:
        """All tags, in the registry's order (which is alphabetical by the specification)."""

        def read(_: Answer, raw: bytes) -> list[str]:
            return checked_tags(load_json_object(raw, f"{self.shown}'s list of tags").get("tags"), self.shown)

        url = f"{self.repository.tags()}?n={_PAGE}"
        found = pages(self._connection, url, "its list of tags", read)
        return list(dict.fromkeys(tag for page in found for tag in page))

    def referrers(self, digest: Digest, artifact_type: str | None = None) -> tuple[Descriptor, ...]:
        """What refers to a manifest, by the registry's API or by the tag that stands in for it."""
        found = referrers.from_api(self._connection, digest)
        if found is None:
            raw = self._fallback(digest)
            document = parse(raw) if raw is not None else None
            found = document.manifests if isinstance(document, Index) else ()
        return referrers.of_type(found, artifact_type)

    def has(self, blob: Blob) -> bool:
        self._connection.will_push()
        return self._uploads.has(blob)

    def mount(self, blob: Blob, repository: str) -> bool:
        self._connection.will_push()
        return self._uploads.mount(blob, checked_path(repository, repository))

    def upload(self, blob: Blob, open_at: OpenAt, progress: Callable[[int], None]) -> None:
        self._connection.will_push()
        self._uploads.upload(blob, open_at, progress)

    def put_manifest(self, raw: bytes, media_type: str, reference: str) -> Digest:
        """As in the protocol; a manifest with a subject is entered in the tag for referrers too, where the
        registry does not do that itself (OCI distribution specification, "Pushing Manifests with
        Subject")."""
        self._connection.will_push()
        digest = Digest.of(raw)
        target = Digest.parse(reference) if reference.startswith("sha256:") else reference
        if isinstance(target, Digest) and target != digest:
            raise DigestMismatch(f"A manifest with the digest {digest} cannot be put under {target}.")
        limit = self.limits.manifest_bytes
        if limit is not None and len(raw) > limit:
            raise self._too_large(len(raw), f", and takes {limit} at most")

        def use(answer: Answer) -> bool:
            if answer.status == 413:
                raise self._too_large(len(raw), "")
            if answer.status not in {200, 201, 202}:
                raise refusal(answer, f"to put a manifest under {reference}", self.shown)
            said = answer.headers.get("Docker-Content-Digest", "").strip()
            if said.startswith("sha256:") and said != str(digest):
                raise DigestMismatch(
                    f"{self.shown} took a manifest and says that it has another digest now,"
                    f" {quoted(said, 100)}"
                    f" instead of {digest}.",
                    hint="It changes what is pushed, so that its copy cannot be trusted to be yours.",
                )
            return bool(answer.headers.get("OCI-Subject"))

        entered = self._connection.ask(
            "PUT",
            self.repository.manifest(target),
            f"to put a manifest under {reference}",
            use,
            headers={"Content-Type": media_type},
            expected=(200, 201, 202, 400, 403, 404, 405, 413, 422),
            payload=lambda: raw,
            length=len(raw),
        )
        if not entered:
            self._enter_referrer(raw, media_type, digest)
        return digest

    def _document(
        self, reference: str | Digest, wanted: Descriptor | Digest | None, what: str
    ) -> Manifest | Index:
        def use(answer: Answer) -> Manifest | Index:
            if answer.status != 200:
                special = self._explain(answer, reference) if self._explain else None
                raise special or self._no_tag(answer, reference) or refusal(answer, what, self.shown)
            return read_document(
                answer.document(MAX_MANIFEST_BYTES),
                content_type=answer.headers.get("Content-Type", ""),
                said_digest=answer.headers.get("Docker-Content-Digest"),
                wanted=wanted,
                shown=self.shown,
            )

        url = self.repository.manifest(reference)
        expected = (200, 401, 403, 404, 412)
        return self._connection.ask("GET", url, what, use, headers={"Accept": ACCEPTED}, expected=expected)

    def _no_tag(self, answer: Answer, reference: str | Digest) -> NotFound | None:
        """The error for a tag that is not there; it says how to see those that are."""
        if answer.status != 404 or isinstance(reference, Digest):
            return None
        return NotFound(
            f"{self.shown} does not have the tag {reference}{words_of(answer)}.",
            hint=f"'slmctl tags {self.shown}' lists its tags.",
        )

    def _pinned(self, ref: ModelRef, digest: Digest) -> str:
        scheme = "http" if ref.plain_http else "oci"
        tag = f":{ref.tag}" if ref.tag else ""
        return f"{scheme}://{ref.host}/{ref.path}{tag}@{digest}"

    def _too_large(self, size: int, known: str) -> OperationFailed:
        return OperationFailed(
            f"{self.shown} does not take a manifest of {size} bytes{known}.",
            hint="Push fewer variants under one name.",
        )

    def _fallback(self, digest: Digest) -> bytes | None:
        try:
            return self._document(referrers.fallback_tag(digest), None, "its list of referrers").raw
        except NotFound:
            return None

    def _enter_referrer(self, raw: bytes, media_type: str, digest: Digest) -> None:
        value = load_json_object(raw, "The manifest")
        if not isinstance(value.get("subject"), dict):
            return
        document = parse(raw)
        try:
            subject = Descriptor.from_json(value["subject"], "subject").digest
        except BadContent as error:
            raise OperationFailed(f"The manifest's subject is none: {error.message}") from None
        kind = document.artifact_type
        if kind is None and isinstance(document, Manifest):
            kind = document.config.media_type
        added = Descriptor(
            media_type=media_type,
            digest=digest,
            size=len(raw),
            annotations=document.annotations,
            artifact_type=kind,
        )
        index = referrers.index_with(self._fallback(subject), added)
        if index is not None:
            from_here = self.repository.manifest(referrers.fallback_tag(subject))
            self._connection.ask(
                "PUT",
                from_here,
                "to enter a referrer",
                lambda _: None,
                headers={"Content-Type": parse(index).media_type},
                expected=(200, 201, 202),
                payload=lambda: index,
                length=len(index),
            )
