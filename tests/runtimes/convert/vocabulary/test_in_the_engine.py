"""What llama.cpp makes of texts with a converted tokenizer, against what `tokenizers` makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from runtimes.client import Client
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write
from tests.runtimes.convert.vocabulary import folders
from tests.runtimes.convert.vocabulary.folders import TEXTS, byte_level, splitting
from tests.runtimes.launches import llama_worker


def _digits() -> pre_tokenizers.PreTokenizer:
    each = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([each, pre_tokenizers.ByteLevel(add_prefix_space=False)])


TOKENIZERS: Mapping[str, Callable[[], Tokenizer]] = {
    "gpt-2": lambda: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "smollm": lambda: byte_level(_digits()),
    "llama-bpe": lambda: byte_level(splitting(folders.LLAMA3), ignore_merges=True),
    "dbrx": lambda: byte_level(splitting(folders.TIKTOKEN)),
    "qwen2": lambda: byte_level(splitting(folders.QWEN2)),
    "qwen35": lambda: byte_level(splitting(folders.QWEN35)),
    "gpt-4o": lambda: byte_level(splitting(folders.GPT4O)),
    "tekken": lambda: byte_level(splitting(folders.TEKKEN), ignore_merges=True),
}


def tokenized(base: Path, folder: Path, texts: tuple[str, ...] = TEXTS) -> list[tuple[int, ...]]:
    """What the engine makes of texts."""
    path = folder / "model.gguf"
    write(convert(SourceFiles.of_folder(folder)), path, lambda _: None)
    with llama_worker(base, path) as worker:
        client = Client(worker.endpoint, worker)
        return [client.tokenize(text) for text in texts]


def expected(tokenizer: Tokenizer, texts: tuple[str, ...] = TEXTS) -> list[tuple[int, ...]]:
    return [tuple(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_byte_level(name: str, base: Path, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    folders.write_model(tmp_path, tokenizer.get_vocab_size())
    assert folders.keys_of(tmp_path)["tokenizer.ggml.pre"] == name
    assert tokenized(base, tmp_path) == expected(tokenizer)


@pytest.mark.parametrize("prefixed", [True, False])
@pytest.mark.parametrize("kept", ["tokenizer.model", "tokenizer.json"])
def test_sentence_pieces(kept: str, prefixed: bool, base: Path, tmp_path: Path) -> None:
    """The two files that a tokenizer comes in give the same model."""
    pieces = folders.learnt_pieces(" ".join(TEXTS[:2]) + " ones onions")
    count = folders.sentence_piece_pair(tmp_path, pieces, prefixed=prefixed)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    other = {"tokenizer.model": "tokenizer.json", "tokenizer.json": "tokenizer.model"}[kept]
    (tmp_path / other).unlink()
    folders.write_model(tmp_path, count)
    assert tokenized(base, tmp_path) == expected(tokenizer)


def test_added_tokens_are_found_in_a_text(base: Path, tmp_path: Path) -> None:
    tokenizer = byte_level(splitting(folders.QWEN2))
    tokenizer.add_tokens(["<tool>", "two words"])
    tokenizer.add_special_tokens(["<|im_end|>"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    folders.write_model(tmp_path, tokenizer.get_vocab_size() + 5)
    texts = ("say two words, <tool>now", "a<tool>b  two wordsand")
    assert tokenized(base, tmp_path, texts) == expected(tokenizer, texts)
    kinds = folders.keys_of(tmp_path)["tokenizer.ggml.token_type"]
    assert kinds[-8:] == [4, 4, 3, 5, 5, 5, 5, 5]


def test_word_pieces(base: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    folders.write_json(tmp_path, "tokenizer_config.json", {"cls_token": "[CLS]", "sep_token": "[SEP]"})
    folders.write_model(tmp_path, tokenizer.get_vocab_size())
    keys = folders.keys_of(tmp_path)
    assert keys["tokenizer.ggml.model"] == "bert"
    assert keys["tokenizer.ggml.normalizer.lowercase"] is True
    assert tokenized(base, tmp_path, TEXTS[:5]) == expected(tokenizer, TEXTS[:5])
