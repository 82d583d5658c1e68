"""slmctl version"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Sequence

from slmctl import __version__
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command

_ENGINE = "xllamacpp"


@make_command("version", about="Show the versions of slmctl and its engine.")
def command(context: Context) -> None:
    engine = installed_version(_ENGINE, sys.path)
    fields = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "engines": {"llama.cpp": {"package": _ENGINE, "version": engine}},
    }
    context.output.result(
        fields,
        lambda: (
            f"slmctl {__version__}\n"
            f"llama.cpp through {_ENGINE} {engine or '(not installed)'}\n"
            f"Python {fields['python']} on {fields['platform']}"
        ),
    )


def installed_version(package: str, folders: Sequence[str]) -> str | None:
    """The version of an installed distribution whose name is one plain word; None when there is none.

    It stands in the name of the first `<package>-<version>.dist-info` in `folders`, which are those of
    `sys.path` (binary distribution format, "The .dist-info directory"). importlib.metadata, which knows
    other ways to install too, is asked only when there is no such folder: importing it takes longer than
    the rest of the command.
    """
    pattern = re.compile(rf"{package}-([0-9][^-/]*)\.dist-info", re.IGNORECASE)
    for folder in folders:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - pathlib is slow to import
        except OSError:  # a zip file, or nothing
            continue
        for name in names:
            if match := pattern.fullmatch(name):
                return match[1]
    from importlib import metadata

    return next((found.version for found in metadata.distributions(name=package, path=list(folders))), None)
