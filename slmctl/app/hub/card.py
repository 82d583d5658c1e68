"""What the model card says about itself: the YAML between two lines of dashes at the head of README.md.

Source: the Hub's documentation, "Model Cards", "Model card metadata". Written by anybody: it is read with
YAML's safe loader, within limits, and what is not of the expected type is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

_MAX_BYTES = 256 << 10
_HEAD = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_ ()-]{0,127}", re.ASCII)
_UNTELLING = frozenset({"other", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """`licenses` as the hub's identifiers or the publisher's own name; `library` such as "mlx"."""

    licenses: tuple[str, ...] = ()
    library: str | None = None
    base_model: str | None = None


class _PlainLoader(yaml.SafeLoader):
    """Safe, and without aliases, which can make a line of text grow without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)


def read_card(readme: bytes) -> Card:
    """The card in the text of a README; an empty one where there is none that can be read."""
    match = _HEAD.match(readme[:_MAX_BYTES])
    if match is None:
        return Card()
    try:
        document = yaml.load(match[1].decode(), _PlainLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return Card()
    if not isinstance(document, dict):
        return Card()
    licenses = [text for text in _texts(document.get("license")) if text.lower() not in _UNTELLING]
    licenses = licenses or _texts(document.get("license_name"))
    base_models = _texts(document.get("base_model"), pattern=None)
    libraries = _texts(document.get("library_name"))
    return Card(
        licenses=tuple(licenses),
        library=libraries[0].lower() if libraries else None,
        base_model=base_models[0] if base_models else None,
    )


def _texts(value: object, pattern: re.Pattern[str] | None = _LABEL) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values[:16] if isinstance(text, str) and len(text) <= 256]
    return [text for text in texts if text.isprintable() and (pattern is None or pattern.fullmatch(text))]
