"""Special tokens: which number plays which role, and which are put around a text.

Source: what llama.cpp's converter takes from where: tokenizer.json's post-processor says what is put around a
text and wins over tokenizer_config.json; a role's number is that of the added token of its text, else
config.json's `bos_token_id` and the like. Only simple templates are understood (`<s> A </s> B </s>`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gguf import Keys

from runtimes.convert.keys import flag, whole
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.files import TokenizerFiles
from runtimes.convert.vocabulary.tokenizer_config import ROLES
from runtimes.convert.vocabulary.tokenizer_json import Step

_IDS: Mapping[str, str] = {
    "bos": Keys.Tokenizer.BOS_ID,
    "eos": Keys.Tokenizer.EOS_ID,
    "unk": Keys.Tokenizer.UNK_ID,
    "sep": Keys.Tokenizer.SEP_ID,
    "pad": Keys.Tokenizer.PAD_ID,
    "mask": Keys.Tokenizer.MASK_ID,
    "eot": Keys.Tokenizer.EOT_ID,
    "eom": Keys.Tokenizer.EOM_ID,
}
_ADDS: Mapping[str, str] = {
    "bos": Keys.Tokenizer.ADD_BOS,
    "eos": Keys.Tokenizer.ADD_EOS,
    "sep": Keys.Tokenizer.ADD_SEP,
}
_NORMALIZER_LOWERCASE = "tokenizer.ggml.normalizer.lowercase"  # newer than the package gguf
_NORMALIZER_STRIP_ACCENTS = "tokenizer.ggml.normalizer.strip_accents"


def special_keys(found: TokenizerFiles, config: Mapping[str, object], count: int) -> list[Key]:
    """Numbers of special tokens below `count`, then what is added. `config` is the model's config.json."""
    reading = _Reading(found)
    keys = [
        whole(_IDS[role], number) for role, number in reading.numbers(config, count).items() if role in _IDS
    ]
    return keys + [flag(_ADDS[role], value) for role, value in reading.adds.items() if role in _ADDS]


def normalizer_keys(found: TokenizerFiles) -> list[Key]:
    """Whether a text is put into small letters, and loses its accents, where tokenizer.json says."""
    said: dict[str, bool] = {}
    for step in found.tokenizer.normalizer if found.tokenizer is not None else ():
        if step.kind == "Lowercase":
            said[_NORMALIZER_LOWERCASE] = True
        elif step.kind == "StripAccents":
            said[_NORMALIZER_STRIP_ACCENTS] = True
        elif step.kind == "BertNormalizer":
            names = {_NORMALIZER_LOWERCASE: "lowercase", _NORMALIZER_STRIP_ACCENTS: "strip_accents"}
            for key, name in names.items():
                value = step.settings.get(name)
                if isinstance(value, bool):  # null leaves it to what is done with capitals
                    said[key] = value
    return [
        flag(name, said[name]) for name in (_NORMALIZER_LOWERCASE, _NORMALIZER_STRIP_ACCENTS) if name in said
    ]


class _Reading:
    """What is found out on the way: which token plays which role, and which roles are added."""

    def __init__(self, found: TokenizerFiles) -> None:
        self._found = found
        self._names = dict(found.config.roles)
        self._roles = list(ROLES)
        self.adds: dict[str, bool] = {}
        if found.tokenizer is not None:
            if found.config.present:
                for role, other in (("bos", "cls"), ("eos", "sep")):
                    if role not in self._names and other in self._names:
                        self._names[role] = self._names[other]
            for step in found.tokenizer.post_processor:
                self._follow(step)
        for role in self._roles:
            if role in found.config.adds:
                self.adds.setdefault(role, found.config.adds[role])

    def numbers(self, config: Mapping[str, object], count: int) -> dict[str, int]:
        inner = config.get("text_config")
        added: dict[str, int] = {}
        for token in self._found.tokenizer.added if self._found.tokenizer is not None else ():
            added.setdefault(token.text, token.number)
        numbers: dict[str, int] = {}
        if self._found.config.present:
            for role in self._roles:
                if (name := self._names.get(role)) in added:
                    numbers[role] = added[str(name)]
        for role in self._roles:
            value = config.get(f"{role}_token_id")
            if value is None and isinstance(inner, dict):
                value = inner.get(f"{role}_token_id")
            if type(value) is int and role not in numbers:
                numbers[role] = value
        return {role: number for role, number in numbers.items() if 0 <= number < count}

    def _follow(self, step: Step) -> None:
        if step.kind == "ByteLevel":
            self.adds.setdefault("bos", False)
            self.adds.setdefault("eos", False)
        elif step.kind == "RobertaProcessing":
            self.adds.update(bos=True, eos=True, sep=True)
            for role in ("cls", "sep"):
                pair = step.settings.get(role)
                if isinstance(pair, list) and pair and isinstance(pair[0], str):
                    self._names.setdefault(role, pair[0])
        elif step.kind == "TemplateProcessing":
            self._follow_template(_items(step, "single"), _items(step, "pair"))

    def _follow_template(self, single: Sequence[object], pair: Sequence[object]) -> None:
        first = last = None
        if len(single) > 1:
            first, last = _token(single[0]), _token(single[-1])
            if first is not None:
                self._begins(first)
            if last is not None:
                self._ends(last)
        start = 1 if first is not None and pair and _token(pair[0]) == first else 0
        stop = -1 if last is not None and pair and _token(pair[-1]) == last else None
        inside = pair[start:stop]
        if len(inside) > 2 and _sequence(inside[0]) == "A" and _sequence(inside[-1]) == "B":
            self._separates(inside[1:-1], at_end=last is not None)

    def _begins(self, token: str) -> None:
        """A role that nobody plays yet is played by the token that is put in front."""
        self._names.setdefault("bos", token)
        if token != self._names["bos"]:
            self._names.setdefault("cls", token)
        self.adds["bos"] = token in (self._names["bos"], self._names.get("cls"))

    def _ends(self, token: str) -> None:
        """The token that is put behind is the end; what was called so before ends a turn."""
        before = self._names.get("eos")
        if self._found.config.present and token != before:
            role = next((role for role in ("eot", "eom") if role not in self._roles), None)
            if role is not None:
                self._roles.append(role)
                self._names.pop(role, None)
                if before is not None:
                    self._names[role] = before
        self._names["eos"] = token
        self.adds["eos"] = True

    def _separates(self, middle: Sequence[object], *, at_end: bool) -> None:
        """Whether a token stands between two texts that is none of those around one."""
        marks = (self._names.get("sep"), self._names.get("eos"))
        added = _token(middle[0]) in marks and _token(middle[0]) is not None and not at_end
        if len(middle) == 2 and _token(middle[1]) is not None and _token(middle[1]) in marks:
            added = True
        self.adds["sep"] = added
        if added and marks[0] is None and marks[1] is not None:
            self._names["sep"] = marks[1]


def _items(step: Step, name: str) -> Sequence[object]:
    value = step.settings.get(name)
    return value if isinstance(value, list) else ()


def _token(item: object) -> str | None:
    """The text of a special token in a template."""
    return _id(item, "SpecialToken")


def _sequence(item: object) -> str | None:
    return _id(item, "Sequence")


def _id(item: object, kind: str) -> str | None:
    inner = item.get(kind) if isinstance(item, dict) else None
    value = inner.get("id") if isinstance(inner, dict) else None
    return value if isinstance(value, str) else None
