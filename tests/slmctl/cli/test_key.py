"""slmctl key, as a user types it."""

from __future__ import annotations

import json

from tests.slmctl.cli.program import Program


def test_a_key_is_made_listed_and_revoked(slmctl: Program) -> None:
    made = slmctl("key", "add", "--name", "lamp", "--scope", "infer", "--expires", "30d")
    assert made.code == 0
    secret = made.out.removesuffix("\n")
    assert secret.startswith("slm_")
    assert len(secret.split()) == 1, "so that KEY=$(slmctl key add) works"
    assert secret not in made.err
    listed = slmctl("key", "list", "--json")
    assert secret not in listed.out
    (row,) = listed.json["keys"]
    assert (row["name"], row["scopes"], row["expired"]) == ("lamp", ["infer"], False)
    assert f"slmctl key revoke {row['id']}" in made.err
    shown = slmctl("key", "list")
    assert row["id"] in shown.out
    assert "lamp" in shown.out
    revoked = slmctl("key", "revoke", row["id"])
    assert (revoked.code, revoked.out) == (0, f"revoked {row['id']}\n")
    assert "That was the last key" in revoked.err
    assert slmctl("key", "list", "--json").json["keys"] == []
    again = slmctl("key", "revoke", row["id"])
    assert (again.code, again.hint) == (3, "'slmctl key list' shows them.")


def test_documents(slmctl: Program) -> None:
    made = slmctl("key", "add", "--json", "--scope", "manage", "--scope", "infer").json
    assert made["secret"].startswith("slm_")
    assert made["key"]["scopes"] == ["infer", "manage"]
    usual = slmctl("key", "add", "--json").json
    assert (usual["key"]["scopes"], usual["key"]["expires"]) == (["infer", "read"], None)
    revoked = slmctl("key", "revoke", usual["key"]["id"], "--json").json
    assert revoked["key"] == usual["key"]
    assert "secret" not in revoked


def test_what_will_not_do_is_said(slmctl: Program) -> None:
    for wrong in (
        ["--scope", "admin"],
        ["--expires", "yesterday"],
        ["--expires", "0d"],
        ["--name", "\x1b[31m"],
    ):
        done = slmctl("key", "add", *wrong)
        assert (done.code, done.out) == (2, "")
        assert done.hint
    assert not slmctl.home.exists()


def test_a_damaged_file_is_said_and_left_alone(slmctl: Program) -> None:
    assert slmctl("key", "add").code == 0
    file = slmctl.home / "keys.json"
    file.write_text(json.dumps({"schema": "slmctl.keys/2", "keys": []}))
    before = file.read_bytes()
    for words in (["add"], ["list"], ["revoke", "00000000"]):
        done = slmctl("key", *words)
        assert done.code == 5
        assert "is damaged" in done.err
    assert file.read_bytes() == before
    assert sorted(path.name for path in slmctl.home.iterdir()) == ["keys.json", "keys.lock"]


def test_the_group_by_itself_shows_its_commands(slmctl: Program) -> None:
    shown = slmctl("key")
    assert shown.code == 0
    assert all(f"\n  {name} " in shown.out for name in ("add", "list", "revoke"))
