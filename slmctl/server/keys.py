"""Who asks: the key of a request, looked up among hashes.

The file is looked at again when its stat has changed, so that new and revoked keys count from the next
request on. Where keys were once seen the server is never open again in its life: a file that is damaged,
unreadable, gone or empty lets nobody in.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from registry.errors import BadContent, OperationFailed, SlmctlError, UsageError
from slmctl.app.api_keys import SCOPES, ApiKey, Scope, hash_of, keys_file, read_keys
from slmctl.config import Settings
from slmctl.server.problems import Busy, Forbidden, KeyMissing

KEY_FILE_VARIABLE = "SLMCTL_API_KEY_FILE"
"""Names a file with further keys, one on a line, which may do everything: secrets that are mounted."""

_SHORTEST_SECRET = 16
_MAX_SECRETS_BYTES = 64 << 10
_EVERYTHING: frozenset[Scope] = frozenset(SCOPES)
_Stat = tuple[int, int, int] | None


class KeysUnusable(Busy):
    """The keys cannot be read, so that nobody can be let in."""

    code = "keys_unusable"

    def __init__(self) -> None:
        super().__init__(
            "This server cannot read its keys, and lets nobody in until it can.", retry_after_seconds=10
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks; `id` is None where no key is needed."""

    id: str | None
    scopes: frozenset[Scope]


class _Headers(Protocol):
    def getlist(self, key: str) -> list[str]: ...


class Keyring:
    """The keys of the server. Belongs to the event loop's thread."""

    def __init__(self, file: Path, *, secrets_file: Path | None = None) -> None:
        """Raises BadContent, OperationFailed, UsageError for keys that cannot be read."""
        self._file = file
        self._secrets_file = secrets_file
        self._stats: tuple[_Stat, _Stat] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._closed = False
        self._broken: SlmctlError | None = None
        self._refresh()
        if self._broken is not None:
            raise self._broken

    @classmethod
    def of(cls, settings: Settings) -> Keyring:
        """The keys in slmctl's home, and those of SLMCTL_API_KEY_FILE. Raises as the constructor."""
        named = settings.environment.get(KEY_FILE_VARIABLE, "")
        return cls(keys_file(settings.home), secrets_file=Path(named) if named else None)

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything, because no key is defined and none ever was."""
        self._refresh()
        return not self._closed and self._broken is None

    @property
    def broken(self) -> SlmctlError | None:
        """Why the keys cannot be read, None where they can."""
        self._refresh()
        return self._broken

    def principal(self, headers: _Headers, local_token: str | None = None) -> Principal:
        """Who asks. `local_token` is the secret of this run, which programs of the server's own user know.

        Raises KeyMissing for no key or one that is not valid, KeysUnusable.
        """
        self._refresh()
        given = secret_in(headers)
        wanted = hash_of(given or "")
        if given and local_token and hmac.compare_digest(wanted, hash_of(local_token)):
            return Principal(id="local", scopes=_EVERYTHING)
        if self._broken is not None:
            raise KeysUnusable
        if not self._closed:
            return Principal(id=None, scopes=_EVERYTHING)
        if given is None and _secrets_in(headers):
            raise KeyMissing(
                "The request has two API keys that differ.",
                hint="Send one, as 'Authorization: Bearer KEY' or as x-api-key.",
            )
        if given is None:
            raise KeyMissing(
                "This server needs an API key.",
                hint="Send it as 'Authorization: Bearer KEY' or as x-api-key.",
            )
        found = None
        for key in self._keys:  # all of them, always: how long it takes says nothing of which one it was
            if hmac.compare_digest(key.hash, wanted):
                found = key
        if found is None:
            raise KeyMissing("That API key is not valid.")
        if found.is_expired(datetime.now(UTC)):
            raise KeyMissing("That API key has expired.")
        return Principal(id=found.id, scopes=found.allows())

    def _refresh(self) -> None:
        stats = (_stat(self._file), _stat(self._secrets_file))
        if stats == self._stats:
            return
        try:
            keys = (*read_keys(self._file), *_secrets(self._secrets_file))
        except (BadContent, OperationFailed, UsageError) as error:
            self._broken, self._keys, self._closed = error, (), True
        else:
            self._broken, self._keys, self._closed = None, keys, self._closed or bool(keys)
        self._stats = stats


def authorize(principal: Principal, scope: Scope | None) -> None:
    """Raise Forbidden unless who asks may do what needs `scope`."""
    if scope is not None and scope not in principal.scopes:
        raise Forbidden(
            f"This key may not do that: it has not the scope {scope!r}.",
            hint=f"A key that may: slmctl key add --scope {scope}",
        )


def secret_in(headers: _Headers) -> str | None:
    """The key that a request carries, as bearer token or x-api-key. Two that differ are none."""
    found = _secrets_in(headers)
    return found.pop() if len(found) == 1 else None


def _secrets_in(headers: _Headers) -> set[str]:
    found = {value.strip() for value in headers.getlist("x-api-key")}
    for value in headers.getlist("authorization"):
        kind, _, rest = value.strip().partition(" ")
        if kind.lower() == "bearer":
            found.add(rest.strip())
    found.discard("")
    return found


def _secrets(file: Path | None) -> list[ApiKey]:
    """The keys of a file of secrets. Raises UsageError for a file that will not do."""
    if file is None:
        return []
    try:
        with file.open("rb") as stream:
            lines = [line.strip() for line in stream.read(_MAX_SECRETS_BYTES).splitlines()]
    except OSError as error:
        raise UsageError(
            f"The file that {KEY_FILE_VARIABLE} names cannot be read ({os.strerror(error.errno or 0)}).",
            hint="Check the path, and who may read the file.",
        ) from None
    secrets = [line for line in lines if line]
    if not secrets or any(len(line) < _SHORTEST_SECRET for line in secrets):
        raise UsageError(
            f"The file that {KEY_FILE_VARIABLE} names has no key, or one of fewer than"
            f" {_SHORTEST_SECRET} characters.",
            hint="Write a random key into it, for example of: openssl rand -hex 32",
        )
    return [
        ApiKey(
            id="file" if index == 0 else f"file-{index + 1}",
            hash=hash_of(secret),
            scopes=SCOPES,
            name=None,
            created="",
            expires=None,
        )
        for index, secret in enumerate(secrets)
    ]


def _stat(file: Path | None) -> _Stat:
    if file is None:
        return None
    try:
        found = os.stat(file)  # noqa: PTH116 - on every request, and pathlib's is slower
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
