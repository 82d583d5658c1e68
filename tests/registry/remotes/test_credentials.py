"""Where credentials are found: Docker's and podman's files, and helpers that are real programs."""

from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest

from registry.errors import OperationFailed
from registry.remotes.credential_helpers import CredentialHelper
from registry.remotes.credentials import DOCKER_HUB_KEY, Credential, Keyring, matching_keys
from registry.remotes.credentials_file import log_in, log_out

HELPER = """\
#!/bin/sh
# keeps one secret per server in a folder, as docker-credential-pass does
folder='{folder}'
case "$1" in
get) read -r server
     file="$folder/$(printf %s "$server" | tr '/:' '__')"
     if [ -f "$file" ]; then cat "$file"; else echo 'credentials not found in native keychain'; exit 1; fi ;;
store) text=$(cat); server=$(printf %s "$text" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/')
     printf %s "$text" > "$folder/$(printf %s "$server" | tr '/:' '__')" ;;
erase) read -r server; rm -f "$folder/$(printf %s "$server" | tr '/:' '__')" ;;
esac
"""


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def keyring(*files: Path, path: str = os.environ["PATH"]) -> Keyring:
    return Keyring(files, search_path=path, helper_environment={"PATH": os.environ["PATH"]})


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    """A folder with docker-credential-test, whose secrets lie in `secrets` beside it."""
    (tmp_path / "secrets").mkdir()
    script(tmp_path / "bin", "test", HELPER.format(folder=tmp_path / "secrets"))
    return tmp_path / "bin"


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    program = folder / f"docker-credential-{name}"
    program.write_text(text)
    program.chmod(0o755)


ENTRIES = {
    "reg.example": {"auth": auth("host:1")},
    "reg.example/team": {"auth": auth("team:2")},
    "reg.example/team/model": {"auth": auth("model:3")},
    "reg.example:5000": {"auth": auth("port:4")},
    "https://old.example/v1/": {"auth": auth("old:5")},
    "older.example/v2/": {"auth": auth("older:6")},
    DOCKER_HUB_KEY: {"auth": auth("hub:7")},
}


@pytest.mark.parametrize(
    ("host", "repository", "user"),
    [
        ("reg.example", "other/thing", "host"),
        ("reg.example", "team/other", "team"),
        ("reg.example", "teammate/model", "host"),
        ("reg.example", "team/model", "model"),
        ("reg.example", "team/model/deeper", "model"),
        ("REG.example", "x", "host"),
        ("reg.example:5000", "team/model", "port"),
        ("reg.example:5001", "team/model", None),
        ("sub.reg.example", "team/model", None),
        ("old.example", "a/b", "old"),
        ("older.example", "a/b", "older"),
        ("docker.io", "library/x", "hub"),
        ("index.docker.io", "library/x", "hub"),
        ("registry-1.docker.io", "library/x", "hub"),
        ("example", "a", None),
    ],
)
def test_the_most_specific_key_counts(tmp_path: Path, host: str, repository: str, user: str | None) -> None:
    found = keyring(write(tmp_path / "config.json", {"auths": ENTRIES})).find(host, repository)
    assert (found.credential.username if found.credential else None) == user
    assert found.complaints == ()


def test_the_first_file_that_knows_the_place_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "auth.json", {"auths": {"a.example": {"auth": auth("first:x")}}})
    second = write(
        tmp_path / "config.json",
        {"auths": {"a.example": {"auth": auth("second:x")}, "b.example": {"auth": auth("b:x")}}},
    )
    keys = keyring(tmp_path / "absent.json", first, second)
    assert [found.username for host in ("a", "b") if (found := keys.find(f"{host}.example").credential)] == [
        "first",
        "b",
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": auth("user:pass:word")}, Credential(username="user", password="pass:word")),
        ({"auth": auth("_json_key:{\n}\n")}, Credential(username="_json_key", password="{\n}\n")),
        ({"auth": auth("ü:ä ö")}, Credential(username="ü", password="ä ö")),
        ({"auth": auth("user:pass\0\0")}, Credential(username="user", password="pass")),
        ({"username": "user", "password": "p"}, Credential(username="user", password="p")),
        ({"auth": auth("user:"), "identitytoken": "t"}, Credential(username="user", identity_token="t")),
        ({"registrytoken": "t"}, Credential(registry_token="t")),
        ({}, None),
    ],
)
def test_what_an_entry_says(tmp_path: Path, entry: object, expected: Credential | None) -> None:
    file = write(tmp_path / "config.json", {"auths": {"a.example": entry}})
    found = keyring(file).find("a.example")
    assert found.complaints == ()
    if expected is None:
        assert found.credential is None
    else:
        credential = found.credential
        assert credential is not None
        assert credential.origin == str(file)
        names = ("username", "password", "identity_token", "registry_token")
        assert [getattr(credential, name) for name in names] == [getattr(expected, name) for name in names]


