"""The installed console script, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = REPOSITORY / "docs" / "schemas"
SCRIPT = Path(sys.executable).with_name("slmctl")
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The JSON document on stdout, held against its schema."""
        document: dict[str, Any] = json.loads(self.out)
        assert next(iter(document)) == "schema"
        command = document["schema"].removeprefix("slmctl.").removesuffix("/1")
        name = f"{command}-1.json" if (SCHEMAS / f"{command}-1.json").exists() else "error-1.json"
        _validator(name).validate(document)
        return document

    @property
    def hint(self) -> str:
        """The second line of an error: what to do."""
        return self.err.splitlines()[1].strip()


class Program:
    """slmctl with a home of its own."""

    def __init__(self, home: Path, runtime: Path) -> None:
        self.home = home
        self.store = home / "store"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home.parent),
            "SLMCTL_HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "SLMCTL_OFFLINE": "1",
        }

    def go_online(self) -> None:
        """Let it ask registries on this machine. Whatever else it asks ends at a proxy that nobody runs."""
        nobody = "http://127.0.0.1:9"
        del self.environment["SLMCTL_OFFLINE"]
        self.environment |= {"HTTPS_PROXY": nobody, "HTTP_PROXY": nobody, "NO_PROXY": "127.0.0.1,localhost"}

    def command(self, *arguments: str) -> list[str]:
        return [str(SCRIPT), *arguments]

    def __call__(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Outcome:
        """Run it to its end. Whatever happens: no traceback, and an error has a sentence."""
        return self.run(self.command(*arguments), stdin=stdin, environment=environment, cwd=cwd)

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Outcome:
        """Run a command line that has slmctl in it, as `__call__` does."""
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            env={**self.environment, **(environment or {})},
            cwd=cwd,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        outcome = Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in outcome.err
        assert "inside slmctl failed" not in outcome.err + outcome.out
        return outcome

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it with pipes; in a session of its own, as a terminal's foreground job would be."""
        return subprocess.Popen(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )


def _validator(name: str) -> jsonschema.Draft202012Validator:
    resources = [
        (path.name, Resource.from_contents(json.loads(path.read_text()))) for path in SCHEMAS.glob("*.json")
    ]
    registry: Registry[Any] = Registry().with_resources(resources)
    return jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text()), registry=registry)
