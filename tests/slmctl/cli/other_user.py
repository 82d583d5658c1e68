"""slmctl as another user: nobody, in a mount namespace where nobody can reach the interpreter and slmctl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slmctl.cli.program import REPOSITORY, Program

NOBODY = 65534


class OtherUser(Program):
    """slmctl as nobody. `folder` is nobody's, outside of pytest's, which nobody may enter."""

    def __init__(self, folder: Path) -> None:
        runtime = folder / "run"
        super().__init__(folder / "home" / "slmctl", runtime)
        for each in (folder, folder / "home", runtime):
            each.mkdir(exist_ok=True)
            os.chown(each, NOBODY, NOBODY)
            each.chmod(0o755 if each is not runtime else 0o700)
        self._scratch = folder / "scratch"
        self._scratch.mkdir()

    def command(self, *arguments: str) -> list[str]:
        return self.as_nobody(super().command(*arguments))

    def as_nobody(self, command: list[str]) -> list[str]:
        """A command line that runs `command` as nobody."""
        mounts = []
        needed = [Path(sys.base_prefix), REPOSITORY]
        barred = {path: top for path in needed if (top := _barred_at(path)) is not None}
        for number, path in enumerate(barred):
            mounts += [
                f"mkdir -p '{self._scratch}/{number}'",
                f"mount --bind '{path}' '{self._scratch}/{number}'",
            ]
        mounts += [f"mount -t tmpfs -o mode=0755 none '{top}'" for top in dict.fromkeys(barred.values())]
        for number, path in enumerate(barred):
            mounts += [f"mkdir -p '{path}'", f"mount --bind '{self._scratch}/{number}' '{path}'"]
        script = "\n".join(["set -e", f"mount -t tmpfs none '{self._scratch}'", *mounts, 'exec "$@"'])
        setpriv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        return ["unshare", "--mount", "sh", "-c", script, "sh", *setpriv, *command]

    def check(self) -> None:
        """Skip the test where this cannot be done."""
        if os.geteuid() != 0:
            pytest.skip("only root can be another user")
        if shutil.which("unshare") is None or shutil.which("setpriv") is None:
            pytest.skip("needs unshare and setpriv")
        tried = subprocess.run(
            self.command("version"), env=self.environment, capture_output=True, check=False, cwd="/"
        )
        if tried.returncode:
            pytest.skip(f"cannot run slmctl as nobody here: {tried.stderr.decode()[-200:]}")


def _barred_at(path: Path) -> Path | None:
    """The topmost folder above `path` that others may not enter."""
    for folder in reversed([path, *path.parents]):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
