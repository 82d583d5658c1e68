"""Files that a user names for a plan, open for as long as it takes to read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from registry.errors import OperationFailed
from registry.formats.regular import open_regular


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Raises OperationFailed for what cannot be read, UsageError for what is no regular file."""
    try:
        with open_regular(path, f"{str(path)!r:.200}") as stream:
            yield stream
    except OSError as error:
        raise OperationFailed(
            f"{str(path)!r:.200} cannot be read ({os.strerror(error.errno or 0)}).", hint="Check the path."
        ) from None
