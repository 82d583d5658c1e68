"""Settings: the only reader of the environment and of the config file.

A value comes from a flag, else from a `SLMCTL_*` variable (or the variable of another tool that means the
same), else from `config.toml` in slmctl's home, else from its default; where it came from is kept.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import OperationFailed, UsageError

if TYPE_CHECKING:
    from slmctl.network_settings import NetworkSettings
    from slmctl.serve_settings import ServeSettings

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one setting is called, in which variables, and how its text is read.

    A dot in the key is a table of the config file: `names.search`. `read` raises ValueError with the reason
    when the text will not do. `shown` is the value as others may see it, where the value itself is a secret.
    A list in the file is text with `separator` between its items; a table has none unless `is_table`.
    `foreign` are variables of another tool's that are written otherwise: how to read each, None counting as
    not set.
    """

    key: str
    variables: tuple[str, ...]
    read: Callable[[str], Value]
    about: str
    shown: Callable[[str], str] | None = None
    separator: str = ","
    is_table: bool = False
    foreign: Mapping[str, Callable[[str], Value]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A setting's value as it is shown, and its origin: `default`, `environment NAME` or `file PATH`."""

    key: str
    value: Value
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one run of slmctl.

    `stores` are further ones, which are only read; `context_length` is in tokens, None where nobody asked for
    one; `start_timeout_seconds` bounds the loading of a model; `environment` is what a worker's environment
    is chosen from; `written` is what stands in the config file `file`.
    """

    home: Path
    store: Path
    stores: tuple[Path, ...]
    context_length: int | None
    start_timeout_seconds: float
    runtime_folders: tuple[Path, ...]
    resolved: tuple[Resolved, ...]
    environment: Mapping[str, str] = field(repr=False)
    file: Path
    written: Mapping[str, object] = field(repr=False)

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment (that of this process unless another is given) and the config file.

        Raises UsageError for a value that will not do, with the place where it stands.
        """
        environment = dict(os.environ) if environment is None else environment
        home = resolve(_HOME, environment, {}, Path()) or Resolved(
            key="home", value=str(user_data_folder(environment, sys.platform)), origin="default"
        )
        file = Path(str(home.value)) / "config.toml"
        written = _read_file(file)
        defaults: dict[str, Value] = {
            "home": home.value,
            "store": str(Path(str(home.value)) / "store"),
            "stores": "",
            "context_length": None,
            "start_timeout": 600.0,
        }
        resolved = {"home": home}
        for setting in SETTINGS[1:]:
            resolved[setting.key] = resolve(setting, environment, written, file) or Resolved(
                key=setting.key, value=defaults[setting.key], origin="default"
            )
        context = resolved["context_length"].value
        timeout = resolved["start_timeout"].value
        assert context is None or isinstance(context, int)
        assert isinstance(timeout, float)
        return cls(
            home=Path(str(home.value)),
            store=Path(str(resolved["store"].value)),
            stores=tuple(Path(text) for text in str(resolved["stores"].value).split(":") if text),
            context_length=context,
            start_timeout_seconds=timeout,
            runtime_folders=runtime_folders(environment),
            resolved=tuple(resolved.values()),
            environment=environment,
            file=file,
            written=written,
        )

    @property
    def network(self) -> NetworkSettings:
        """The settings of the network; read when asked for, because `slmctl list` must start fast.

        Raises UsageError for a value that will not do.
        """
        from slmctl.network_settings import NetworkSettings

        return NetworkSettings.load(self)

    @property
    def serve(self) -> ServeSettings:
        """The settings of the server; read when asked for, as those of the network.

        Raises UsageError for a value that will not do.
        """
        from slmctl.serve_settings import load_serve_settings

        return load_serve_settings(self)


def wants_traceback() -> bool:
    """Whether whoever started slmctl asked to see where a bug happened."""
    return os.environ.get("SLMCTL_DEBUG", "") not in {"", "0"}


def user_data_folder(environment: Mapping[str, str], platform: str) -> Path:
    """Where slmctl keeps its state by default: the same folder as platformdirs' user_data_path("slmctl").

    Written out because `slmctl list` must start fast; a test holds the two against each other.
    """
    try:
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
    except RuntimeError:  # no HOME, and a user that the system does not know, as in some containers
        raise UsageError("There is no home folder.", hint="Set SLMCTL_HOME to a folder of yours.") from None
    if platform == "darwin":
        return home / "Library" / "Application Support" / "slmctl"
    base = environment.get("XDG_DATA_HOME", "").strip()
    return (Path(base) if base else home / ".local" / "share") / "slmctl"


def runtime_folders(environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Candidates for the folder of sockets, best first; never in the store."""
    shared = ("/tmp", "/var/tmp")  # noqa: S108 - runtimes.folders makes a folder in it that is ours alone
    candidates = (environment.get("XDG_RUNTIME_DIR", ""), environment.get("TMPDIR", ""), *shared)
    return tuple(dict.fromkeys(Path(text) for text in candidates if text.startswith("/")))


def read_path(text: str) -> str:
    if "\0" in text or not text.strip():
        raise ValueError("a path is missing")
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError as error:
        raise ValueError(f"{error}") from None


def _paths(text: str) -> str:
    return ":".join(dict.fromkeys(read_path(each) for each in text.split(":") if each.strip()))


def _tokens(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= 2**31 - 1:
        raise ValueError("it takes a number of tokens")
    return int(text)


def read_seconds(text: str) -> float:
    value = float(text)  # its ValueError says enough
    if not 0 < value < 1e9:
        raise ValueError("it takes a number of seconds above 0")
    return value


_HOME = Setting(key="home", variables=("SLMCTL_HOME",), read=read_path, about="where slmctl keeps its state")

SETTINGS: tuple[Setting, ...] = (
    _HOME,
    Setting(key="store", variables=("SLMCTL_STORE",), read=read_path, about="the store's folder"),
    Setting(
        key="stores",
        variables=("SLMCTL_STORES",),
        read=_paths,
        about="further stores that are read and never written, with colons between them",
        separator=":",
    ),
    Setting(
        key="context_length",
        variables=("SLMCTL_CONTEXT_LENGTH", "OLLAMA_CONTEXT_LENGTH"),
        read=_tokens,
        about="tokens of context when a request does not say",
    ),
    Setting(
        key="start_timeout",
        variables=("SLMCTL_START_TIMEOUT",),
        read=read_seconds,
        about="seconds that a model may take to load",
    ),
)


def resolve(
    setting: Setting, environment: Mapping[str, str], written: Mapping[str, object], file: Path
) -> Resolved | None:
    """The setting as the environment or the file has it, None where neither does. Raises UsageError."""
    found = find(setting, environment, written, file)
    if found is None:
        return None
    value, origin = found
    if setting.shown is not None:
        value = setting.shown(str(value))
    return Resolved(key=setting.key, value=value, origin=origin)


def find(
    setting: Setting, environment: Mapping[str, str], written: Mapping[str, object], file: Path
) -> tuple[Value, str] | None:
    """As `resolve`, but the value itself, with its origin."""
    for variable in setting.variables:
        if text := environment.get(variable, ""):
            return _checked(setting, text, f"The variable {variable}"), f"environment {variable}"
    for variable, read in setting.foreign.items():
        if (text := environment.get(variable, "")) and (foreign := read(text)) is not None:
            return foreign, f"environment {variable}"
    value: object = written
    for part in setting.key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return None
    where = f"The setting {setting.key} in {file}"
    return _checked(setting, _as_text(setting, value, where), where), f"file {file}"


def _as_text(setting: Setting, value: object, where: str) -> str:
    """What stands in the file, as the variable would say it."""
    if setting.is_table and isinstance(value, Mapping):
        items = {str(key): each if isinstance(each, list) else [each] for key, each in value.items()}
        return ";".join(f"{key}={','.join(map(str, each))}" for key, each in items.items())
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return setting.separator.join(value)
    if isinstance(value, (Mapping, list)):
        raise UsageError(f"{where} cannot be a table or a list.", hint=f"It is {setting.about}.")
    return str(value)


def _checked(setting: Setting, text: str, where: str) -> Value:
    try:
        return setting.read(text)
    except ValueError as error:
        bad = "a bad value" if setting.shown is not None else f"a bad value {text!r:.60}"
        raise UsageError(f"{where} has {bad}: {error}.", hint=f"It is {setting.about}.") from None


def _read_file(file: Path) -> dict[str, object]:
    try:
        text = file.read_text(encoding="utf-8")
        import tomllib  # here and below: most homes have no config file, and `slmctl list` must start fast

        written = tomllib.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise OperationFailed(
            f"The config file {file} cannot be read ({os.strerror(error.errno or 0)}).",
            hint="Check who owns it, or set SLMCTL_HOME to a folder that you can read.",
        ) from None
    except ValueError as error:
        raise UsageError(
            f"The config file {file} is not valid TOML: {error}.", hint="Correct it, or move it away."
        ) from None
    known = [setting.key for setting in SETTINGS if setting is not _HOME]
    for key in _keys(written):
        if key not in known:
            from slmctl.network_settings import NETWORK_SETTINGS
            from slmctl.serve_table import MODELS, SERVE_SETTINGS

            later = (*NETWORK_SETTINGS, *SERVE_SETTINGS)
            known += [name for name in (*(each.key for each in later), MODELS) if name not in known]
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, known, n=1)
            raise UsageError(
                f"The config file {file} has a setting {key!r:.60} that slmctl does not know.",
                hint=f"Did you mean {near[0]}?" if near else f"It knows {', '.join(known)}.",
            )
    return written


def _keys(written: Mapping[str, object]) -> Iterator[str]:
    for key, value in written.items():
        if key in {"names", "serve"} and isinstance(value, Mapping):
            yield from (f"{key}.{each}" for each in value)
        else:
            yield key
