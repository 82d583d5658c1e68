"""Where things lie in a store: an OCI image layout 1.1, with our folders beside it.

oci-layout  index.json  index.json.1  slmctl.json
blobs/sha256/<hex>      verified, whole, durable, read-only
ingest/                 files on their way to blobs/
leases/  locks/  cache/
linked/  borrowed/      notes about blobs whose files belong to other tools (version 2)
quarantine/             damaged blobs that `verify` put aside; nothing of ours deletes them (version 2)
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from registry.digest import Digest
from registry.errors import MalformedFile, StoreUnusable
from registry.store.durable import flush_folder, replace_file
from registry.store.plain_file import read_plain_file

STORE_VERSION = 2
"""1: the first. 2: `linked/`, `borrowed/`, `quarantine/`; without them a store of version 1 is the same, and
is read as it lies. The first command that writes to it makes it version 2."""

_MAX_VERSION_BYTES = 64 << 10
_OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_SLMCTL = json.dumps({"schema": "slmctl.store/1", "version": STORE_VERSION}).encode()


class VersionDamaged(StoreUnusable):
    """The file that says the store's version does not: nothing else of the store need be damaged."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a store at `root`."""

    root: Path

    @property
    def oci_layout(self) -> Path:
        return self.root / "oci-layout"

    @property
    def index(self) -> Path:
        return self.root / "index.json"

    @property
    def previous_index(self) -> Path:
        return self.root / "index.json.1"

    @property
    def version(self) -> Path:
        return self.root / "slmctl.json"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    @property
    def ingest(self) -> Path:
        return self.root / "ingest"

    @property
    def leases(self) -> Path:
        return self.root / "leases"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def origins(self) -> Path:
        """Hints where the bytes of blobs were taken from (`registry.store.origins`)."""
        return self.cache / "origins"

    @property
    def facts(self) -> Path:
        """What was derived from the headers of models, a file `<hex of the manifest>.json` each."""
        return self.cache / "facts"

    @property
    def linked(self) -> Path:
        return self.root / "linked"

    @property
    def borrowed(self) -> Path:
        return self.root / "borrowed"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.hex

    @property
    def damaged_indexes(self) -> list[Path]:
        """Tables of names that were found torn and put aside."""
        return sorted(self.root.glob("index.json.damaged*"))

    def free_damaged_path(self) -> Path:
        """Where the next torn table goes, without taking the place of an earlier one."""
        plain = self.root / "index.json.damaged"
        numbered = (self.root / f"index.json.damaged.{number}" for number in count(1))
        return plain if not plain.exists() else next(path for path in numbered if not path.exists())

    def check_version(self) -> int:
        """The store's version, 0 where it says none.

        Raises StoreUnusable when a newer slmctl made it, VersionDamaged when that cannot be known.
        """
        try:
            document = json.loads(read_plain_file(self.version, _MAX_VERSION_BYTES))
            version = document["version"]
        except FileNotFoundError:
            return 0  # a bundle, or a store whose making was cut short
        except (ValueError, KeyError, TypeError, RecursionError, MalformedFile):
            raise VersionDamaged(
                f"The file {self.version} is damaged.",
                hint="Delete it: it holds nothing but the store's version.",
            ) from None
        if not isinstance(version, int) or version > STORE_VERSION:
            raise StoreUnusable(
                f"The store at {self.root} has version {version!r:.20}, newer than this slmctl knows.",
                hint="Use the newer slmctl that made it, or another store by SLMCTL_HOME.",
            )
        return version

    def prepare_folders(self) -> None:
        """Make the folders that are missing, durably. Safe in any number of processes at once.

        What is there already is flushed too: whoever made it may have died before doing so.
        """
        folders = (self.root, *self._folders)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for parent in dict.fromkeys(folder.parent for folder in folders[1:]):
            flush_folder(parent)
        for above in self.root.absolute().parents:
            with suppress(PermissionError):  # not ours to open, and so not made by us
                flush_folder(above)

    def prepare_files(self) -> None:
        """Make the files that mark a store, and mark an older one as of this version: its folders are here.

        Call it with the store's lock held exclusively. Cut short, it is done by whoever writes next.
        """
        if self.check_version() < STORE_VERSION:
            replace_file(self.ingest / f"{self.version.name}.new", self.version, _SLMCTL)
        if not self.oci_layout.exists():
            replace_file(self.ingest / f"{self.oci_layout.name}.new", self.oci_layout, _OCI_LAYOUT)

    @property
    def is_prepared(self) -> bool:
        """Whether nothing is left to do before this version of slmctl may write."""
        paths = (self.oci_layout, self.version, self.index, *self._folders)
        return self.check_version() == STORE_VERSION and all(path.exists() for path in paths)

    @property
    def _folders(self) -> tuple[Path, ...]:
        ours = (self.ingest, self.leases, self.locks, self.cache)
        return (self.blobs, *ours, self.linked, self.borrowed, self.quarantine)
