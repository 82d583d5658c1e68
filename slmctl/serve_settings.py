"""The settings of the server: the tables [serve] and [serve.models] of the config file, `SLMCTL_SERVE_*`.

    [serve]
    host = "0.0.0.0"
    keep_alive = "30m"

    [serve.models."qwen3:latest"]
    pinned = true
    parameters = { num_ctx = 8192 }

Ollama's variables mean what they mean there; the environment is given, `slmctl.config` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelfiles.spec import ParameterValue, parse_parameter
from registry.errors import UsageError
from registry.names import parse_name
from slmctl.config import Resolved, Setting, Value, find
from slmctl.serve_table import DEFAULTS, FLAG_NAMES, MODELS, SERVE_SETTINGS
from slmctl.serve_texts import DEFAULT_PORT, items, read_count, read_keep

if TYPE_CHECKING:
    from slmctl.config import Settings

_MODEL_HINT = "It may have keep_alive, pinned, parallel, variant and a table of parameters."


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

    `host` "" is every address of this machine; `tcp` is whether a port is listened at at all. `parallel` None
    lets the plan decide. `max_memory` None is what the machine has free. `keep_seconds` is infinity where
    models stay. The queue limits are requests that wait, beyond those that are answered. `open_to_all` lets
    others than this machine in while there is no key. The keys of `models` are full names.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tcp: bool = True
    socket: Path | None = None
    socket_mode: int = 0o600
    open_to_all: bool = False
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
    max_connections: int = 1024
    request_seconds: float = 3600.0
    header_seconds: float = 30.0
    grace_seconds: float = 30.0
    log_prompts: bool = False
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    resolved: tuple[Resolved, ...] = ()


def load_serve_settings(settings: Settings, flags: Mapping[str, str] | None = None) -> ServeSettings:
    """What flags say, else variables, else the config file, else defaults.

    `flags` are by the setting's key without its `serve.`. Raises UsageError for a value that will not do,
    with the place where it stands.
    """
    values: dict[str, Value] = {}
    resolved = []
    for setting in SERVE_SETTINGS:
        name = setting.key.removeprefix("serve.")
        value, origin = (
            _flag(setting, name, flags)
            or find(setting, settings.environment, settings.written, settings.file)
            or (DEFAULTS.get(name), "default")
        )
        values[name] = value
        shown = setting.shown(str(value)) if setting.shown is not None and value is not None else value
        resolved.append(Resolved(key=setting.key, value=shown, origin=origin))
    models, written = _models(settings)
    origin = f"file {settings.file}" if models else "default"
    resolved.append(Resolved(key=MODELS, value=", ".join(written) or None, origin=origin))
    asked = {each.key for each in resolved if each.origin != "default"}
    return _settings(values, models, asked, tuple(resolved))


def _settings(
    values: Mapping[str, Value],
    models: Mapping[str, ModelSettings],
    asked: set[str],
    resolved: tuple[Resolved, ...],
) -> ServeSettings:
    certificate, key = _path(values["tls_certificate"]), _path(values["tls_key"])
    if key is not None and certificate is None:
        raise UsageError(
            "There is a key for TLS, but no certificate.", hint="Name it with --tls-certificate FILE."
        )
    sock = _path(values["socket"])
    return ServeSettings(
        host=str(values["host"]),
        port=_whole(values["port"]) or 0,
        tcp=sock is None or bool(asked & {"serve.host", "serve.port"}),
        socket=sock,
        socket_mode=_whole(values["socket_mode"]) or 0o600,
        open_to_all=bool(values["open_to_all"]),
        preload=items(str(values["preload"] or "")),
        allowed_hosts=items(str(values["allowed_hosts"] or "")),
        allowed_origins=items(str(values["allowed_origins"] or "")),
        trusted_proxies=items(str(values["trusted_proxies"] or "")),
        root_path=str(values["root_path"] or ""),
        tls_certificate=certificate,
        tls_key=key,
        keep_seconds=_number(values["keep_alive"]),
        parallel=_whole(values["parallel"]),
        max_memory=_whole(values["max_memory"]),
        max_loaded=_whole(values["max_loaded"]),
        queue_per_model=_number_of(values["queue_per_model"]),
        queue_per_key=_number_of(values["queue_per_key"]),
        max_request_bytes=_number_of(values["max_request_size"]),
        max_header_bytes=_number_of(values["max_header_size"]),
        max_tokens=_whole(values["max_tokens"]),
        max_connections=_number_of(values["max_connections"]),
        request_seconds=_number(values["request_timeout"]),
        header_seconds=_number(values["header_timeout"]),
        grace_seconds=_number(values["grace"]),
        log_prompts=bool(values["log_prompts"]),
        models=models,
        resolved=resolved,
    )


def _flag(setting: Setting, name: str, flags: Mapping[str, str] | None) -> tuple[Value, str] | None:
    if flags is None or name not in flags:
        return None
    option = FLAG_NAMES.get(name, f"--{name.replace('_', '-')}")
    try:
        return setting.read(flags[name]), f"flag {option}"
    except ValueError as error:
        raise UsageError(
            f"{option} has a bad value {flags[name]!r:.60}: {error}.", hint=f"It is {setting.about}."
        ) from None


def _models(settings: Settings) -> tuple[dict[str, ModelSettings], list[str]]:
    """What the file says of single models, by full name, and their names as they stand there."""
    serve = settings.written.get("serve")
    table = serve.get("models") if isinstance(serve, Mapping) else None
    if table is None:
        return {}, []
    where = f"The table [{MODELS}] in {settings.file}"
    if not isinstance(table, Mapping) or not all(isinstance(each, Mapping) for each in table.values()):
        raise UsageError(
            f"{where} holds something else than a table per model.",
            hint=f'Write [{MODELS}."NAME"] above what is said of a model.',
        )
    found = {}
    for name, fields in table.items():
        place = f'The table [{MODELS}."{name:.60}"] in {settings.file}'
        try:
            found[parse_name(name).full_name] = _model(fields)
        except (UsageError, ValueError) as error:
            said = error.message if isinstance(error, UsageError) else f"{error}."
            hint = error.hint if isinstance(error, UsageError) else None
            raise UsageError(f"{place} will not do: {said}", hint=hint or _MODEL_HINT) from None
    return found, list(table)


def _model(fields: Mapping[str, object]) -> ModelSettings:
    unknown = sorted(set(fields) - {"keep_alive", "pinned", "parallel", "variant", "parameters"})
    if unknown:
        raise ValueError(
            f"{unknown[0]!r:.60} is none of keep_alive, pinned, parallel, variant and parameters"
        )
    pinned, parameters = fields.get("pinned", False), fields.get("parameters", {})
    if not isinstance(pinned, bool):
        raise ValueError("pinned is true or false")
    if not isinstance(parameters, Mapping):
        raise ValueError("parameters is a table of names and values")
    variant = fields.get("variant")
    if variant is not None and not (isinstance(variant, str) and variant.strip()):
        raise ValueError("variant is the name of a build")
    return ModelSettings(
        keep_seconds=read_keep(str(fields["keep_alive"])) if "keep_alive" in fields else None,
        pinned=pinned,
        parallel=read_count(str(fields["parallel"])) if "parallel" in fields else None,
        variant=variant,
        parameters={str(name): _parameter(str(name), value) for name, value in parameters.items()},
    )


def _parameter(name: str, value: object) -> ParameterValue:
    if isinstance(value, list):
        texts = [parse_parameter(name, str(each)) for each in value]
        if not all(isinstance(each, tuple) for each in texts):
            raise ValueError(f"the parameter {name} takes one value")
        return tuple(text for each in texts if isinstance(each, tuple) for text in each)
    return parse_parameter(name, str(value).lower() if isinstance(value, bool) else str(value))


def _path(value: Value) -> Path | None:
    return None if value is None else Path(str(value))


def _whole(value: Value) -> int | None:
    assert value is None or isinstance(value, int)
    return value


def _number_of(value: Value) -> int:
    assert isinstance(value, int)
    return value


def _number(value: Value) -> float:
    assert isinstance(value, (int, float))
    return value
