"""The keys of the server: random secrets, of which only hashes are kept, in `keys.json` in slmctl's home.

The secrets are 256 random bits, so a plain SHA-256 keeps them: nobody can try so many. A slow hash is for
passwords, which people make up.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from registry.errors import BadContent, NoSpace, NotFound, OperationFailed, StoreUnusable, UsageError
from registry.store.durable import replace_file, store_errors
from registry.store.locks import lock
from slmctl.app import clock

Scope = Literal["infer", "read", "manage"]
"""What a key may do: ask models; look at what is here; change what is here."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
DEFAULT_SCOPES: tuple[Scope, ...] = ("infer", "read")

SCHEMA = "slmctl.keys/1"
PREFIX = "slm_"

_SECRET_BYTES = 32
_MAX_BYTES = 4 << 20
_MAX_NAME = 100
_EXPIRES = re.compile(r"([1-9]\d{0,4})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_HINT = "Move it away and make new keys with 'slmctl key add'."


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept. `hash` is the SHA-256 of the secret; the times are RFC 3339 texts in UTC."""

    id: str
    hash: str
    scopes: tuple[Scope, ...]
    name: str | None
    created: str
    expires: str | None

    def allows(self) -> frozenset[Scope]:
        """What it may do. Who may change things may look at them."""
        return frozenset(self.scopes) | (frozenset({"read"}) if "manage" in self.scopes else frozenset())

    def is_expired(self, now: datetime) -> bool:
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """`secret` is nowhere else: it is shown once."""

    key: ApiKey
    secret: str


def keys_file(home: Path) -> Path:
    return home / "keys.json"


def hash_of(secret: str | bytes) -> str:
    return hashlib.sha256(secret.encode() if isinstance(secret, str) else secret).hexdigest()


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """The keys in `file`; none where there is none. Raises BadContent for a damaged one, OperationFailed."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise OperationFailed(
            f"The keys in {file} cannot be read ({os.strerror(error.errno or 0)}).",
            hint="Check who owns the file.",
        ) from None
    return parse_keys(data, file)


def parse_keys(data: bytes, file: Path) -> tuple[ApiKey, ...]:
    """Raises BadContent unless all of it is what this version writes: half a list of keys is none."""
    try:
        document = json.loads(data)
        if len(data) > _MAX_BYTES or document["schema"] != SCHEMA or set(document) != {"schema", "keys"}:
            raise ValueError
        keys = tuple(_parse(each) for each in document["keys"])
        if len({key.id for key in keys}) != len(keys):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadContent(f"The file of keys {file} is damaged.", hint=_HINT) from None
    return keys


def add_key(
    home: Path,
    *,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
    name: str | None = None,
    expires: str | None = None,
) -> NewKey:
    """Make a key. `expires` is as `expiry` gives it.

    Raises UsageError, BadContent, OperationFailed, NoSpace.
    """
    if name is not None and (not name.isprintable() or not 1 <= len(name) <= _MAX_NAME):
        raise UsageError(
            f"A key's name has 1 to {_MAX_NAME} characters that can be printed.", hint="Give it with --name."
        )
    secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    made: list[ApiKey] = []

    def with_it(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        taken = {key.id for key in keys}
        made.append(
            ApiKey(
                id=next(each for each in iter(lambda: secrets.token_hex(4), "") if each not in taken),
                hash=hash_of(secret),
                scopes=tuple(each for each in SCOPES if each in scopes),
                name=name,
                created=clock.now(),
                expires=expires,
            )
        )
        return (*keys, made[-1])

    _change(home, with_it)
    return NewKey(key=made[-1], secret=secret)


def revoke_key(home: Path, identifier: str) -> ApiKey:
    """Take a key away. Raises NotFound for an id that no key has, BadContent, OperationFailed, NoSpace."""
    gone: list[ApiKey] = []

    def without_it(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        gone.extend(key for key in keys if key.id == identifier)
        if not gone:
            raise NotFound(f"No key has the id {identifier!r:.60}.", hint="'slmctl key list' shows them.")
        return tuple(key for key in keys if key.id != identifier)

    _change(home, without_it)
    return gone[0]


def expiry(text: str, now: datetime) -> str:
    """The moment that `text` names: `30d`, `12h`, `2w` from now, or an RFC 3339 moment. Raises UsageError."""
    moment = None
    if match := _EXPIRES.fullmatch(text):
        moment = now + int(match[1]) * _UNITS[match[2]]
    else:
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
    if moment is None or moment.tzinfo is None:
        raise UsageError(
            f"{text!r:.60} is no time at which a key can expire.",
            hint="For example 30d, 12h, 2w, or 2030-01-31T12:00:00Z.",
        )
    if moment <= now:
        raise UsageError("That key would be expired already.", hint="For example --expires 30d.")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _parse(value: Mapping[str, object]) -> ApiKey:
    """Raises ValueError, KeyError, TypeError, AttributeError."""
    if set(value) != {"id", "hash", "scopes", "name", "created", "expires"}:
        raise ValueError
    identifier, digest, scopes, name = value["id"], value["hash"], value["scopes"], value["name"]
    created, expires = value["created"], value["expires"]
    if not isinstance(identifier, str) or not re.fullmatch(r"[0-9a-f]{8}", identifier, re.ASCII):
        raise ValueError
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest, re.ASCII):
        raise ValueError
    if not isinstance(scopes, list) or not scopes:
        raise ValueError
    known: list[Scope] = [scope for scope in SCOPES if scope in scopes]
    if len(known) != len(scopes) or not isinstance(name, str | None) or not isinstance(created, str):
        raise ValueError
    if not isinstance(expires, str | None):
        raise ValueError
    if expires is not None and datetime.fromisoformat(expires).tzinfo is None:
        raise ValueError
    return ApiKey(
        id=identifier, hash=digest, scopes=tuple(known), name=name, created=created, expires=expires
    )


def _written(keys: Sequence[ApiKey]) -> bytes:
    rows = [
        {
            "id": key.id,
            "hash": key.hash,
            "scopes": list(key.scopes),
            "name": key.name,
            "created": key.created,
            "expires": key.expires,
        }
        for key in keys
    ]
    return json.dumps({"schema": SCHEMA, "keys": rows}, indent=1).encode() + b"\n"


def _change(home: Path, change: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
    file = keys_file(home)
    with _errors(home), _locked(home):
        keys = change(read_keys(file))
        replace_file(home / f"keys.json.{os.getpid()}", file, _written(keys), mode=0o600)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    path = home / "keys.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        lock(fd, fcntl.LOCK_EX, path)
        yield
    finally:
        os.close(fd)


@contextmanager
def _errors(home: Path) -> Iterator[None]:
    try:
        with store_errors(home):
            yield
    except (StoreUnusable, NoSpace) as error:
        full = isinstance(error, NoSpace)
        reason = "its disk is full" if full else "it cannot be written"
        raise (NoSpace if full else OperationFailed)(
            f"The keys in {home} cannot be changed: {reason}.", hint="Check the folder and its disk."
        ) from error
