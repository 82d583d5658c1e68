"""The table of the server's settings: what each is called, in which variables, and how its text is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slmctl.config import Setting, Value, read_path
from slmctl.network_texts import read_yes_or_no
from slmctl.serve_texts import (
    DEFAULT_PORT,
    count_of_ollama,
    host_of_ollama,
    keep_of_ollama,
    origins_of_ollama,
    port_of_ollama,
    read_any_count,
    read_count,
    read_grace,
    read_host,
    read_hosts,
    read_keep,
    read_mode,
    read_names,
    read_networks,
    read_origins,
    read_period,
    read_port,
    read_root_path,
    read_size,
    shown_mode,
    shown_seconds,
)

MODELS = "serve.models"
"""The key of the table with what is said of single models."""


def _setting(
    name: str,
    read: Callable[[str], Value],
    about: str,
    *,
    foreign: Mapping[str, Callable[[str], Value]] | None = None,
    shown: Callable[[str], str] | None = None,
) -> Setting:
    variable = f"SLMCTL_SERVE_{name.upper()}"
    return Setting(
        key=f"serve.{name}",
        variables=(variable,),
        read=read,
        about=about,
        foreign=foreign or {},
        shown=shown,
    )


SERVE_SETTINGS: tuple[Setting, ...] = (
    _setting("host", read_host, "the address or name to listen at", foreign={"OLLAMA_HOST": host_of_ollama}),
    _setting(
        "port",
        read_port,
        "the port to listen at; 0 takes any that is free",
        foreign={"OLLAMA_HOST": port_of_ollama},
    ),
    _setting("socket", read_path, "a unix socket to listen at, in place of a port unless one is named too"),
    _setting("socket_mode", read_mode, "who may use the socket, as chmod writes it", shown=shown_mode),
    _setting(
        "open_to_all",
        read_yes_or_no,
        "whether others than this machine are let in although no key is defined",
    ),
    _setting("preload", read_names, "models to load before anybody asks, with commas between them"),
    _setting(
        "allowed_hosts",
        read_hosts,
        "names by which requests may ask for this server, besides this machine's own: NAME, *.DOMAIN or *",
    ),
    _setting(
        "allowed_origins",
        read_origins,
        "origins of web pages that may ask, with commas between them",
        foreign={"OLLAMA_ORIGINS": origins_of_ollama},
    ),
    _setting(
        "trusted_proxies",
        read_networks,
        "addresses and networks of proxies whose X-Forwarded headers are believed; unix is the socket",
    ),
    _setting("root_path", read_root_path, "the path under which a proxy shows this server"),
    _setting("tls_certificate", read_path, "a PEM file with the certificate and its chain"),
    _setting("tls_key", read_path, "a PEM file with the certificate's key, if it is not in the same file"),
    _setting(
        "keep_alive",
        read_keep,
        "how long a model stays loaded after its last use: 5m, 0 for not at all, -1 for ever",
        foreign={"OLLAMA_KEEP_ALIVE": keep_of_ollama},
        shown=shown_seconds,
    ),
    _setting(
        "parallel",
        read_count,
        "how many requests a model answers at once; without it the plan decides",
        foreign={"OLLAMA_NUM_PARALLEL": count_of_ollama},
    ),
    _setting("max_memory", read_size, "how much memory the models may take together, such as 6GB"),
    _setting(
        "max_loaded",
        read_count,
        "how many models may be loaded together",
        foreign={"OLLAMA_MAX_LOADED_MODELS": count_of_ollama},
    ),
    _setting(
        "queue_per_model",
        read_any_count,
        "how many requests may wait for a model",
        foreign={"OLLAMA_MAX_QUEUE": count_of_ollama},
    ),
    _setting("queue_per_key", read_any_count, "how many requests of one key may wait"),
    _setting("max_request_size", read_size, "how long a request may be, such as 32MiB"),
    _setting("max_header_size", read_size, "how long the headers of a request may be, such as 64KiB"),
    _setting("max_tokens", read_count, "how many tokens an answer may have at most"),
    _setting("max_connections", read_count, "how many connections may be open at once"),
    _setting(
        "request_timeout",
        read_period,
        "how long a request may take, its answer included",
        shown=shown_seconds,
    ),
    _setting(
        "header_timeout",
        read_period,
        "how long a connection may take to send a request's headers, and be silent inside of a request",
        shown=shown_seconds,
    ),
    _setting(
        "grace",
        read_grace,
        "how long answers that are under way may go on when the server is told to end",
        shown=shown_seconds,
    ),
    _setting("log_prompts", read_yes_or_no, "whether what is asked is written to the log; answers never are"),
)

DEFAULTS: Mapping[str, Value] = {
    "host": "127.0.0.1",
    "port": DEFAULT_PORT,
    "socket_mode": 0o600,
    "open_to_all": False,
    "keep_alive": 300.0,
    "queue_per_model": 512,
    "queue_per_key": 512,
    "max_request_size": 32 << 20,
    "max_header_size": 64 << 10,
    "max_connections": 1024,
    "request_timeout": 3600.0,
    "header_timeout": 30.0,
    "grace": 30.0,
    "log_prompts": False,
}
"""By the key without its `serve.`; what is not here has none."""

FLAG_NAMES: Mapping[str, str] = {
    "allowed_hosts": "--allowed-host",
    "allowed_origins": "--allowed-origin",
    "trusted_proxies": "--trusted-proxy",
}
"""The options whose names differ from their setting's."""
