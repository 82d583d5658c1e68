"""The settings of the network: each variable, the file, the defaults; secrets; what is wrong."""

from pathlib import Path

import pytest

from registry.errors import UsageError
from registry.remotes.network import CaPlace
from slmctl.config import SETTINGS, Settings
from slmctl.network_settings import NETWORK_SETTINGS, NetworkSettings
from slmctl.serve_table import MODELS as SERVE_MODELS
from slmctl.serve_table import SERVE_SETTINGS
from tests.slmctl.cli.program import Program
from tools.settings_docs import TARGET, document


def load(home: Path, environment: dict[str, str] | None = None, written: str = "") -> NetworkSettings:
    """The settings of a user with this environment and this config file."""
    (home / "config.toml").write_text(written, encoding="utf-8")
    return Settings.load({"HOME": str(home), "SLMCTL_HOME": str(home), **(environment or {})}).network


def test_what_is_true_without_a_word(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.ca, settings.proxies, settings.no_proxy, settings.offline) == ((), {}, "", False)
    assert (settings.plain_http, settings.mirrors, settings.search) == (
        frozenset(),
        {},
        ("ollama://library",),
    )
    assert (settings.connect_timeout, settings.stall_timeout) == (10.0, 30.0)
    assert settings.hf_endpoint == "https://huggingface.co"
    assert (settings.hf_token, settings.hf_offline) == (None, False)
    assert settings.hf_token_file == tmp_path / ".cache/huggingface/token"
    assert settings.docker_config == tmp_path / ".docker"
    assert settings.registry_auth_files == (tmp_path / ".config/containers/auth.json",)
    assert {each.origin for each in settings.resolved} == {"default"}


def test_the_variables_of_other_tools(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {
            "HF_TOKEN": "hf_x", "HF_ENDPOINT": "https://hub.example/", "HF_HOME": "/hf", "HF_HUB_OFFLINE": "1", "DOCKER_CONFIG": "/d",
            "XDG_RUNTIME_DIR": "/run/user/1", "XDG_CONFIG_HOME": "/c", "NO_PROXY": "localhost", "HTTPS_PROXY": "proxy:1",
        },
    )  # fmt: skip
    assert (settings.hf_token, settings.hf_endpoint, settings.hf_offline) == (
        "hf_x",
        "https://hub.example",
        True,
    )
    assert settings.hf_token_file == Path("/hf/token")
    assert settings.docker_config == Path("/d")
    assert settings.registry_auth_files == (
        Path("/run/user/1/containers/auth.json"),
        Path("/c/containers/auth.json"),
    )
    assert (settings.no_proxy, settings.proxies) == ("localhost", {"https": "proxy:1"})
    assert load(tmp_path, {"HF_TOKEN_PATH": "/t"}).hf_token_file == Path("/t")
    assert load(tmp_path, {"XDG_CACHE_HOME": "/cache"}).hf_token_file == Path("/cache/huggingface/token")
    assert load(tmp_path, {"REGISTRY_AUTH_FILE": "/a"}).registry_auth_files == (Path("/a"),)


def test_certificates_in_the_order_in_which_they_are_added(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        {
            "CURL_CA_BUNDLE": "/4",
            "REQUESTS_CA_BUNDLE": "/3",
            "SSL_CERT_DIR": "/2a:/2b",
            "SSL_CERT_FILE": "/1",
            "SLMCTL_CA": "/5",
        },
    )
    assert settings.ca == (
        CaPlace(named_by="SSL_CERT_FILE", path=Path("/1")),
        CaPlace(named_by="SSL_CERT_DIR", path=Path("/2a"), is_folder=True),
        CaPlace(named_by="SSL_CERT_DIR", path=Path("/2b"), is_folder=True),
        CaPlace(named_by="REQUESTS_CA_BUNDLE", path=Path("/3")),
        CaPlace(named_by="CURL_CA_BUNDLE", path=Path("/4")),
        CaPlace(named_by="SLMCTL_CA", path=Path("/5")),
    )


def test_the_file(tmp_path: Path) -> None:
    written = """
        ca = "/etc/mine.pem"
        offline = true
        plain_http = ["registry.lan:5000", "nas"]
        stall_timeout = 12
        https_proxy = "http://proxy:3128"

        [mirrors]
        "registry.ollama.ai" = ["mirror.example", "http://other.example:5000/prefix"]
        "hf.co" = "hub.example"

        [names]
        search = ["oci://registry.example/models", "ollama://library"]
    """
    settings = load(tmp_path, written=written)
    assert settings.ca == (CaPlace(named_by=f"ca in {tmp_path / 'config.toml'}", path=Path("/etc/mine.pem")),)
    assert settings.offline
    assert settings.plain_http == {"registry.lan:5000", "nas"}
    assert settings.stall_timeout == 12.0
    assert settings.proxies == {"https": "http://proxy:3128"}
    assert settings.mirrors == {
        "registry.ollama.ai": ("mirror.example", "http://other.example:5000/prefix"),
        "hf.co": ("hub.example",),
    }
    assert settings.search == ("oci://registry.example/models", "ollama://library")
    assert {each.origin for each in settings.resolved} == {"default", f"file {tmp_path / 'config.toml'}"}


