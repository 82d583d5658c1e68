"""A repository of files as a use case holds it: its listing, and its small files as they are read."""

from __future__ import annotations

from collections.abc import Iterable

from registry.remotes.base import FileRemote, HubFile, Listing
from registry.remotes.heads import Heads
from slmctl.app.hub.at_once import at_once
from slmctl.app.hub.choosing import Choice, choose
from slmctl.app.hub.variant import HubVariant
from slmctl.app.hub.variants import files_to_read, variants_of, why_none

MAX_SMALL_BYTES = 64 << 20
"""A file that is read whole: one that the hub has no sha256 of (git takes 10 MB at most)."""

_KEPT_BYTES = 1 << 20
_MAX_KEPT_BYTES = 64 << 20
"""What is remembered of all files together; what has no room is read again."""


class HubRepository:
    """One repository at one commit. What was read is remembered, as far as it is small."""

    def __init__(self, remote: FileRemote, listing: Listing) -> None:
        self.remote = remote
        self.source = Heads(remote)
        """Where large files are downloaded: the remote, but for the headers that `build` has had already."""
        self.listing = listing
        self._by_path = {file.path: file for file in listing.files}
        self._read: dict[str, bytes] = {}
        self._kept_bytes = 0
        self._variants: list[HubVariant] | None = None

    @property
    def name(self) -> str:
        """`org/repo`."""
        return self.remote.repository

    def file(self, path: str) -> HubFile | None:
        """The file of a path; None where there is none."""
        return self._by_path.get(path)

    def read(self, file: HubFile) -> bytes:
        """A small file, checked. Raises as `FileRemote.read_file`."""
        data = self._read.get(file.path)
        if data is None:
            data = self.remote.read_file(file, MAX_SMALL_BYTES)
            if len(data) <= min(_KEPT_BYTES, _MAX_KEPT_BYTES - self._kept_bytes):
                self._kept_bytes += len(data)
                self._read[file.path] = data
        return data

    def read_ahead(self, files: Iterable[HubFile]) -> None:
        """Read those of `files` that will be read, several at once, as far as they are remembered."""
        small = [file for file in files if file.size <= _KEPT_BYTES and file.path not in self._read]
        at_once(self.read, list({file.path: file for file in small}.values()))

    def text(self, path: str, limit: int = 256 << 10) -> bytes | None:
        """A small text file of the repository; None where there is none, or a larger one."""
        file = self.file(path)
        return None if file is None or file.size > limit else self.read(file)

    def variants(self) -> list[HubVariant]:
        """All variants. Reads the small files that tell what the folders are; raises DoesNotFit for none."""
        if self._variants is None:
            telling = [file for file in files_to_read(self.listing) if file.size <= _KEPT_BYTES]
            self.read_ahead(telling)
            found = variants_of(self.listing, {file.path: self.read(file) for file in telling})
            if not found:
                raise why_none(self.name, self.listing)
            self._variants = found
        return self._variants

    def choose(self, selector: str | None = None) -> Choice:
        """The variant that `selector` means, an id or a part of it, else the one of the reference; see
        `choosing.choose`."""
        return choose(
            self.variants(), selector or self.listing.selector, self.name, parts=selector is not None
        )
