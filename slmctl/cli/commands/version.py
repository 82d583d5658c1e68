"""slmctl version"""

from __future__ import annotations

import platform
from importlib import metadata

from slmctl import __version__
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command


@make_command("version", about="Show the versions of slmctl and its engine.")
def command(context: Context) -> None:
    try:
        engine = metadata.version("xllamacpp")
    except metadata.PackageNotFoundError:
        engine = None
    fields = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "engines": {"llama.cpp": {"package": "xllamacpp", "version": engine}},
    }
    context.output.result(
        fields,
        lambda: (
            f"slmctl {__version__}\n"
            f"llama.cpp through xllamacpp {engine or '(not installed)'}\n"
            f"Python {fields['python']} on {fields['platform']}"
        ),
    )
