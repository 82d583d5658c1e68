"""The models that `run --keep` left loaded: looking at them, and unloading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import OperationFailed
from registry.names import ModelRef
from runtimes import kept
from slmctl.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """A loaded model. `seconds_left` is None while it is in use, and where it stays until it is stopped."""

    key: str
    name: str
    variant: str
    context_length: int | None
    pid: int | None
    in_use: bool
    seconds_left: float | None


def kept_models(settings: Settings) -> list[KeptModel]:
    """What is kept loaded now, by name."""
    found = [_kept(answer) for answer in kept.look(settings.runtime_folders)]
    return sorted(found, key=lambda model: (model.name, model.key))


def unload(settings: Settings, ref: ModelRef | None = None) -> list[str]:
    """Unload what is kept under the name `ref`, in any case, or all; their names. Returns when they are gone.

    Raises OperationFailed when one does not go.
    """
    name = ref.full_name.casefold() if ref is not None else None
    wanted = [model for model in kept_models(settings) if name is None or model.name.casefold() == name]
    for model in wanted:
        if kept.stop(settings.runtime_folders, model.key):
            continue
        if model.key in {each.key for each in kept_models(settings)}:
            raise OperationFailed(
                f"{model.name} did not end in time.", hint=f"Its engine is process {model.pid}."
            )
    return [model.name for model in wanted]


def _kept(answer: Mapping[str, object]) -> KeptModel:
    about = answer.get("about")
    fields: Mapping[str, object] = about if isinstance(about, dict) else {}
    context, pid, left = fields.get("context_length"), answer.get("pid"), answer.get("left")
    return KeptModel(
        key=str(answer["key"]),
        name=str(fields.get("name", "?")),
        variant=str(fields.get("variant", "?")),
        context_length=context if isinstance(context, int) else None,
        pid=pid if isinstance(pid, int) else None,
        in_use=answer.get("in_use") is True,
        seconds_left=float(left) if isinstance(left, int | float) else None,
    )
