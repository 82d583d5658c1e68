"""ModelSpec: the authored part of a model, all that a Modelfile says except where the weights come from.

It is stored beside the weights as canonical JSON (`slmctl/spec.json`, docs/schemas/spec-1.json) and so can
come from a stranger; `ModelSpec.from_json` believes nothing. The parameters, their types and which of them
are deprecated are Ollama's.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from modelfiles.words import ROLES, nearest, printable
from registry.errors import MalformedFile, UsageError

SCHEMA = "slmctl.spec/1"

ParameterValue = int | float | bool | tuple[str, ...]


class Kind(enum.Enum):
    """The type of a parameter's value; the value of the member says it in words."""

    INT32 = "a whole number from -2147483648 to 2147483647"
    INT64 = "a whole number from -9223372036854775808 to 9223372036854775807"
    FLOAT = "a number"
    BOOL = "true or false"
    STRINGS = "text"


PARAMETERS: Mapping[str, Kind] = MappingProxyType(
    {
        "draft_num_predict": Kind.INT32,
        "frequency_penalty": Kind.FLOAT,
        "main_gpu": Kind.INT32,
        "min_p": Kind.FLOAT,
        "num_batch": Kind.INT32,
        "num_ctx": Kind.INT32,
        "num_gpu": Kind.INT32,
        "num_keep": Kind.INT32,
        "num_predict": Kind.INT32,
        "num_thread": Kind.INT32,
        "presence_penalty": Kind.FLOAT,
        "repeat_last_n": Kind.INT32,
        "repeat_penalty": Kind.FLOAT,
        "seed": Kind.INT64,
        "stop": Kind.STRINGS,
        "temperature": Kind.FLOAT,
        "top_k": Kind.INT32,
        "top_p": Kind.FLOAT,
        "typical_p": Kind.FLOAT,
        "use_mmap": Kind.BOOL,
    }
)

DEPRECATED = frozenset(
    {
        "f16_kv",
        "logits_all",
        "low_vram",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "penalize_newline",
        "use_mlock",
        "vocab_only",
    }
)
"""Parameters that old Modelfiles have and that no longer do anything."""

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_LONGEST_NUMBER = 100
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127  # the largest float32: engines hold parameters in one
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_BITS = {Kind.INT32: 32, Kind.INT64: 64}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of the conversation that a chat starts with; `role` is one of `words.ROLES`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What an author says about a model.

    `parameters` maps names of `PARAMETERS` to values of their kind (`stop`: a tuple of strings), sorted and
    read-only. None means "not said": an empty `system` replaces the base's, None keeps it.
    """

    parameters: Mapping[str, ParameterValue] = field(default_factory=dict)
    system: str | None = None
    template: str | None = None
    messages: tuple[Message, ...] = ()
    licenses: tuple[str, ...] = ()
    requires: str | None = None
    renderer: str | None = None
    parser: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(sorted(self.parameters.items()))))

    def to_json(self) -> dict[str, object]:
        """The document of docs/schemas/spec-1.json; what is not said is left out."""
        document: dict[str, object] = {"schema": SCHEMA}
        if self.parameters:
            document["parameters"] = {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.parameters.items()
            }
        for name in _TEXTS:
            if (text := getattr(self, name)) is not None:
                document[name] = text
        if self.messages:
            document["messages"] = [{"role": turn.role, "content": turn.content} for turn in self.messages]
        if self.licenses:
            document["licenses"] = list(self.licenses)
        return document

    def to_canonical_bytes(self) -> bytes:
        """`to_json` as the bytes that are stored: sorted keys, no blanks, UTF-8."""
        text = json.dumps(
            self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()

    @classmethod
    def from_json(cls, document: object) -> ModelSpec:
        """Read a decoded `spec.json`. Raises MalformedFile on everything that the schema does not allow."""
        fields = _object(document, "the document")
        if (schema := _text(fields.pop("schema", None), "schema")) != SCHEMA:
            raise _malformed(f"its schema is {printable(schema)}, this slmctl reads {SCHEMA}")
        parameters = _object(fields.pop("parameters", {}), "parameters")
        turns = _list(fields.pop("messages", []), "messages")
        licenses = _list(fields.pop("licenses", []), "licenses")
        texts = {name: _text(fields.pop(name), name) for name in _TEXTS if name in fields}
        if fields:
            raise _malformed(f"it has an unknown key {printable(min(fields))}")
        return cls(
            parameters={name: _parameter_from_json(name, value) for name, value in parameters.items()},
            messages=tuple(_message_from_json(turn, f"messages[{at}]") for at, turn in enumerate(turns)),
            licenses=tuple(_text(text, f"licenses[{at}]") for at, text in enumerate(licenses)),
            **texts,
        )


_TEXTS = ("system", "template", "requires", "renderer", "parser")


def merge(base: ModelSpec, over: ModelSpec) -> ModelSpec:
    """`base` with what `over` says: parameters by name (`stop` as a whole), texts and messages if given.

    Licences are never taken away: those of `over` that `base` lacks are appended.
    """
    said = {name: text for name in _TEXTS if (text := getattr(over, name)) is not None}
    known = frozenset(base.licenses)
    return replace(
        base,
        parameters={**base.parameters, **over.parameters},
        messages=over.messages or base.messages,
        licenses=base.licenses + tuple(text for text in over.licenses if text not in known),
        **said,
    )


def parse_parameter(name: str, text: str) -> ParameterValue:
    """The typed value of `name`, from text as in `PARAMETER name text`; for `stop` a tuple of one string.

    Raises UsageError for a name that is no parameter or is deprecated, and for a value of the wrong type.
    """
    if name in DEPRECATED:
        raise UsageError(f"The parameter {name} no longer has an effect.", hint="Leave it out.")
    if name not in PARAMETERS:
        nearby = nearest(name.lower(), PARAMETERS)
        hint = f"Did you mean {nearby}?" if nearby else f"Parameters are {', '.join(PARAMETERS)}."
        raise UsageError(f"There is no parameter {printable(name)!r}.", hint=hint)
    kind = PARAMETERS[name]
    value = _parse(kind, text)
    if value is None:
        raise UsageError(f"The parameter {name} takes {kind.value}, not {printable(text)!r}.")
    return value


def _parse(kind: Kind, text: str) -> ParameterValue | None:
    """The value that `text` spells as Go's strconv would have it, or None."""
    if kind is Kind.STRINGS:
        return None if _SURROGATE.search(text) else (text,)
    if kind is Kind.BOOL:
        return _BOOLS.get(text)
    if kind is Kind.FLOAT:
        if len(text) > _LONGEST_NUMBER or not _FLOAT.fullmatch(text):
            return None
        return _in_range(kind, float(text))
    digits = _INTEGER.fullmatch(text)
    return _in_range(kind, int(digits[1] + digits[2])) if digits else None


