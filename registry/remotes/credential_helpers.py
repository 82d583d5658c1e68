"""Programs that keep secrets: `docker-credential-NAME`.

Protocol (docker/docker-credential-helpers, README): `get` takes the server on stdin and gives
`{"ServerURL", "Username", "Secret"}`; `store` takes such a document; `erase` takes the server. One that fails
exits with a status other than 0 and says why on stdout; "credentials not found" is how it says that it has
none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from registry.errors import OperationFailed

TIMEOUT_SECONDS = 60.0
"""Some ask their user to unlock a store; a helper that says nothing for longer is stopped."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MAX_OUTPUT_CHARACTERS = 1 << 20


class CredentialHelper:
    """One helper, found on `search_path`, which is run with `environment`."""

    def __init__(
        self, name: str, *, search_path: str, environment: Mapping[str, str], timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self.name = name
        self._search_path = search_path
        self._environment = dict(environment)
        self._timeout = timeout

    def get(self, server: str) -> tuple[str, str] | None:
        """Name and secret for a server, None where it has none. Raises OperationFailed."""
        code, out = self._run("get", server)
        if code:
            if "credentials not found" in out.lower():
                return None
            raise self._failed("get", out)
        try:
            document = json.loads(out)
            username, secret = document["Username"], document["Secret"]
            if not isinstance(username, str) or not isinstance(secret, str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise OperationFailed(
                f"The credential helper docker-credential-{self.name} gave something that is no credential."
            ) from None
        return username, secret

    def store(self, server: str, username: str, secret: str) -> None:
        """Keep a secret. Raises OperationFailed."""
        document = json.dumps({"ServerURL": server, "Username": username, "Secret": secret})
        code, out = self._run("store", document)
        if code:
            raise self._failed("store", out)

    def erase(self, server: str) -> bool:
        """Forget a secret; whether there was one. Raises OperationFailed."""
        if self.get(server) is None:
            return False
        code, out = self._run("erase", server)
        if code:
            raise self._failed("erase", out)
        return True

    def _run(self, verb: str, text: str) -> tuple[int, str]:
        if not _NAME.fullmatch(self.name):
            raise OperationFailed(f"{self.name!r:.80} is not the name of a credential helper.")
        program = shutil.which(f"docker-credential-{self.name}", path=self._search_path)
        if program is None:
            raise OperationFailed(
                f"The credential helper docker-credential-{self.name} is not installed.",
                hint="Install it, or take its name out of Docker's config.json.",
            )
        try:
            child = subprocess.Popen(
                [program, verb],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,  # what it starts in its turn ends with it
            )
        except OSError as error:
            raise OperationFailed(
                f"The credential helper {program} cannot be run ({error.strerror})."
            ) from None
        with child:
            try:
                out, _ = child.communicate(text.encode(), timeout=self._timeout)
            except subprocess.TimeoutExpired:
                raise OperationFailed(
                    f"The credential helper docker-credential-{self.name} said nothing for"
                    f" {self._timeout:.0f} seconds."
                ) from None
            finally:
                if child.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
        return child.returncode, out[:_MAX_OUTPUT_CHARACTERS].decode(errors="replace").strip()

    def _failed(self, verb: str, out: str) -> OperationFailed:
        said = " ".join(out.split())[:200] or "it did not say why"
        return OperationFailed(
            f"The credential helper docker-credential-{self.name} failed to {verb}: {said}."
        )
