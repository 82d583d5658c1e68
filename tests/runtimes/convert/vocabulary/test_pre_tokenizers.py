"""How a tokenizer.json cuts texts, and what llama.cpp calls that."""

from __future__ import annotations

from typing import Any

import pytest

from registry.errors import DoesNotFit
from runtimes.convert.vocabulary.pre_tokenizers import pre_tokenizer_name
from runtimes.convert.vocabulary.tokenizer_json import TokenizerJson
from tests.runtimes.convert.vocabulary import folders

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2 = {**BYTES, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def split(expression: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert}


def tokenizer(
    *steps: dict[str, Any], normalizer: dict[str, Any] | None = None, **model: object
) -> TokenizerJson:
    pipeline = (
        steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": list(steps)} if steps else None
    )
    return TokenizerJson.of(
        {
            "normalizer": normalizer,
            "pre_tokenizer": pipeline,
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], **model},
        }
    )


@pytest.mark.parametrize(
    ("steps", "ignore_merges", "name"),
    [
        ((GPT2,), False, "gpt-2"),
        ((DIGITS, GPT2), False, "smollm"),
        ((split(folders.LLAMA3), BYTES), True, "llama-bpe"),
        ((split(folders.LLAMA3), BYTES), False, "dbrx"),
        ((split(folders.TIKTOKEN), BYTES), False, "dbrx"),
        ((split(folders.TIKTOKEN, "Removed", True), BYTES), True, "llama-bpe"),
        ((split(folders.QWEN2), BYTES), False, "qwen2"),
        ((split(folders.QWEN35), BYTES), False, "qwen35"),
        ((split(folders.GPT4O), BYTES), False, "gpt-4o"),
        ((split(folders.TEKKEN), BYTES), True, "tekken"),
    ],
)
def test_names(steps: tuple[dict[str, Any], ...], ignore_merges: bool, name: str) -> None:
    assert pre_tokenizer_name(tokenizer(*steps, ignore_merges=ignore_merges)) == name


def test_a_normal_form_that_texts_have_anyway() -> None:
    given = tokenizer(split(folders.QWEN2), BYTES, normalizer={"type": "NFC"})
    assert pre_tokenizer_name(given) == "qwen2"


@pytest.mark.parametrize(
    "given",
    [
        tokenizer(),
        tokenizer({**GPT2, "add_prefix_space": True}),
        tokenizer(GPT2, ignore_merges=True),
        tokenizer({"type": "Digits", "individual_digits": False}, GPT2),
        tokenizer(split(folders.QWEN2), GPT2),
        tokenizer(split(folders.QWEN2, "Removed"), BYTES),
        tokenizer(split(folders.QWEN2.replace("'ve", "'VE")), BYTES),
        tokenizer(split(r"\w+"), BYTES),
        tokenizer(
            {"type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False}, BYTES
        ),
        tokenizer({"type": "Whitespace"}, BYTES),
        tokenizer(split(folders.QWEN2), BYTES, normalizer={"type": "Lowercase"}),
        tokenizer(
            split(folders.QWEN2), BYTES, normalizer={"type": "Sequence", "normalizers": [{"type": "NFKC"}]}
        ),
    ],
)
def test_what_llama_cpp_does_not_do_is_refused(given: TokenizerJson) -> None:
    with pytest.raises(DoesNotFit, match="tokenizer") as refused:
        pre_tokenizer_name(given)
    assert refused.value.hint