def _in_range(kind: Kind, number: float) -> int | float | None:
    """`number` if the kind can hold it; zero loses its sign, for one spelling in JSON."""
    if kind is Kind.FLOAT:
        is_float32 = -_LARGEST_FLOAT <= number <= _LARGEST_FLOAT  # also false for NaN
        return float(number) + 0.0 if is_float32 else None
    limit = 1 << (_BITS[kind] - 1)
    return number if -limit <= number < limit else None


# From JSON.


def _malformed(what: str) -> MalformedFile:
    hint = "The model's publisher has to build it again, or a newer slmctl is needed."
    return MalformedFile(f"The model's spec.json is not valid: {what}.", hint=hint)


def _object(value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _malformed(f"{where} must be an object")
    return dict(value)


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise _malformed(f"{where} must be a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _malformed(f"{where} must be text")
    if _SURROGATE.search(value):
        raise _malformed(f"{where} holds half a character (a lone surrogate)")
    return value


def _message_from_json(value: object, where: str) -> Message:
    turn = _object(value, where)
    if turn.keys() != {"role", "content"}:
        raise _malformed(f"{where} must have the keys role and content, and no others")
    role = _text(turn["role"], f"{where}.role")
    if role not in ROLES:
        raise _malformed(f"{where}.role must be one of {', '.join(ROLES)}")
    return Message(role=role, content=_text(turn["content"], f"{where}.content"))


def _parameter_from_json(name: str, value: object) -> ParameterValue:
    kind = PARAMETERS.get(name)
    if kind is None:
        raise _malformed(f"there is no parameter {printable(name)}")
    where = f"parameters.{name}"
    if kind is Kind.STRINGS:
        return tuple(_text(text, f"{where}[{at}]") for at, text in enumerate(_list(value, where)))
    if isinstance(value, bool):
        if kind is Kind.BOOL:
            return value
    elif isinstance(value, int | float) and kind is not Kind.BOOL:
        number = _in_range(kind, value)
        if number is not None and (isinstance(value, int) or kind is Kind.FLOAT):
            return number
    raise _malformed(f"{where} must be {kind.value}")
