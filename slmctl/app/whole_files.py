"""Writing a user's file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from registry.errors import OperationFailed
from registry.store.durable import flush_file, flush_folder, write_all


def replace_whole(path: Path, data: bytes) -> None:
    """Put `data` at `path`, in the place of a file that is there; what is no plain file is written to.

    Raises OperationFailed.
    """
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():  # a pipe or a terminal
            path.write_bytes(data)
            return
        fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=".slmctl-")
        try:
            write_all(fd, data)
            umask = os.umask(0o077)
            os.umask(umask)
            with suppress(OSError):  # FAT has no modes
                os.fchmod(fd, 0o666 & ~umask)
            flush_file(fd)
            Path(temporary).rename(path)
        finally:
            os.close(fd)
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
        with suppress(PermissionError):  # a folder that may be written to and not be read
            flush_folder(path.parent)
    except (OSError, ValueError, RuntimeError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(
            f"{str(path)!r:.200} cannot be written ({reason}).", hint="Check the path."
        ) from None
