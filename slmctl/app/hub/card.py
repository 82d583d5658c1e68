"""What the model card says about itself: the YAML between two lines of dashes at the head of README.md.

Source: the Hub's documentation, "Model Cards", "Model card metadata". Written by anybody: only the lines of
the four keys that matter here are read as YAML, without tags and aliases, and what is not of the expected
type is not there. (A card can hold thousands of lines of benchmark results, and YAML is slow.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

_MAX_BYTES = 256 << 10
_HEAD = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_KEYS = ("license", "license_name", "library_name", "base_model")
_MAX_BLOCK = 4096
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_ ()-]{0,127}", re.ASCII)
_UNTELLING = frozenset({"other", "unknown"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """`licenses` as the hub's identifiers or the publisher's own name; `library` such as "mlx"."""

    licenses: tuple[str, ...] = ()
    library: str | None = None
    base_model: str | None = None


class _PlainLoader(yaml.BaseLoader):
    """Texts, lists and mappings: no types, no tags, and no aliases, which make a line grow without end."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent) or _tag_of(self.peek_event()) is not None:  # type: ignore[no-untyped-call]
            raise yaml.YAMLError("more than plain text")
        return super().compose_node(parent, index)


def _tag_of(event: object) -> str | None:
    return getattr(event, "tag", None)


def read_card(readme: bytes) -> Card:
    """The card in the text of a README; an empty one where there is none that can be read."""
    match = _HEAD.match(readme[:_MAX_BYTES])
    if match is None:
        return Card()
    said = {key: _value(key, block) for key, block in _blocks(match[1].decode(errors="replace")).items()}
    licenses = [text for text in _texts(said.get("license")) if text.lower() not in _UNTELLING]
    licenses = licenses or _texts(said.get("license_name"))
    base_models = _texts(said.get("base_model"), pattern=None)
    libraries = _texts(said.get("library_name"))
    return Card(
        licenses=tuple(licenses),
        library=libraries[0].lower() if libraries else None,
        base_model=base_models[0] if base_models else None,
    )


def _blocks(text: str) -> dict[str, str]:
    """The lines of each key that matters: its own, and those behind it that are indented or begin a list."""
    blocks: dict[str, str] = {}
    current = None
    for line in text.splitlines():
        if line[:1] not in {" ", "\t", "-", ""}:
            current = next((key for key in _KEYS if line.startswith(f"{key}:")), None)
            if current is not None:
                blocks[current] = ""
        if current is not None and len(blocks[current]) < _MAX_BLOCK:
            blocks[current] += f"{line}\n"
    return blocks


def _value(key: str, block: str) -> object:
    try:
        document = yaml.load(block[:_MAX_BLOCK], _PlainLoader)  # noqa: S506 - the most restricted one
    except (yaml.YAMLError, RecursionError):
        return None
    return document.get(key) if isinstance(document, dict) else None


def _texts(value: object, pattern: re.Pattern[str] | None = _LABEL) -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values[:16] if isinstance(text, str) and len(text) <= 256]
    return [text for text in texts if text.isprintable() and (pattern is None or pattern.fullmatch(text))]
