"""Putting the files that a model is made from into the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.digest import Digest
from registry.errors import OperationFailed
from registry.formats.gguf import GgufHeader
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.ingest import Check, SourceFile
from registry.store.store import Session
from slmctl.app.events import ByteCounter, OnEvent
from slmctl.app.file_names import file_path
from slmctl.app.package import PackageFile
from slmctl.app.packaging import Build
from slmctl.app.sources import FileSet, read_gguf, role_of


class Taking:
    """Puts files into the store. What is described is what is stored: headers come from our copies."""

    def __init__(
        self,
        session: Session,
        stack: ExitStack,
        paths: Sequence[Path],
        *,
        move: bool,
        stored: Mapping[Path, Digest],
        on_event: OnEvent,
    ) -> None:
        self._session = session
        self._take = session.move if move else session.take
        self._stored = stored
        self._on_event = on_event
        self._opened = {  # all at once, so that what cannot be opened is said before the first is copied
            path: stack.enter_context(SourceFile(path)) for path in paths
        }
        self._headers: dict[Path, GgufHeader] = {}

    def build(self, files: FileSet, spec: ModelSpec) -> Build:
        """The variant that a set of weights makes."""
        taken = self.files(files)
        headers = [self._headers[path] for path in files.paths]
        licenses = tuple(header.license for header in headers[:1] if header.license)
        return Build(files=taken, facts=facts_from_gguf(headers), licenses=licenses, spec=spec)

    def files(self, files: FileSet) -> tuple[PackageFile, ...]:
        """Store a set's files. Raises OperationFailed when they turn out to be something else by now."""
        count = len(files.paths)
        stored = tuple(
            PackageFile(
                path=file_path(files.role, number, count),
                role=files.role,
                digest=self._store(path),
                size=self._opened[path].size,
            )
            for number, path in enumerate(files.paths)
        )
        if files.role != "draft" and role_of([self._headers[path] for path in files.paths]) != files.role:
            raise OperationFailed(f"{files.shown} changed while it was read.", hint="Try again.")
        return stored

    def plain(self, path: Path, name: str, role: str, check: Check) -> PackageFile:
        """Store a file that is no GGUF, and is called `name` in the package."""
        source = self._opened[path]
        counter = ByteCounter(self._on_event, stage="copy", item=name, total=source.size)
        digest = self._take(source, check=check, progress=counter)
        return PackageFile(path=name, role=role, digest=digest, size=source.size)

    def _store(self, path: Path) -> Digest:
        source = self._opened[path]

        def check(fd: int) -> None:
            self._headers[path] = read_gguf(fd, path.name)

        if (digest := self._stored.get(path)) is not None:  # it was verified when it came
            self._session.keep([digest])
            check(source.fd)
            return digest
        counter = ByteCounter(self._on_event, stage="copy", item=path.name, total=source.size)
        return self._take(source, check=check, progress=counter)
