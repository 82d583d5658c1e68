"""Where slmctl starts: looks whether its own packages are the ones that Python finds, then hands over.

Names such as `registry` collide easily. This file imports nothing of ours before it has looked, so that an
intruder gets a sentence and not a traceback from somewhere inside it.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

_NEIGHBOURS = ("registry", "modelfiles", "runtimes")


def main() -> NoReturn:
    """The console script."""
    _open_closed_streams()
    try:
        if complaint := find_intruder(Path(__file__).parent.parent):
            sys.stderr.write(f"slmctl: {complaint}\n  Install slmctl by itself: 'uv tool install slmctl' or ")
            sys.stderr.write("'pipx install slmctl', and without PYTHONPATH.\n")
            sys.exit(1)
        from slmctl.cli.main import run  # not before the look around

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the modules were still being read
        code = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is the interpreter's own end
    sys.exit(code)


def _open_closed_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed: the next file would get its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def find_intruder(home: Path) -> str | None:
    """A sentence about the first of our packages that does not lie in `home`, beside this one; else None."""
    for name in _NEIGHBOURS:
        spec = find_spec(name)
        if spec is None:
            return f"Its package {name!r} is missing beside {home / 'slmctl'}."
        if spec.origin is None or Path(spec.origin).parent != home / name:
            where = spec.origin or next(iter(spec.submodule_search_locations or ()), "nowhere")
            return f"The package {name!r} that Python finds is not slmctl's: it lies at {where}."
    return None
