"""Tokenizers that somebody made to do harm, and broken ones: a sentence each."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as laws

from registry.errors import BadContent, DoesNotFit, NotFound, SlmctlError
from tests.runtimes.convert.vocabulary import folders
from tests.runtimes.convert.vocabulary.folders import added, keys_of, llama_config, write_json

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def tokenizer(model: dict[str, Any] | None = None, **more: object) -> dict[str, Any]:
    base = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}
    return {"pre_tokenizer": GPT2, "model": {**base, **(model or {})}, **more}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"model": []},
        {"model": {"type": 3}},
        tokenizer({"vocab": ["a"]}),
        tokenizer({"vocab": {"a": -1}}),
        tokenizer({"vocab": {"a": 2**31}}),
        tokenizer({"vocab": {"a": True}}),
        tokenizer({"vocab": {"a": 0, "b" * 1025: 1}}),
        tokenizer({"merges": [["a" * 1024, "b"]]}),
        tokenizer({"vocab": {"a": 0.5}}),
        tokenizer({"vocab": {"a": 0, "b": 0}}),
        tokenizer({"merges": {"a": "b"}}),
        tokenizer({"merges": ["a b c"]}),
        tokenizer({"merges": [["a"]]}),
        tokenizer({"merges": [["a", 1]]}),
        tokenizer({"merges": ["ab"]}),
        tokenizer(added_tokens={"a": 1}),
        tokenizer(added_tokens=["a"]),
        tokenizer(added_tokens=[added(2**40, "x")]),
        tokenizer(added_tokens=[added(-1, "x")]),
        tokenizer(added_tokens=[{"id": 2, "content": 5}]),
        tokenizer(added_tokens=[added(5, "x")]),  # there are four rows
        tokenizer(added_tokens=[added(2, "a")]),  # llama.cpp ends its process for a text that is there twice
        tokenizer(normalizer=[]),
        tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": None}),
    ],
)
def test_a_tokenizer_json_that_is_none(broken: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path, "tokenizer.json", broken)
    with pytest.raises(BadContent) as refused:
        keys_of(tmp_path, llama_config(4))
    assert refused.value.message.endswith(".")


def test_a_setting_that_comes_again_and_again(tmp_path: Path) -> None:
    """200,000 times, in fields of four bytes: the last counts, and nothing takes the square of them."""
    pieces = [folders.piece("<unk>", kind=2), folders.piece("a")]
    model = folders.sentence_piece_model(pieces)  # BPE
    (tmp_path / "tokenizer.model").write_bytes(model + bytes([0x12, 2, 0x18, 1]) * 200_000)
    with pytest.raises(DoesNotFit, match="kind unigram"):
        keys_of(tmp_path, llama_config(2))


@pytest.mark.parametrize("vocab", ['{"\\ud800": 0}', '{"a": 0, "\\udfff": 1}'])
def test_half_a_character(vocab: str, tmp_path: Path) -> None:
    text = json.dumps(tokenizer()).replace('{"a": 0, "b": 1}', vocab)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(BadContent, match="half a character"):
        keys_of(tmp_path, llama_config(4))


def test_pipelines_in_pipelines(tmp_path: Path) -> None:
    nested: dict[str, Any] = GPT2
    for _ in range(40):
        nested = {"type": "Sequence", "pretokenizers": [nested]}
    write_json(tmp_path, "tokenizer.json", tokenizer(pre_tokenizer=nested))
    assert keys_of(tmp_path, llama_config(4))["tokenizer.ggml.pre"] == "gpt-2"


def test_very_many_pipelines_in_pipelines(tmp_path: Path) -> None:
    depth = 900
    text = json.dumps(tokenizer(pre_tokenizer="HERE"))
    nested = '{"type":"Sequence","pretokenizers":[' * depth + json.dumps(GPT2) + "]}" * depth
    (tmp_path / "tokenizer.json").write_text(text.replace('"HERE"', nested))
    with pytest.raises(SlmctlError):
        keys_of(tmp_path, llama_config(4))


@pytest.mark.parametrize("count", [0, -1, 2**40, 2**63, "4", 4.0, True])
def test_a_vocabulary_that_no_model_has(count: object, tmp_path: Path) -> None:
    write_json(tmp_path, "tokenizer.json", tokenizer())
    with pytest.raises(BadContent, match="vocab"):
        keys_of(tmp_path, llama_config(4) | {"vocab_size": count})


@pytest.mark.parametrize(
    "decoder", [[], {"x": added(1, "a")}, {"-1": added(1, "a")}, {"1": 2}, {"9" * 5000: added(1, "a")}]
)
def test_an_added_tokens_decoder_that_is_none(decoder: object, tmp_path: Path) -> None:
    write_json(tmp_path, "tokenizer.json", tokenizer())
    write_json(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": decoder})
    with pytest.raises(BadContent, match="added"):
        keys_of(tmp_path, llama_config(4))


@pytest.mark.parametrize("kind", ["Unigram", "WordLevel", "Strange"])
def test_other_kinds_are_refused(kind: str, tmp_path: Path) -> None:
    write_json(tmp_path, "tokenizer.json", {"model": {"type": kind, "vocab": [["a", 0.5]]}})
    with pytest.raises(DoesNotFit, match=kind):
        keys_of(tmp_path, llama_config(4))


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tokenizer\.json"):
        keys_of(tmp_path, llama_config(4))


def test_special_tokens_of_the_settings_are_no_text(tmp_path: Path) -> None:
    """Though tokenizer.json has them among the others: Transformers takes them out when it loads."""
    write_json(tmp_path, "tokenizer.json", tokenizer())
    write_json(
        tmp_path, "tokenizer_config.json", {"eos_token": "b", "additional_special_tokens": ["nowhere"]}
    )
    assert keys_of(tmp_path, llama_config(3))["tokenizer.ggml.token_type"] == [1, 3, 5]


JSON = laws.recursive(
    laws.none() | laws.booleans() | laws.integers() | laws.floats() | laws.text(max_size=4),
    lambda inner: laws.lists(inner, max_size=3) | laws.dictionaries(laws.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SPLIT = {"type": "Split", "pattern": {"Regex": folders.LLAMA3}, "behavior": "Isolated", "invert": False}
BYTE_LEVEL = {
    "added_tokens": [added(2, "<|end|>")],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, {**GPT2, "use_regex": False}]},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|end|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    },
    "model": {
        "type": "BPE",
        "ignore_merges": True,
        "vocab": {"a": 0, "b": 1, "ab": 3},
        "merges": [["a", "b"]],
    },
}
SENTENCE_PIECES = {
    "added_tokens": [added(0, "<unk>")],
    "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    "model": {
        "type": "BPE",
        "byte_fallback": True,
        "vocab": {"<unk>": 0, "a": 1, "aa": 2},
        "merges": ["a a"],
    },
}
SETTINGS = {
    "bos_token": {"content": "<|end|>"},
    "add_bos_token": True,
    "added_tokens_decoder": {"2": added(2, "<|end|>")},
    "chat_template": [{"name": "default", "template": "x"}],
}


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in a JSON value."""
    yield path
    items: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, inner in items:
        yield from places(inner, (*path, name))


def replaced(value: Any, path: tuple[object, ...], other: object) -> Any:
    """A copy with another value at one place."""
    if not path:
        return other
    copied: Any = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = replaced(value[path[0]], path[1:], other)
    return copied


@given(
    laws.sampled_from([BYTE_LEVEL, SENTENCE_PIECES, SETTINGS]).flatmap(
        lambda base: laws.tuples(laws.just(base), laws.sampled_from(sorted(places(base), key=repr)))
    ),
    JSON,
)
def test_anything_anywhere_is_a_tokenizer_or_a_sentence(
    place: tuple[dict[str, Any], tuple[object, ...]], value: object
) -> None:
    base, path = place
    changed = replaced(base, path, value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"tokenizer.json": BYTE_LEVEL, "tokenizer_config.json": SETTINGS}
        files["tokenizer_config.json" if base is SETTINGS else "tokenizer.json"] = changed
        for file, written in files.items():
            (folder / file).write_text(json.dumps(written))  # halves of characters as JSON writes them
        with contextlib.suppress(SlmctlError):
            keys = keys_of(folder, llama_config(6))
            assert len(keys["tokenizer.ggml.tokens"]) == 6
            for text in keys["tokenizer.ggml.tokens"]:
                text.encode()
