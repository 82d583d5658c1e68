"""Where slmctl starts: looks whether its own packages are the ones that Python finds, then hands over.

Names such as `registry` collide easily. This file imports nothing of ours before it has looked, so that an
intruder gets a sentence and not a traceback from somewhere inside it. What it needs of the standard library
is imported where a Ctrl-C is waited for already: reading modules is most of what an early one can hit.
"""

from __future__ import annotations

import gc
import os
import signal
import sys

_NEIGHBOURS = ("registry", "modelfiles", "runtimes")


def main() -> None:
    """The console script; ends the program."""
    try:
        code = _start()
    except BaseException as error:
        if not is_interrupt(error):
            raise
        code = 130  # while the modules were still being read
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is the interpreter's own end
    sys.exit(code)


def is_interrupt(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is behind an error: Python wraps it in others where it hits a class being made."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _start() -> int:
    gc.disable()  # modules make no garbage: looking for it costs a short command a sixth of its time
    _open_closed_streams()
    if complaint := find_intruder(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):  # noqa: PTH100, PTH120 - pathlib is slow to import
        hint = "Install slmctl by itself, with 'uv tool install' or 'pipx install', and without PYTHONPATH."
        sys.stderr.write(f"slmctl: {complaint}\n  {hint}\n")
        return 1
    from slmctl.cli.main import run  # not before the look around

    return run(sys.argv[1:])


def find_intruder(home: str) -> str | None:
    """A sentence about the first of our packages that does not lie in `home`, beside this one; else None."""
    from importlib.util import find_spec

    for name in _NEIGHBOURS:
        spec = find_spec(name)
        if spec is None:
            return f"Its package {name!r} is missing beside {home}."
        if spec.origin is None or os.path.dirname(spec.origin) != os.path.join(home, name):  # noqa: PTH118, PTH120
            where = spec.origin or next(iter(spec.submodule_search_locations or ()), "nowhere")
            return f"The package {name!r} that Python finds is not slmctl's: it lies at {where}."
    return None


def _open_closed_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed: the next file would get its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
