"""Which of llama.cpp's ways to cut a text into words is that of a byte-level BPE tokenizer.

A pipeline of tokenizer.json that does the same as one of llama.cpp's regular expressions gets that one's name
in `tokenizer.ggml.pre`, whatever the vocabulary. One that is not in the table is a sentence and never a
guess: a wrong name gives a model that reads other words than it was trained on and says nothing about it.

Source: `llm_tokenizer_bpe` and `llama_vocab::impl::load` in llama.cpp's src/llama-vocab.cpp (build b11549);
the expressions are those of the tokenizer.json files that it was written for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from registry.errors import DoesNotFit
from registry.formats.quote import quoted
from runtimes.convert.vocabulary.tokenizer_json import Step, TokenizerJson

_GPT2 = "gpt-2's expression"
_DIGIT = r"\p{N}"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ONE = r"[^\r\n\p{L}\p{N}]?"


def _words(digits: str) -> str:
    """cl100k's expression, with so many digits in a piece."""
    return rf"{_CONTRACTIONS}|{_ONE}\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_TAIL}"


def _cases(contraction: str, digits: str) -> str:
    """o200k's expression, which cuts before a capital letter."""
    words = rf"{_ONE}{_UPPER}*{_LOWER}+{contraction}|{_ONE}{_UPPER}+{_LOWER}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_TAIL}"


_MARKED = rf"{_CONTRACTIONS}|{_ONE}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_TAIL}"

_NAMES: Mapping[tuple[tuple[str, ...], bool], str] = MappingProxyType(
    {
        ((_GPT2,), False): "gpt-2",
        ((_DIGIT, _GPT2), False): "smollm",
        ((_words(r"\p{N}{1,3}"),), True): "llama-bpe",
        ((_words(r"\p{N}{1,3}"),), False): "dbrx",
        ((_words(r"\p{N}"),), False): "qwen2",
        ((_MARKED,), False): "qwen35",
        ((_cases(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"),), False): "gpt-4o",
        ((_cases(f"{_CONTRACTIONS}?", r"\p{N}{1,3}"),), True): "gpt-4o",
        ((_cases("", r"\p{N}"),), True): "tekken",
        ((_cases("", r"\p{N}"),), False): "tekken",
    }
)
"""What cuts, and whether a word that is a token is left whole (`ignore_merges`), to the name. For gpt-4o and
tekken llama.cpp's answer does not depend on the file's."""

_SAME = (  # ways to write one thing, as tiktoken's conversions have them
    (re.compile(r"(?<=[?+*])\+"), ""),  # possessive: what follows never matches what was taken
    (re.compile(re.escape("'(?i:[sdmt]|ll|ve|re)")), _CONTRACTIONS),
    (re.compile(re.escape(r"|\s*[\r\n]|")), r"|\\s*[\\r\\n]+|"),
)


def pre_tokenizer_name(tokenizer: TokenizerJson) -> str:
    """The value of `tokenizer.ggml.pre`. Raises DoesNotFit where llama.cpp has nothing that does the same."""
    for step in tokenizer.normalizer:
        if step.kind != "NFC":  # llama.cpp leaves it out: what people type is in this form
            raise _unknown(f"changes texts by {quoted(step.kind)}")
    cuts = tuple(cut for step in tokenizer.pre_tokenizer for cut in _cuts(step))
    name = _NAMES.get((cuts, tokenizer.ignore_merges))
    if name is None:
        raise _unknown(f"cuts texts by {quoted(' and '.join(cuts) or 'nothing', 200)}")
    return name


def _cuts(step: Step) -> tuple[str, ...]:
    """What a step cuts by. Raises DoesNotFit."""
    if step.kind == "ByteLevel" and not step.flag("add_prefix_space", True):
        return (_GPT2,) if step.flag("use_regex", True) else ()
    if step.kind == "Digits" and step.flag("individual_digits", False):
        return (_DIGIT,)
    if step.kind == "Split":
        pattern = step.settings.get("pattern")
        expression = pattern.get("Regex") if isinstance(pattern, dict) else None
        way = (step.text("behavior"), step.flag("invert", False))
        if isinstance(expression, str) and way in (("Isolated", False), ("Removed", True)):
            return (_canonical(expression),)
    raise _unknown(f"cuts texts by {quoted(step.kind)} in a way of its own")


def _canonical(expression: str) -> str:
    for pattern, written in _SAME:
        expression = pattern.sub(written, expression)
    return expression


def _unknown(what: str) -> DoesNotFit:
    return DoesNotFit(
        f"The model's tokenizer {what}, which llama.cpp is not known to do.",
        hint="Look for a GGUF of this model: its makers or llama.cpp's converter may know how to write it.",
    )
