"""Who is let in: keys that come and go while the server runs, and files that are not what they should be."""

from __future__ import annotations

import os
import statistics
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from registry.errors import BadContent, SlmctlError, UsageError
from slmctl.app.api_keys import add_key, keys_file, revoke_key
from slmctl.config import Settings
from slmctl.server.keys import KEY_FILE_VARIABLE, Keyring, Principal, authorize, secret_in
from slmctl.server.problems import Forbidden, KeyMissing, Problem


def bearer(secret: str) -> Headers:
    return Headers({"authorization": f"Bearer {secret}"})


def status(ring: Keyring, headers: Headers) -> int:
    """What the client would see."""
    try:
        ring.principal(headers)
    except SlmctlError as error:
        return Problem.of(error).status
    return 200


def test_with_no_key_defined_any_authorization_is_ignored(tmp_path: Path) -> None:
    ring = Keyring(keys_file(tmp_path))
    assert ring.is_open
    for headers in (Headers(), bearer("whatever"), Headers({"authorization": "Basic eDp5"})):
        assert ring.principal(headers) == Principal(id=None, scopes=frozenset({"infer", "read", "manage"}))


def test_a_key_is_asked_for_from_the_moment_there_is_one(tmp_path: Path) -> None:
    ring = Keyring(keys_file(tmp_path))
    made = add_key(tmp_path, scopes=("infer",))
    assert not ring.is_open
    assert status(ring, Headers()) == 401
    assert ring.principal(bearer(made.secret)) == Principal(id=made.key.id, scopes=frozenset({"infer"}))
    other = add_key(tmp_path)
    assert ring.principal(Headers({"x-api-key": other.secret})).id == other.key.id
    revoke_key(tmp_path, made.key.id)
    assert status(ring, bearer(made.secret)) == 401
    assert status(ring, bearer(other.secret)) == 200


def test_revoking_the_last_key_opens_nothing(tmp_path: Path) -> None:
    made = add_key(tmp_path)
    ring = Keyring(keys_file(tmp_path))
    revoke_key(tmp_path, made.key.id)
    assert (ring.is_open, status(ring, Headers()), status(ring, bearer(made.secret))) == (False, 401, 401)


def test_a_file_that_vanishes_opens_nothing(tmp_path: Path) -> None:
    made = add_key(tmp_path)
    ring = Keyring(keys_file(tmp_path))
    keys_file(tmp_path).unlink()
    assert (ring.is_open, status(ring, Headers()), status(ring, bearer(made.secret))) == (False, 401, 401)


def test_a_damaged_file_lets_nobody_in_until_it_is_mended(tmp_path: Path) -> None:
    made = add_key(tmp_path)
    good = keys_file(tmp_path).read_bytes()
    ring = Keyring(keys_file(tmp_path))
    for damaged in (b"", b"{}", good[:-20], good.replace(b"slmctl.keys/1", b"slmctl.keys/2")):
        keys_file(tmp_path).write_bytes(damaged)
        assert isinstance(ring.broken, BadContent)
        assert not ring.is_open
        assert status(ring, bearer(made.secret)) == 503
        assert status(ring, Headers()) == 503
    keys_file(tmp_path).write_bytes(good)
    assert ring.broken is None
    assert status(ring, bearer(made.secret)) == 200


def test_a_server_does_not_start_with_a_damaged_file(tmp_path: Path) -> None:
    keys_file(tmp_path).write_bytes(b"{}")
    with pytest.raises(BadContent):
        Keyring(keys_file(tmp_path))


def test_an_empty_server_closes_when_damage_appears(tmp_path: Path) -> None:
    ring = Keyring(keys_file(tmp_path))
    assert ring.is_open
    keys_file(tmp_path).write_bytes(b"damaged")
    assert status(ring, Headers()) == 503
    keys_file(tmp_path).unlink()
    assert status(ring, Headers()) == 401, "somebody meant to have keys"


def test_an_expired_key_is_none_but_keys_are_defined(tmp_path: Path) -> None:
    soon = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    made = add_key(tmp_path, expires=soon)
    ring = Keyring(keys_file(tmp_path))
    assert not ring.is_open
    with pytest.raises(KeyMissing, match="has expired"):
        ring.principal(bearer(made.secret))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "SECRET")],
        [("authorization", "Basic SECRET")],
        [("authorization", "Bearer SECRETx")],
        [("authorization", "Bearer SECRET extra")],
        [("authorization", "Bearer secret")],
        [("authorization", "Bearer \x00SECRET")],
        [("authorization", "Bearer ü")],
        [("x-api-key", "SECRE")],
        [("x-api-key", "HASH")],
        [("authorization", "Bearer HASH")],
        [("authorization", "Bearer SECRET"), ("authorization", "Bearer other")],
        [("authorization", "Bearer SECRET"), ("x-api-key", "other")],
        [("cookie", "x-api-key=SECRET")],
        [("proxy-authorization", "Bearer SECRET")],
    ],
    ids=str,
)
def test_what_is_nearly_a_key_is_none(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    made = add_key(tmp_path)
    ring = Keyring(keys_file(tmp_path))
    raw = [
        (name.encode(), value.replace("SECRET", made.secret).replace("HASH", made.key.hash).encode("latin-1"))
        for name, value in headers
    ]
    assert status(ring, Headers(raw=raw)) == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "bearer s")],
        [("authorization", "BEARER  s ")],
        [("x-api-key", " s ")],
        [("x-api-key", "s"), ("authorization", "Bearer s")],
        [("x-api-key", "s"), ("authorization", "Basic eDp5")],
    ],
    ids=str,
)
def test_where_a_key_stands(headers: list[tuple[str, str]]) -> None:
    assert secret_in(Headers(raw=[(name.encode(), value.encode()) for name, value in headers])) == "s"


