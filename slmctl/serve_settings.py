"""The settings of the server: the tables [serve] and [serve.models] of the config file, `SLMCTL_SERVE_*`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelfiles.spec import ParameterValue


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What the config file says of one model: `[serve.models."qwen3:latest"]`.

    `pinned` models are never made to leave for others. `parameters` are Ollama's and stand between the
    package's and the request's. `parallel` is how many requests are answered at once, None the server's.
    """

    keep_seconds: float | None = None
    pinned: bool = False
    parallel: int | None = None
    variant: str | None = None
    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How the server serves. Sizes are in bytes, durations in seconds.

    `parallel` None lets the plan decide. `max_memory` None is what the machine has free. `keep_seconds` is
    infinity where models stay. The queue limits are requests that wait, beyond those that are answered.
    """

    host: str = "127.0.0.1"
    port: int = 11434
    socket: Path | None = None
    preload: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    root_path: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    keep_seconds: float = 300.0
    parallel: int | None = None
    max_memory: int | None = None
    max_loaded: int | None = None
    queue_per_model: int = 512
    queue_per_key: int = 512
    max_request_bytes: int = 32 << 20
    max_header_bytes: int = 64 << 10
    max_tokens: int | None = None
    request_seconds: float = 3600.0
    header_seconds: float = 30.0
    grace_seconds: float = 30.0
    log_prompts: bool = False
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
