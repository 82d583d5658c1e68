"""Reading the lock files that people name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from registry.errors import NotFound, OperationFailed
from slmctl.app.lockfile import MAX_BYTES, Lock, parse


def read_lock(path: str) -> Lock:
    """The lock file at `path`; `-` is stdin. Raises NotFound, OperationFailed, MalformedFile."""
    try:
        if path == "-":
            return parse(sys.stdin.buffer.read(MAX_BYTES + 1))
        with Path(path).open("rb") as stream:
            return parse(stream.read(MAX_BYTES + 1))
    except FileNotFoundError:
        raise NotFound(f"There is no file {path!r:.120}.", hint="Check the path.") from None
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise OperationFailed(f"The file {path!r:.120} cannot be read ({reason}).") from None
