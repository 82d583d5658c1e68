"""The chat formats that slmctl knows by name: templates of our own.

They lie in modelfiles/template/formats, one file each; a RENDERER names one. What each is held against stands
in tests/golden/templates.
"""

from __future__ import annotations

from pathlib import Path

import modelfiles
from modelfiles.builtin import known_renderer
from modelfiles.spec import ModelSpec
from modelfiles.words import nearest, printable
from registry.errors import UsageError

_FOLDER = Path(modelfiles.__file__).parent / "template" / "formats"
_JINJA = ".jinja"
_GO = ".go.tmpl"


def chat_formats() -> tuple[str, ...]:
    """The names of all formats, sorted."""
    return tuple(sorted(path.name.removesuffix(_JINJA) for path in _FOLDER.glob(f"*{_JINJA}")))


def jinja_format(name: str) -> str:
    """The chat template of the format `name`, in Jinja. Raises UsageError for a name that nobody knows."""
    return _read(_known(name), _JINJA)


def go_format(name: str) -> str | None:
    """The same in Go's language, as Ollama's TEMPLATE takes it; None where there is none. Raises as above."""
    name = _known(name)
    return _read(name, _GO) if (_FOLDER / f"{name}{_GO}").exists() else None


def engine_template(spec: ModelSpec) -> str | None:
    """The chat template, in Jinja, that an engine loads the model with; None for the one in the model's file.

    Where the author's TEMPLATE makes the prompts, which is Go's and slmctl's to render, the one in the file
    is kept from the engine: it would try it out when it starts, and not start with one that it cannot read.
    """
    renderer = known_renderer(spec.renderer)
    if renderer is None and spec.template is not None:
        renderer = "chatml"
    return None if renderer is None else jinja_format(renderer)


def _known(name: str) -> str:
    known = chat_formats()
    if name in known:
        return name
    close = nearest(name, known)
    raise UsageError(
        f"slmctl has no chat format {printable(name)!r}.",
        hint=f"Did you mean {close}?" if close else f"It has {', '.join(known)}.",
    )


def _read(name: str, ending: str) -> str:
    return (_FOLDER / f"{name}{ending}").read_bytes().decode()
