"""Logging in and out: changing Docker's config.json, or the file that podman's users name.

Where the file names a credential helper, the secret goes there and the file keeps an empty entry, as Docker
does it; else it is written as base64, which hides nothing, so that the file is for its owner alone (0600).
The file is replaced and never edited, all else in it stays, and a lock on its folder keeps two of us apart.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from registry.errors import OperationFailed
from registry.remotes.credentials import (
    DOCKER_HUB_KEY,
    Keyring,
    helper_of,
    is_docker_hub,
    matching_keys,
    read_auth_file,
)
from registry.store.durable import flush_file, flush_folder, write_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Where a secret went: a file, or a helper that the file names. `plain` says that it lies there
    readable."""

    place: str
    plain: bool


def log_in(keyring: Keyring, path: Path, host: str, *, username: str, password: str) -> Kept:
    """Keep name and password for `host`, instead of what was kept for it.

    Raises OperationFailed; what was kept before is then still there.
    """
    with _changing(path) as document:
        key = DOCKER_HUB_KEY if is_docker_hub(host) else host
        auths = document.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise OperationFailed(
                f'In {path}, "auths" is not an object.', hint="Correct it, or move it away."
            )
        for old in _same_place(auths, host):
            del auths[old]
        if named := helper_of(document, host):
            program, server = named
            keyring.helper(program).store(server, username, password)
            auths[server] = {}
            return Kept(place=f"docker-credential-{program}", plain=False)
        auths[key] = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
        return Kept(place=str(path), plain=True)


def log_out(keyring: Keyring, path: Path, host: str) -> list[str]:
    """Forget what is kept for `host`; gives the places that had something. Raises OperationFailed."""
    removed: list[str] = []
    with _changing(path) as document:
        if named := helper_of(document, host):
            program, server = named
            if keyring.helper(program).erase(server):
                removed.append(f"docker-credential-{program}")
        auths = document.get("auths")
        if isinstance(auths, dict):
            entries = [auths.pop(key) for key in _same_place(auths, host)]
            if any(entries) or (entries and not named):  # an empty entry only says that a helper has it
                removed.append(str(path))
    return removed


def _same_place(auths: dict[str, object], host: str) -> list[str]:
    """The keys of the host itself, whatever their form; not those of paths below it."""
    return matching_keys(auths, host)


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, object]]:
    """The file's document, to be changed in place; it is written when it has changed and nothing was
    raised."""
    try:
        path = path.resolve()  # who links it to elsewhere wants it there
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        document = read_auth_file(path)
        before = json.dumps(document)
        yield document
        if json.dumps(document) != before:
            _replace(path, (json.dumps(document, indent="\t", ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        os.close(folder)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.slmctl")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data)
            flush_file(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def _unwritable(path: Path, error: OSError | RuntimeError) -> OperationFailed:
    reason = error.strerror if isinstance(error, OSError) else "its link leads in a circle"
    return OperationFailed(
        f"The credentials in {path} cannot be changed ({reason}).",
        hint="Check who owns it, or set DOCKER_CONFIG to a folder of yours.",
    )
