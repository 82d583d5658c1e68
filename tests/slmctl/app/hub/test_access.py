"""The hub as the settings name it: endpoint, token, offline."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.errors import OperationFailed, Unreachable, UsageError
from registry.names import parse
from registry.remotes.hub_refusals import HubAccess
from slmctl.app.hub.access import hub_access, hub_remote
from slmctl.app.network import Network
from slmctl.config import Settings
from slmctl.network_settings import NetworkSettings
from tests.fakes.hub import serve_hub


def network(home: Path, offline: bool = False, **environment: str) -> Network:
    known = {"HOME": str(home), "SLMCTL_HOME": str(home / "slmctl"), **environment}
    return Network(NetworkSettings.load(Settings.load(known)), offline=offline)


def access(home: Path, **environment: str) -> HubAccess:
    with network(home, False, **environment) as made:
        return hub_access(made)


def token_file(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    path = folder / "token"
    path.write_text(text)
    return path


def test_without_anything_it_is_the_hub_and_nobody_asks(tmp_path: Path) -> None:
    assert access(tmp_path) == HubAccess(
        endpoint="https://huggingface.co", token=None, token_from="", offline=None
    )


def test_the_variable_goes_before_the_file(tmp_path: Path) -> None:
    path = token_file(tmp_path / ".cache" / "huggingface", "hf_file\n")
    found = access(tmp_path)
    assert (found.token, found.token_from, found.authorization) == ("hf_file", str(path), "Bearer hf_file")
    found = access(tmp_path, HF_TOKEN="hf_variable")
    assert (found.token, found.token_from) == ("hf_variable", "HF_TOKEN")


@pytest.mark.parametrize("variable", ["HF_HOME", "XDG_CACHE_HOME"])
def test_where_the_file_lies(tmp_path: Path, variable: str) -> None:
    token_file(tmp_path / "x" if variable == "HF_HOME" else tmp_path / "x" / "huggingface", "hf_there")
    assert access(tmp_path, **{variable: str(tmp_path / "x")}).token == "hf_there"


@pytest.mark.parametrize("text", ["", "\n", "two words", "hf_a\nhf_b", "hf_\x1b"])
def test_a_file_without_a_token(tmp_path: Path, text: str) -> None:
    token_file(tmp_path / ".cache" / "huggingface", text)
    assert access(tmp_path).token is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / ".cache" / "huggingface" / "token").mkdir(parents=True)
    with pytest.raises(OperationFailed, match="cannot be read"):
        access(tmp_path)


def test_a_token_is_not_shown(tmp_path: Path) -> None:
    assert "hf_secret" not in repr(access(tmp_path, HF_TOKEN="hf_secret"))


def test_an_endpoint_of_ones_own_is_asked_and_no_other(tmp_path: Path) -> None:
    ref = parse("hf.co/org/model")
    with (
        serve_hub({"org/model": {"m-Q8_0.gguf": b"x"}}) as fake,
        network(tmp_path, HF_ENDPOINT=f"{fake.endpoint}/") as made,
    ):
        assert [file.path for file in hub_remote(made, ref).resolve(ref).files] == ["m-Q8_0.gguf"]
        assert fake.requests[0].headers["host"] == fake.hub.place


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://x/", "https://user@x/", "https://"])
def test_an_endpoint_that_is_none(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        access(tmp_path, HF_ENDPOINT=endpoint)


@pytest.mark.parametrize("how", ["--offline was given", "HF_HUB_OFFLINE is set", "SLMCTL_OFFLINE"])
def test_offline(tmp_path: Path, how: str) -> None:
    environment = {"HF_HUB_OFFLINE": "1"} if how.startswith("HF") else {}
    environment |= {"SLMCTL_OFFLINE": "1"} if how.startswith("SLM") else {}
    ref = parse("hf.co/org/model")
    with serve_hub({"org/model": {}}) as fake:
        environment["HF_ENDPOINT"] = fake.endpoint
        with (
            network(tmp_path, how.startswith("--"), **environment) as made,
            pytest.raises(Unreachable, match=how),
        ):
            hub_remote(made, ref).resolve(ref)
        assert fake.requests == []


def test_root_may_read_everything_but_not_a_pipe(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "huggingface"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "token")
    assert access(tmp_path).token is None  # and nobody waits
