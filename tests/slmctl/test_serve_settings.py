"""The settings of the server: where each comes from, Ollama's variables, and what is refused with which words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from registry.errors import UsageError
from slmctl.config import Settings
from slmctl.serve_settings import ModelSettings, ServeSettings, load_serve_settings
from slmctl.serve_table import DEFAULTS, SERVE_SETTINGS


def _settings(home: Path, config: str = "", **environment: str) -> Settings:
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(config, encoding="utf-8")
    return Settings.load({"SLMCTL_HOME": str(home), "HOME": str(home), **environment})


def _serve(home: Path, config: str = "", **environment: str) -> ServeSettings:
    return _settings(home, config, **environment).serve


# `OLLAMA_HOST` in Ollama 0.33's own table of tests: what is listened at
@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1.2.3.4", "1.2.3.4", 11434),
        (":1234", "", 1234),
        ("1.2.3.4:1234", "1.2.3.4", 1234),
        ("example.com", "example.com", 11434),
        (":0", "", 0),
        (":66000", "", 11434),
        (":-1", "", 11434),
        ("[::1]", "::1", 11434),
        ("::1", "::1", 11434),
        ("[::1]:1337", "::1", 1337),
        (" 1.2.3.4 ", "1.2.3.4", 11434),
        ("'1.2.3.4'", "1.2.3.4", 11434),
        ("http://1.2.3.4", "1.2.3.4", 80),
        ("https://1.2.3.4", "1.2.3.4", 443),
        ("https://example.com/ollama", "example.com", 443),
        ("http://1.2.3.4:8080/x", "1.2.3.4", 8080),
        ("ollama.com", "ollama.com", 443),
        ("0.0.0.0", "0.0.0.0", 11434),
    ],
)
def test_ollamas_host(tmp_path: Path, text: str, host: str, port: int) -> None:
    serve = _serve(tmp_path, OLLAMA_HOST=text)
    assert (serve.host, serve.port) == (host, port)


def test_without_anything_it_is_ollamas_address(tmp_path: Path) -> None:
    serve = _serve(tmp_path, OLLAMA_HOST="")
    assert (serve.host, serve.port, serve.tcp, serve.socket) == ("127.0.0.1", 11434, True, None)
    assert serve == ServeSettings(resolved=serve.resolved), "the defaults stand in one place"
    assert {each.key.removeprefix("serve.") for each in SERVE_SETTINGS} >= DEFAULTS.keys()


# `OLLAMA_KEEP_ALIVE`, of the same table
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("1m", 60.0),
        ("1h", 3600.0),
        ("5m0s", 300.0),
        ("1h2m3s", 3723.0),
        ("0", 0.0),
        ("-0", 0.0),
        ("60", 60.0),
        ("3600", 3600.0),
        ("-1", math.inf),
        ("-1m", math.inf),
        (" ", 300.0),
        ("???", 300.0),
        ("1d", 300.0),
        ("1y", 300.0),
        ("1w", 300.0),
        ("'5s'", 5.0),
        ("99999h", math.inf),
    ],
)
def test_ollamas_keep_alive(tmp_path: Path, text: str, seconds: float) -> None:
    assert _serve(tmp_path, OLLAMA_KEEP_ALIVE=text).keep_seconds == seconds


def test_ollamas_other_variables(tmp_path: Path) -> None:
    serve = _serve(
        tmp_path,
        OLLAMA_NUM_PARALLEL="3",
        OLLAMA_MAX_LOADED_MODELS="2",
        OLLAMA_MAX_QUEUE="7",
        OLLAMA_ORIGINS="https://a.example,nonsense,app://obsidian.md",
    )
    assert (serve.parallel, serve.max_loaded, serve.queue_per_model) == (3, 2, 7)
    assert serve.allowed_origins == ("https://a.example", "app://obsidian.md")
    unset = _serve(tmp_path, OLLAMA_NUM_PARALLEL="0", OLLAMA_MAX_LOADED_MODELS="many", OLLAMA_MAX_QUEUE="-1")
    assert (unset.parallel, unset.max_loaded, unset.queue_per_model) == (None, None, 512)


def test_flags_then_variables_then_the_file_then_defaults(tmp_path: Path) -> None:
    config = '[serve]\nport = 1\ngrace = "7s"\nkeep_alive = -1\nhost = "::1"\nlog_prompts = true\n'
    settings = _settings(
        tmp_path, config, SLMCTL_SERVE_PORT="2", OLLAMA_HOST="9.9.9.9:9", SLMCTL_SERVE_GRACE="8"
    )
    serve = load_serve_settings(settings, {"port": "3"})
    assert (serve.port, serve.grace_seconds, serve.keep_seconds, serve.host) == (3, 8.0, math.inf, "9.9.9.9")
    origins = {each.key: (each.value, each.origin) for each in serve.resolved}
    assert origins["serve.port"] == (3, "flag --port")
    assert origins["serve.grace"] == ("8s", "environment SLMCTL_SERVE_GRACE")
    assert origins["serve.host"] == ("9.9.9.9", "environment OLLAMA_HOST")
    assert origins["serve.keep_alive"] == ("for ever", f"file {tmp_path / 'config.toml'}")
    assert origins["serve.log_prompts"] == (True, f"file {tmp_path / 'config.toml'}")
    assert origins["serve.max_memory"] == (None, "default")
    assert load_serve_settings(settings, {}).port == 2, "our own variable is asked before Ollama's"


def test_what_is_said_of_single_models(tmp_path: Path) -> None:
    config = """\