def test_two_keys_that_differ_are_said_to(tmp_path: Path) -> None:
    first, second = add_key(tmp_path).secret, add_key(tmp_path).secret
    ring = Keyring(keys_file(tmp_path))
    with pytest.raises(KeyMissing, match="two API keys that differ"):
        ring.principal(Headers({"authorization": f"Bearer {first}", "x-api-key": second}))


def test_the_secret_of_the_run_opens_everything_whatever_keys_there_are(tmp_path: Path) -> None:
    ring = Keyring(keys_file(tmp_path))
    token = "t" * 43
    assert ring.principal(bearer(token), token).id == "local"
    add_key(tmp_path, scopes=("infer",))
    assert ring.principal(bearer(token), token).scopes == {"infer", "read", "manage"}
    with pytest.raises(KeyMissing):
        ring.principal(Headers(), token)
    with pytest.raises(KeyMissing):
        ring.principal(bearer("t" * 42), token)
    with pytest.raises(KeyMissing):
        ring.principal(bearer(""), "")


def test_a_mounted_file_of_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("0123456789abcdef\n\n  fedcba9876543210  \r\n")
    environment = {"HOME": str(tmp_path), "SLMCTL_HOME": str(tmp_path), KEY_FILE_VARIABLE: str(secrets)}
    ring = Keyring.of(Settings.load(environment))
    assert not ring.is_open
    assert ring.principal(bearer("0123456789abcdef")) == Principal(
        id="file", scopes=frozenset({"infer", "read", "manage"})
    )
    assert ring.principal(bearer("fedcba9876543210")).id == "file-2"
    secrets.write_text("another-secret-that-is-long\n")
    assert status(ring, bearer("0123456789abcdef")) == 401
    assert status(ring, bearer("another-secret-that-is-long")) == 200
    secrets.unlink()
    assert status(ring, bearer("another-secret-that-is-long")) == 503


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"short", b"0123456789abcdef\nshort\n"], ids=str)
def test_a_mounted_file_that_will_not_do_is_said_at_the_start(tmp_path: Path, content: bytes | None) -> None:
    secrets = tmp_path / "secrets"
    if content is not None:
        secrets.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Keyring(keys_file(tmp_path), secrets_file=secrets)
    assert KEY_FILE_VARIABLE in caught.value.message
    assert "short" not in caught.value.message


def test_scopes() -> None:
    reader = Principal(id="x", scopes=frozenset({"read"}))
    authorize(reader, None)
    authorize(reader, "read")
    with pytest.raises(Forbidden) as caught:
        authorize(reader, "manage")
    assert "--scope manage" in (caught.value.hint or "")


def test_a_file_that_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    made = add_key(tmp_path)
    ring = Keyring(keys_file(tmp_path))
    found = keys_file(tmp_path).stat()
    with keys_file(tmp_path).open("r+b") as stream:  # as nobody does: in place, and the time set back
        stream.write(b"X")
    os.utime(keys_file(tmp_path), ns=(found.st_atime_ns, found.st_mtime_ns))
    assert status(ring, bearer(made.secret)) == 200


def test_how_long_a_wrong_key_takes_says_nothing_of_how_wrong_it_is(tmp_path: Path) -> None:
    """Two wrong keys, one of which differs from a right one in its last character only, in turns.

    What is compared are hashes, all of them, so the beginnings of secrets mean nothing; this would see a
    comparison of the secrets themselves only if it were grossly wrong, and is here for that.
    """
    made = [add_key(tmp_path) for _ in range(50)]
    ring = Keyring(keys_file(tmp_path))
    near = made[0].secret[:-1] + ("A" if made[0].secret[-1] != "A" else "B")
    took: dict[str, list[int]] = {near: [], "slm_" + "x" * 43: []}
    for _ in range(2000):
        for secret, times in took.items():
            headers = bearer(secret)
            began = time.perf_counter_ns()
            status(ring, headers)
            times.append(time.perf_counter_ns() - began)
    medians = [statistics.median(times) for times in took.values()]
    assert max(medians) < 1.2 * min(medians)
