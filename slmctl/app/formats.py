"""The chat formats that slmctl knows by name: templates of our own.

They lie in modelfiles/template/formats, one file each; a RENDERER names one. What each is held against stands
in tests/golden/templates.
"""

from __future__ import annotations

from pathlib import Path

import modelfiles
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