@pytest.mark.parametrize(
    "text",
    [
        "not json", "[]", '"x"', "[" * 100_000, '{"auths": {"a.example": []}}', '{"auths": {"a.example": {"auth": 5}}}',
        '{"auths": {"a.example": {"auth": "!!!"}}}', json.dumps({"auths": {"a.example": {"auth": auth("no colon")}}}),
         "{" + " " * (2 << 20) + "}",
    ],
)  # fmt: skip
def test_a_broken_file_is_told_and_passed_over(tmp_path: Path, text: str) -> None:
    good = write(tmp_path / "good.json", {"auths": {"a.example": {"auth": auth("good:x")}}})
    found = keyring(write(tmp_path / "bad.json", text), good).find("a.example")
    assert found.credential is not None
    assert found.credential.username == "good"
    assert len(found.complaints) == 1
    assert "bad.json" in found.complaints[0]


def test_secrets_are_not_shown() -> None:
    credential = Credential(
        username="u", password="hunter2", identity_token="secret1", registry_token="secret2"
    )
    assert "hunter2" not in repr(credential)
    assert "secret" not in repr(credential)


def test_a_helper_gives_what_it_keeps(tmp_path: Path, helper: Path) -> None:
    (tmp_path / "secrets" / "a.example").write_text(
        '{"ServerURL": "a.example", "Username": "u", "Secret": "s"}'
    )
    (tmp_path / "secrets" / "b.example").write_text('{"Username": "<token>", "Secret": "t"}')
    file = write(
        tmp_path / "config.json",
        {
            "credHelpers": {"a.example": "test"},
            "credsStore": "test",
            "auths": {"c.example": {"auth": auth("c:d")}},
        },
    )
    keys = keyring(file, path=str(helper))
    first, second, third = (keys.find(f"{host}.example").credential for host in "abc")
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.username, first.password, first.origin) == ("u", "s", "docker-credential-test")
    assert (second.identity_token, second.basic) == ("t", None)
    assert third.username == "c"  # the helper has none; the file does
    assert keys.find("d.example").credential is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("exit 1", "failed to get: it did not say why"),
        ("echo 'the store is locked'; exit 2", "failed to get: the store is locked"),
        ("echo nonsense", "gave something that is no credential"),
        ('echo \'{"Username": 5, "Secret": "x"}\'', "gave something that is no credential"),
    ],
)
def test_a_helper_that_fails_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    script(tmp_path / "bin", "bad", f"#!/bin/sh\n{text}\n")
    file = write(tmp_path / "config.json", {"credsStore": "bad"})
    found = keyring(file, path=str(tmp_path / "bin")).find("a.example")
    assert found.credential is None
    assert complaint in found.complaints[0]


def test_a_helper_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", {"credsStore": "desktop"})
    (complaint,) = keyring(file, path=str(tmp_path)).find("a.example").complaints
    assert complaint == "The credential helper docker-credential-desktop is not installed."


@pytest.mark.parametrize("name", ["../evil", "/bin/sh", "", "a b", "x" * 65])
def test_a_helper_has_a_name_and_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperationFailed, match="is not the name of a credential helper"):
        CredentialHelper(name, search_path=str(tmp_path), environment={}).get("a.example")