[serve]
preload = ["qwen3", "hello"]
max_memory = "6GB"
[serve.models.qwen3]
keep_alive = "1h"
pinned = true
parallel = 2
variant = "gguf-q4_k_m"
parameters = { num_ctx = 8192, stop = ["a", "b"], temperature = 0, use_mmap = false }
[serve.models."hf.co/org/repo:Q8_0"]
keep_alive = 0
"""
    serve = _serve(tmp_path, config)
    assert serve.preload == ("qwen3", "hello")
    assert serve.max_memory == 6_000_000_000
    assert serve.models == {
        "qwen3:latest": ModelSettings(
            keep_seconds=3600.0,
            pinned=True,
            parallel=2,
            variant="gguf-q4_k_m",
            parameters={"num_ctx": 8192, "stop": ("a", "b"), "temperature": 0.0, "use_mmap": False},
        ),
        "hf.co/org/repo:Q8_0": ModelSettings(keep_seconds=0.0),
    }


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("[serve]\nport = 70000", "The setting serve.port in {file} has a bad value '70000'"),
        ('[serve]\nhost = "a b"', "The setting serve.host in {file} has a bad value 'a b'"),
        ('[serve]\nhost = "1.2.3.4:80"', "it takes a name or an address without a port"),
        ('[serve]\nkeep_alive = "soon"', "it takes a length of time"),
        ("[serve]\nmax_memory = 6", "it takes a size such as"),
        ('[serve]\ngrace = "-1"', "it takes a length of time, such as 30s"),
        ('[serve]\ntrusted_proxies = ["10.0.0.0/33"]', "10.0.0.0/33 is no address and no network"),
        ('[serve]\nallowed_origins = ["app.example"]', "app.example is no origin"),
        ('[serve]\nallowed_hosts = ["a/b"]', "it takes a name or an address"),
        ('[serve]\nroot_path = "models"', "it takes a path such as /models"),
        ("[serve]\nsocket_mode = 777", "it takes 600, 660 or 666"),
        ("[serve]\nqueue_per_model = -1", "it takes a number from 0"),
        ("[serve]\nprot = 1", "has a setting 'serve.prot' that slmctl does not know"),
        ("[serve]\nmodels = 1", "The table [serve.models] in {file} holds something else"),
        (
            "[serve.models.a]\nkeep = 1",
            "'keep' is none of keep_alive, pinned, parallel, variant and parameters",
        ),
        ("[serve.models.a]\npinned = 1", "pinned is true or false"),
        ('[serve.models."a b"]\npinned = true', 'The table [serve.models."a b"] in {file} will not do'),
        ("[serve.models.a.parameters]\nnum_ctz = 1", "There is no parameter 'num_ctz'"),
        ('[serve.models.a.parameters]\nnum_ctx = "x"', "The parameter num_ctx takes"),
        ("[serve.models.a.parameters]\nnum_ctx = [1, 2]", "the parameter num_ctx takes one value"),
        ('[serve]\ntls_key = "/k"', "There is a key for TLS, but no certificate."),
    ],
)
def test_what_will_not_do_is_told_with_its_place(tmp_path: Path, config: str, complaint: str) -> None:
    with pytest.raises(UsageError) as told:
        _ = _serve(tmp_path, config)
    assert complaint.format(file=tmp_path / "config.toml") in told.value.message
    assert told.value.hint


def test_a_bad_variable_and_a_bad_flag_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The variable SLMCTL_SERVE_PORT has a bad value 'x'"):
        _ = _serve(tmp_path, SLMCTL_SERVE_PORT="x")
    with pytest.raises(UsageError, match="--trusted-proxy has a bad value 'x'"):
        load_serve_settings(_settings(tmp_path), {"trusted_proxies": "x"})


def test_a_socket_takes_the_place_of_the_port_unless_one_is_named(tmp_path: Path) -> None:
    assert not _serve(tmp_path, '[serve]\nsocket = "/run/x.sock"').tcp
    both = _serve(tmp_path, '[serve]\nsocket = "/run/x.sock"\nport = 1')
    assert both.tcp
    assert both.socket == Path("/run/x.sock")
