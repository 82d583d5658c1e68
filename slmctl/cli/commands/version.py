"""slmctl version"""

from __future__ import annotations

import platform
import sys

from runtimes.installed import installed_version
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
