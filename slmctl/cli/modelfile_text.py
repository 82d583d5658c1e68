"""Reading a Modelfile from where the command line says."""

from __future__ import annotations

import sys
from pathlib import Path

from registry.errors import NotFound, OperationFailed, UsageError

_MAX_BYTES = 16 << 20


def read_modelfile(path: str, *, hint: str, what: str = "Modelfile") -> bytes:
    """The bytes of the file at `path`, or of standard input for `-`; `hint` is for a file that is not there.

    `what` is what it would be, for messages.

    Raises NotFound, OperationFailed, UsageError.
    """
    if path == "-":
        data = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        try:
            with Path(path).open("rb") as stream:
                data = stream.read(_MAX_BYTES + 1)
        except FileNotFoundError:
            raise NotFound(f"There is no {what} {path!r}.", hint=hint) from None
        except IsADirectoryError:
            raise OperationFailed(f"{path!r:.120} is a folder.", hint=f"Name the {what} in it.") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise OperationFailed(f"The {what} {path!r:.120} cannot be read: {reason}.") from None
    if len(data) > _MAX_BYTES:
        raise UsageError(
            f"{path!r:.120} is larger than {_MAX_BYTES >> 20} MiB, the most that a {what} may have."
        )
    return data