def test_a_helper_that_says_nothing_is_stopped_with_its_children(tmp_path: Path) -> None:
    script(tmp_path / "bin", "slow", f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/child\nwait\n")
    slow = CredentialHelper(
        "slow", search_path=str(tmp_path / "bin"), environment={"PATH": os.environ["PATH"]}, timeout=0.5
    )
    with pytest.raises(OperationFailed, match="said nothing for"):
        slow.get("a.example")
    child = Path("/proc") / (tmp_path / "child").read_text().strip()
    assert not child.exists() or "Z" in (child / "status").read_text().split("State:")[1][:4]


def test_login_keeps_everything_else(tmp_path: Path) -> None:
    before = {"auths": {"other.example": {"auth": auth("o:p")}}, "HttpHeaders": {"X": "y"}, "psFormat": "ü"}
    file = write(tmp_path / "docker" / "config.json", before)
    file.chmod(0o644)
    kept = log_in(keyring(file), file, "a.example:5000", username="u", password="p:q")
    assert (kept.place, kept.plain) == (str(file), True)
    document = json.loads(file.read_text())
    assert document["auths"].pop("a.example:5000") == {"auth": auth("u:p:q")}
    assert document == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["config.json"]
    credential = keyring(file).find("a.example:5000").credential
    assert credential is not None
    assert (credential.username, credential.password) == ("u", "p:q")
    assert log_out(keyring(file), file, "a.example:5000") == [str(file)]
    assert json.loads(file.read_text()) == before
    assert log_out(keyring(file), file, "a.example:5000") == []


def test_login_makes_the_file_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "docker" / "config.json"
    log_in(keyring(file), file, "docker.io", username="u", password="p")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(json.loads(file.read_text())["auths"]) == [DOCKER_HUB_KEY]


def test_a_second_login_replaces_all_forms_of_the_first(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", {"auths": {"https://a.example/v1/": {"auth": auth("old:x")}}})
    log_in(keyring(file), file, "a.example", username="new", password="p")
    assert json.loads(file.read_text())["auths"] == {"a.example": {"auth": auth("new:p")}}


def test_login_through_a_link_changes_what_it_points_at(tmp_path: Path) -> None:
    real = write(tmp_path / "elsewhere" / "real.json", {})
    link = tmp_path / "config.json"
    link.symlink_to(real)
    log_in(keyring(link), link, "a.example", username="u", password="p")
    assert link.is_symlink()
    assert "a.example" in real.read_text()


def test_login_goes_through_the_helper_and_logout_too(tmp_path: Path, helper: Path) -> None:
    file = write(
        tmp_path / "config.json", {"credsStore": "test", "auths": {"a.example": {"auth": auth("old:x")}}}
    )
    keys = keyring(file, path=str(helper))
    kept = log_in(keys, file, "a.example", username="u", password="hunter2")
    assert (kept.place, kept.plain) == ("docker-credential-test", False)
    assert json.loads(file.read_text()) == {"credsStore": "test", "auths": {"a.example": {}}}
    credential = keys.find("a.example").credential
    assert credential is not None
    assert credential.password == "hunter2"
    assert log_out(keys, file, "a.example") == ["docker-credential-test"]
    assert keys.find("a.example").credential is None


def test_a_broken_file_is_never_replaced(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", "{ broken")
    with pytest.raises(OperationFailed):
        log_in(keyring(file), file, "a.example", username="u", password="p")
    assert file.read_text() == "{ broken"


def test_a_helper_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    script(tmp_path / "bin", "bad", "#!/bin/sh\necho no; exit 1\n")
    before = {"credsStore": "bad", "auths": {"a.example": {"auth": auth("old:x")}}}
    file = write(tmp_path / "config.json", before)
    with pytest.raises(OperationFailed, match="failed to store: no"):
        log_in(keyring(file, path=str(tmp_path / "bin")), file, "a.example", username="u", password="p")
    assert json.loads(file.read_text()) == before


def test_keys_of_paths_are_not_the_hosts_own() -> None:
    assert matching_keys(ENTRIES, "reg.example") == ["reg.example"]