def test_variables_count_before_the_file(tmp_path: Path) -> None:
    written = 'offline = true\nplain_http = ["a"]\n[mirrors]\n"a" = ["b"]\n[names]\nsearch = ["x"]\n'
    environment = {
        "SLMCTL_OFFLINE": "0", "SLMCTL_PLAIN_HTTP": "B:80, c:81", "SLMCTL_MIRRORS": "c=d,e;f=g", "SLMCTL_NAMES_SEARCH": "y,z",
    }  # fmt: skip
    settings = load(tmp_path, environment, written)
    assert (settings.offline, settings.plain_http) == (False, frozenset({"b", "c:81"}))
    assert settings.mirrors == {"c": ("d", "e"), "f": ("g",)}
    assert settings.search == ("y", "z")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SLMCTL_OFFLINE", "perhaps"), ("SLMCTL_PLAIN_HTTP", "http://x/"), ("SLMCTL_PLAIN_HTTP", "a/b"), ("SLMCTL_PLAIN_HTTP", "user@host"),
        ("SLMCTL_CONNECT_TIMEOUT", "0"), ("SLMCTL_STALL_TIMEOUT", "-1"), ("SLMCTL_STALL_TIMEOUT", "nan"), ("SLMCTL_MIN_RATE", "1.5"), ("SLMCTL_MIN_RATE", "fast"), ("HF_ENDPOINT", "hub.example"),
        ("HF_ENDPOINT", "ftp://hub"), ("SLMCTL_MIRRORS", "a=ftp://b"), ("SLMCTL_MIRRORS", "a=b@c"), ("SLMCTL_MIRRORS", "a b=c"),
        ("HF_HUB_OFFLINE", "maybe"), ("HTTP_PROXY", "socks5://x"), ("HF_TOKEN", "two\nlines"), ("DOCKER_CONFIG", "~nosuchuser/x"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(tmp_path: Path, variable: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^The variable {variable} has a bad value") as caught:
        load(tmp_path, {variable: text})
    assert str(caught.value.hint).startswith("It is ")


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("mirrors = 3", "bad value"), ('mirrors = ["a"]', "bad value"), ("[offline]\nx = 1", "cannot be a table or a list"),
        ("names = 3", "does not know"), ("[names]\nserach = 'x'", "'names.serach'.*does not know"), ("[ca]\nx = 1", "cannot be a table"),
        ("plain_http = [1]", "cannot be a table or a list"), ("offlin = true", "does not know"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, written: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        load(tmp_path, written=written)
    assert str(tmp_path / "config.toml") in caught.value.message


def test_a_bad_value_hurts_only_those_who_use_the_network(slmctl: Program) -> None:
    assert slmctl("list", environment={"HTTP_PROXY": "socks5://x"}).code == 0
    outcome = slmctl("config", "list", environment={"HTTP_PROXY": "socks5://me:canary@x"})
    assert outcome.code == 2
    assert "HTTP_PROXY" in outcome.err
    assert "canary" not in outcome.err


def test_config_list_shows_no_secret(slmctl: Program) -> None:
    secrets = {
        "HF_TOKEN": "hf_canary", "HTTPS_PROXY": "http://me:canary@proxy:1", "http_proxy": "proxy:2", "ALL_PROXY": "http://canary@proxy:3", "SLMCTL_OFFLINE": "",
    }  # fmt: skip
    for arguments in (["--show-origin"], ["--json"], []):
        outcome = slmctl("config", "list", *arguments, environment=secrets)
        assert outcome.code == 0
        assert "canary" not in outcome.out + outcome.err
    rows = {
        row["key"]: (row["value"], row["origin"])
        for row in slmctl("config", "list", "--json", environment=secrets).json["settings"]
    }
    assert rows["hf_token"] == ("(set, not shown)", "environment HF_TOKEN")
    assert rows["https_proxy"] == ("http://***@proxy:1", "environment HTTPS_PROXY")
    assert rows["http_proxy"] == ("http://proxy:2", "environment http_proxy")
    assert rows["offline"] == (False, "default")
    assert list(rows) == [
        *(setting.key for setting in (*SETTINGS, *NETWORK_SETTINGS, *SERVE_SETTINGS)),
        SERVE_MODELS,
    ]


def test_the_page_of_settings_is_true() -> None:
    """`python -m tools.settings_docs` writes it."""
    assert TARGET.read_text(encoding="utf-8") == document()
