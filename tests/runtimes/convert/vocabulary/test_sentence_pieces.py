"""SentencePiece vocabularies, of tokenizer.model and of tokenizer.json alone; broken and hostile ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry.errors import DoesNotFit, MalformedFile, SlmctlError
from runtimes.convert.vocabulary.sentencepiece_model import ModelType, PieceType, SentencePieceModel
from tests.runtimes.convert.vocabulary import folders
from tests.runtimes.convert.vocabulary.folders import SPACE, added, keys_of, llama_config, piece, write_json

PIECES = folders.learnt_pieces("the then there he her")
LISTS = ("tokens", "scores", "token_type")


def pair(folder: Path, *, prefixed: bool = True, tokens: int = 0) -> int:
    count = folders.sentence_piece_pair(folder, PIECES, prefixed=prefixed)
    write_json(folder, "config.json", llama_config(tokens or count))
    return count


def test_a_model_is_read() -> None:
    raw = [
        piece("<unk>", 0.0, 2),
        piece("<s>", 0.0, 3),
        piece("<0x0A>", 0.0, 6),
        piece("\u2581th\u00e9", -7.5),
    ]
    model = SentencePieceModel.of(folders.sentence_piece_model(raw, prefixed=False))
    assert (model.model_type, model.prefixed) == (ModelType.BPE, False)
    assert model.pieces[0][:] == ("<unk>", 0.0, PieceType.UNKNOWN)
    assert model.pieces[3][:] == ("\u2581th\u00e9", -7.5, PieceType.NORMAL)
    assert SentencePieceModel.of(piece("a" * 300)).model_type is ModelType.UNIGRAM  # the format's defaults
    assert SentencePieceModel.of(piece("a" * 300)).prefixed


def test_every_cut_is_a_sentence_or_a_shorter_model() -> None:
    raw = folders.sentence_piece_model([piece("<unk>", 0.0, 2), piece("ab", -1.0)])
    whole = SentencePieceModel.of(raw)
    for end in range(len(raw)):
        try:
            cut = SentencePieceModel.of(raw[:end])
        except MalformedFile:
            continue
        assert cut.pieces == whole.pieces[: len(cut.pieces)]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x7f",
        b"\x0b\x00",
        piece("a", kind=9),
        b"\x0a\x03\x0a\x01\xff",
        folders.sentence_piece_model([piece("a")], model_type=7),
    ],
)
def test_what_is_no_model_is_a_sentence(raw: bytes) -> None:
    with pytest.raises(MalformedFile, match=r"tokenizer\.model"):
        SentencePieceModel.of(raw)


@pytest.mark.parametrize("prefixed", [True, False])
def test_both_files_give_the_same_vocabulary(prefixed: bool, tmp_path: Path) -> None:
    pair(tmp_path, prefixed=prefixed)
    of_model = keys_of(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    of_json = keys_of(tmp_path)
    assert of_json.pop("tokenizer.ggml.scores")[259:] == of_model.pop("tokenizer.ggml.scores")[259:]
    assert of_json == of_model
    assert of_json.get("tokenizer.ggml.add_space_prefix", True) is prefixed


def test_stories_by_its_tokenizer_json_alone(stories: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(stories / "hf" / name, tmp_path)
    ours, model = keys_of(tmp_path), keys_of(stories / "hf")
    assert ours.pop("tokenizer.ggml.scores")[259:] == model.pop("tokenizer.ggml.scores")[259:]
    assert ours == model


def test_more_rows_than_pieces_are_unused(tmp_path: Path) -> None:
    count = pair(tmp_path, tokens=400)
    keys = keys_of(tmp_path)
    assert keys["tokenizer.ggml.tokens"][count:] == [f"[PAD{number}]" for number in range(count, 400)]
    assert set(keys["tokenizer.ggml.token_type"][count:]) == {5}
    assert {len(keys[f"tokenizer.ggml.{name}"]) for name in LISTS} == {400}


def test_pieces_beyond_the_rows_are_left_out(tmp_path: Path) -> None:
    count = pair(tmp_path)
    write_json(tmp_path, "config.json", llama_config(count - 4))
    assert len(keys_of(tmp_path)["tokenizer.ggml.tokens"]) == count - 4


def test_added_tokens(tmp_path: Path) -> None:
    count = pair(tmp_path, tokens=300)
    decoder = {
        str(count): added(count, "<|end|>", special=False),
        str(count + 1): added(count + 1, SPACE * 3, special=False),
        str(count + 2): added(count + 2, "[INST]"),
        "999": added(999, "[BEYOND]"),
    }
    write_json(tmp_path, "tokenizer_config.json", {"added_tokens_decoder": decoder})
    write_json(tmp_path, "added_tokens.json", {"<old>": count + 3})
    keys = keys_of(tmp_path)
    made = [list(keys[f"tokenizer.ggml.{name}"][count : count + 4]) for name in LISTS]
    assert made == [["<|end|>", "   ", "[INST]", "<old>"], [-1000.0] * 4, [3, 4, 3, 4]]


def test_added_tokens_that_only_tokenizer_json_has(tmp_path: Path) -> None:
    """As Transformers writes it since version 5. What is no text already stays what it was."""
    count = pair(tmp_path, tokens=300)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tokenizer["added_tokens"] += [added(count, "<end_of_turn>"), added(count - 1, PIECES[-1], special=False)]
    write_json(tmp_path, "tokenizer.json", tokenizer)
    kinds = keys_of(tmp_path)["tokenizer.ggml.token_type"]
    assert kinds[:3] == [2, 3, 3]
    assert kinds[count - 1 : count + 2] == [4, 3, 5]
    phi = keys_of(tmp_path, llama_config(300, model_type="phi3"))
    assert phi["tokenizer.ggml.token_type"][:3] == [3, 3, 3]  # there tokenizer.json has the last word


def test_a_unigram_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(folders.sentence_piece_model([piece("a")], model_type=1))
    write_json(tmp_path, "config.json", llama_config(1))
    with pytest.raises(DoesNotFit, match="unigram"):
        keys_of(tmp_path)


@pytest.mark.parametrize(
    "pre_tokenizer",
    [
        {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": True},
        {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": False},
        {"type": "Digits", "individual_digits": True},
    ],
)
def test_pipelines_that_are_not_sentence_pieces_are_refused(
    pre_tokenizer: dict[str, Any], tmp_path: Path
) -> None:
    pair(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    write_json(tmp_path, "tokenizer.json", {**tokenizer, "normalizer": None, "pre_tokenizer": pre_tokenizer})
    with pytest.raises(DoesNotFit, match="SentencePiece"):
        keys_of(tmp_path)


def test_merges_that_sentence_piece_would_not_make_are_refused(tmp_path: Path) -> None:
    """As the library `tokenizers` learns them: one way to make a piece."""
    pieces = ["th", "he", "the", "er", "her", "re", "ere", "here", *"ehrt"]
    write_json(tmp_path, "config.json", llama_config(folders.sentence_piece_pair(tmp_path, pieces)))
    (tmp_path / "tokenizer.model").unlink()
    assert keys_of(tmp_path)["tokenizer.ggml.model"] == "llama"
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    once = {left + right: [left, right] for left, right in tokenizer["model"]["merges"]}
    tokenizer["model"]["merges"] = list(once.values())
    write_json(tmp_path, "tokenizer.json", tokenizer)
    with pytest.raises(DoesNotFit, match="rules of its own"):
        keys_of(tmp_path)


@pytest.mark.parametrize(("scheme", "prefixed"), [("first", True), ("always", True), ("never", False)])
def test_metaspace_is_what_newer_files_have(scheme: str, prefixed: bool, tmp_path: Path) -> None:
    pair(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    step = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": False}
    write_json(tmp_path, "tokenizer.json", {**tokenizer, "normalizer": None, "pre_tokenizer": step})
    assert keys_of(tmp_path).get("tokenizer.ggml.add_space_prefix", True) is prefixed


def test_two_pieces_of_the_same_text_are_refused(tmp_path: Path) -> None:
    """llama.cpp ends its process for them."""
    raw = folders.sentence_piece_model([piece("a"), piece("b"), piece("a")])
    (tmp_path / "tokenizer.model").write_bytes(raw)
    write_json(tmp_path, "config.json", llama_config(3))
    with pytest.raises(MalformedFile, match="'a'"):
        keys_of(tmp_path)


def test_another_tokenizer_model_beside_tokenizer_json_is_not_read(tmp_path: Path) -> None:
    """Llama 3's folders have tiktoken's."""
    pair(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
    assert keys_of(tmp_path)["tokenizer.ggml.model"] == "llama"
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(SlmctlError, match="tokenizer"):
        keys_of(tmp_path)
