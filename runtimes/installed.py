"""Which distributions are installed, without importing what they contain."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence


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


def installed_packages(folders: Sequence[str]) -> Mapping[str, str]:
    """All versions by name, of the `.dist-info` folders alone; the first folder that has one counts.

    Names are as the folders have them, in lower case. One look for all costs less than one for each, and
    importlib.metadata is never asked: what was installed in another way is not here.
    """
    found: dict[str, str] = {}
    for folder in folders:
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - as above
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                package, dash, version = name[: -len(".dist-info")].partition("-")
                if dash and version:
                    found.setdefault(package.lower(), version)
    return found
