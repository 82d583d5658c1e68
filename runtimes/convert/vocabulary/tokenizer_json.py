"""tokenizer.json: what the library `tokenizers` keeps of a tokenizer, checked.

Source: the serialisation of `tokenizers` (version "1.0"): `model` with its vocabulary and merges,
`added_tokens` which are found in a text before anything else, and four pipelines (`normalizer`,
`pre_tokenizer`, `post_processor`, `decoder`), each a step or a Sequence of steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.errors import MalformedFile
from registry.formats.quote import quoted

NAME = "tokenizer.json"
MAX_TOKENS = 1 << 21
"""Eight times the largest vocabulary that anybody has published."""

MAX_TOKEN_LENGTH = 1024
"""In characters. The longest of published vocabularies, rows of blanks, have some hundred; who looks at all
ways to cut a token takes the square of it."""

_HINT = "Download the model again from where its makers publish it."
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedToken:
    """A token that is looked for before a text is cut up; `special` ones are no text."""

    number: int
    text: str
    special: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a pipeline."""

    kind: str
    settings: Mapping[str, object]

    def flag(self, name: str, default: bool) -> bool:
        """A setting that is true or false; the default where it is anything else."""
        value = self.settings.get(name)
        return value if isinstance(value, bool) else default

    def text(self, name: str) -> str | None:
        value = self.settings.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerJson:
    """A tokenizer. `merges` are in the order in which they are done; a pipeline without steps does
    nothing."""

    model: str
    vocabulary: Mapping[str, int]
    merges: tuple[tuple[str, str], ...]
    added: tuple[AddedToken, ...]
    unknown: str | None
    byte_fallback: bool
    ignore_merges: bool
    normalizer: tuple[Step, ...]
    pre_tokenizer: tuple[Step, ...]
    post_processor: tuple[Step, ...]

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> TokenizerJson:
        """The parsed file. Raises MalformedFile."""
        model = _object(fields.get("model"), "model")
        kind, unknown = model.get("type"), model.get("unk_token")
        if kind is None:  # as `tokenizers` wrote it before 2020: only BPE has merges
            kind = "BPE" if "merges" in model else "WordPiece"
        if not isinstance(kind, str):
            raise MalformedFile(f"The model's type in {NAME} is {quoted(kind)}.", hint=_HINT)
        return cls(
            model=kind,
            vocabulary=_vocabulary(model.get("vocab"))
            if kind in ("BPE", "WordPiece")
            else MappingProxyType({}),
            merges=_merges(model.get("merges")) if kind == "BPE" else (),
            added=_added(fields.get("added_tokens")),
            unknown=unknown if isinstance(unknown, str) else None,
            byte_fallback=model.get("byte_fallback") is True,
            ignore_merges=model.get("ignore_merges") is True,
            normalizer=_steps(fields.get("normalizer"), "normalizers", "normalizer"),
            pre_tokenizer=_steps(fields.get("pre_tokenizer"), "pretokenizers", "pre_tokenizer"),
            post_processor=_steps(fields.get("post_processor"), "processors", "post_processor"),
        )


def added_token(number: object, fields: object, where: str) -> AddedToken:
    """One of `added_tokens`, or of tokenizer_config.json's `added_tokens_decoder`. Raises MalformedFile."""
    if isinstance(fields, dict) and type(number) is int and 0 <= number < MAX_TOKENS:
        text, special = fields.get("content"), fields.get("special")
        if isinstance(text, str):
            return AddedToken(number=number, text=text, special=special is True)
    raise MalformedFile(f"{where} has an added token {quoted(number)} that is none.", hint=_HINT)


def _vocabulary(value: object) -> Mapping[str, int]:
    """Text to number: numbers from 0 to two million, each once."""
    fields = _object(value, "model.vocab")
    numbers = set()
    for text, number in fields.items():
        if type(number) is not int or not 0 <= number < MAX_TOKENS:
            raise MalformedFile(
                f"The token {quoted(text)} of {NAME} has number {quoted(number)}.", hint=_HINT
            )
        if len(text) > MAX_TOKEN_LENGTH:
            raise MalformedFile(
                f"{NAME} has a token of {len(text)} characters; at most {MAX_TOKEN_LENGTH} are accepted.",
                hint=_HINT,
            )
        numbers.add(number)
    if len(numbers) != len(fields):
        raise MalformedFile(f"Two tokens of {NAME} have the same number.", hint=_HINT)
    return MappingProxyType(fields)  # type: ignore[arg-type]  # every value is an int, by the loop


def _merges(value: object) -> tuple[tuple[str, str], ...]:
    """Pairs, or (until 2024) texts with a blank between the parts."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise MalformedFile(f"The merges of {NAME} are no list.", hint=_HINT)
    pairs = []
    for item in value:  # 280,000 of them
        parts = item.split(" ") if isinstance(item, str) else item
        if isinstance(parts, list) and len(parts) == 2:
            left, right = parts
            if (
                isinstance(left, str)
                and isinstance(right, str)
                and len(left) + len(right) <= MAX_TOKEN_LENGTH
            ):
                pairs.append((left, right))
                continue
        raise MalformedFile(f"{NAME} has the merge {quoted(item)}, which is no pair of tokens.", hint=_HINT)
    return tuple(pairs)


def _added(value: object) -> tuple[AddedToken, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise MalformedFile(f"The added_tokens of {NAME} are no list.", hint=_HINT)
    return tuple(
        added_token(item.get("id") if isinstance(item, dict) else None, item, NAME) for item in value
    )


def _steps(value: object, plural: str, name: str, depth: int = 0) -> tuple[Step, ...]:
    """A pipeline without its Sequences, which may lie in each other."""
    if value is None:
        return ()
    if depth > _MAX_DEPTH:
        raise MalformedFile(f"The {name} of {NAME} has Sequences in each other without end.", hint=_HINT)
    fields = _object(value, name)
    kind = fields.get("type")
    if kind == "Sequence":
        inner = fields.get(plural)
        if not isinstance(inner, list):
            raise MalformedFile(f"The {name} of {NAME} has a Sequence of nothing.", hint=_HINT)
        return tuple(step for item in inner for step in _steps(item, plural, name, depth + 1))
    if not isinstance(kind, str):
        raise MalformedFile(f"The {name} of {NAME} has a step without a type.", hint=_HINT)
    return (Step(kind=kind, settings=MappingProxyType(fields)),)


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MalformedFile(f"The {what} of {NAME} is {quoted(value)} and no object.", hint=_HINT)
    return value
