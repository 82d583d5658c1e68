"""The file of keys: what is kept, who may read it, and that damage is never a way in."""

from __future__ import annotations

import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import BadContent, NotFound, OperationFailed, UsageError
from slmctl.app.api_keys import add_key, expiry, keys_file, parse_keys, read_keys, revoke_key

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def test_a_secret_is_told_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    made = add_key(tmp_path, scopes=("manage", "infer"), name="for the lamp", expires="2030-01-01T00:00:00Z")
    assert made.secret.startswith("slm_")
    assert len(made.secret) == 4 + 43, "256 bits in base64"
    raw = keys_file(tmp_path).read_bytes()
    assert made.secret.encode() not in raw
    assert made.secret.removeprefix("slm_").encode() not in raw
    assert made.key.hash == sha256(made.secret.encode()).hexdigest()
    assert made.key.scopes == ("infer", "manage")
    assert made.key.allows() == {"infer", "read", "manage"}, "who may change things may look at them"
    assert read_keys(keys_file(tmp_path)) == (made.key,)


def test_only_the_owner_may_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        add_key(tmp_path)
        add_key(tmp_path)
    finally:
        os.umask(before)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "keys.json": 0o600,
        "keys.lock": 0o600,
    }


def test_keys_are_all_different(tmp_path: Path) -> None:
    made = [add_key(tmp_path) for _ in range(20)]
    assert len({each.secret for each in made}) == len({each.key.id for each in made}) == 20


def test_who_writes_at_once_loses_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: add_key(tmp_path), range(24)))
        gone = list(pool.map(lambda each: revoke_key(tmp_path, each.key.id), made[:12]))
    assert {key.id for key in gone} == {each.key.id for each in made[:12]}
    assert {key.id for key in read_keys(keys_file(tmp_path))} == {each.key.id for each in made[12:]}


def test_revoking_what_is_not_there_says_so(tmp_path: Path) -> None:
    made = add_key(tmp_path)
    for wrong in ("", "00000000", made.secret, made.key.id.upper() + " ", "../keys"):
        with pytest.raises(NotFound):
            revoke_key(tmp_path, wrong)
    assert revoke_key(tmp_path, made.key.id) == made.key
    assert read_keys(keys_file(tmp_path)) == ()


def test_a_disk_that_is_full_leaves_the_keys_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add_key(tmp_path)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OperationFailed, match="its disk is full"):
            revoke_key(tmp_path, made.key.id)
    assert read_keys(keys_file(tmp_path)) == (made.key,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.json", "keys.lock"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    home = tmp_path_factory.mktemp("keys")
    add_key(home, name="one", expires="2030-01-01T00:00:00Z")
    add_key(home)
    return keys_file(home).read_bytes()


def test_every_cut_of_the_file_is_damage(good: bytes) -> None:
    for length in range(len(good) - 1):  # the last byte is a line break
        with pytest.raises(BadContent):
            parse_keys(good[:length], Path("keys.json"))


def _changed(good: bytes, **fields: object) -> bytes:
    document = json.loads(good)
    document["keys"][0].update(fields)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"hash": ""},
        {"hash": "0" * 63},
        {"hash": "G" * 64},
        {"hash": "A" * 64},
        {"hash": None},
        {"scopes": []},
        {"scopes": "manage"},
        {"scopes": ["admin"]},
        {"scopes": ["infer", "infer"]},
        {"scopes": ["infer", "admin"]},
        {"expires": "tomorrow"},
        {"expires": "2030-01-01T00:00:00"},
        {"expires": 0},
        {"id": "../../etc"},
        {"id": 7},
        {"name": ["x"]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_key_that_is_not_one_of_ours_damages_the_whole_file(good: bytes, fields: dict[str, object]) -> None:
    with pytest.raises(BadContent) as caught:
        parse_keys(_changed(good, **fields), Path("keys.json"))
    assert caught.value.hint is not None


def test_two_keys_of_one_id_are_damage(good: bytes) -> None:
    second = json.loads(good)["keys"][1]["id"]
    with pytest.raises(BadContent):
        parse_keys(_changed(good, id=second), Path("keys.json"))


@given(st.binary(max_size=300))
def test_any_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(BadContent):
        parse_keys(data, Path("keys.json"))


def test_keys_that_cannot_be_read_are_not_no_keys(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(OperationFailed, match="cannot be read"):
        read_keys(keys_file(tmp_path))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("30d", "2026-03-02T12:00:00Z"),
        ("12h", "2026-02-01T00:00:00Z"),
        ("2w", "2026-02-14T12:00:00Z"),
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
        ("2026-01-31 12:00:01+00:00", "2026-01-31T12:00:01Z"),
    ],
)
def test_when_a_key_ends(text: str, moment: str) -> None:
    assert expiry(text, NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["", "0d", "-1d", "1", "30", "d", "30 d", "٣d", "999999d", "2030-01-31", "2030-01-31T12:00:00", "2026-01-31T12:00:00Z", "1970-01-01T00:00:00Z", "never"],
)  # fmt: skip
def test_what_is_no_time_to_end_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        expiry(text, NOW)


def test_a_key_is_expired_from_its_moment_on(tmp_path: Path) -> None:
    key = add_key(tmp_path, expires="2026-01-31T12:00:00Z").key
    assert key.is_expired(NOW)
    assert not key.is_expired(datetime(2026, 1, 31, 11, 59, 59, tzinfo=UTC))
    assert not add_key(tmp_path).key.is_expired(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[31m", "x" * 101])
def test_a_name_that_would_upset_a_terminal_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        add_key(tmp_path, name=name)
    assert not keys_file(tmp_path).exists()
