"""Folders in Hugging Face's form with a tokenizer and a model of one small layer, made without Transformers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from runtimes.convert.files import SourceFiles
from runtimes.convert.vocabulary.vocabulary import vocabulary

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_ONE = r"[^\r\n\p{L}\p{N}]?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"

LLAMA3 = CONTRACTIONS + "|" + _ONE + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _ENDS
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + "|" + _ONE + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _ENDS
_O200K_WORDS = f"{_ONE}{_UPPER}*{_LOWER}+CONTRACTION|{_ONE}{_UPPER}+{_LOWER}*CONTRACTION|DIGITS"
_O200K = _O200K_WORDS + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _ENDS
GPT4O = _O200K.replace("CONTRACTION", CONTRACTIONS + "?").replace("DIGITS", r"\p{N}{1,3}")
TEKKEN = _O200K.replace("CONTRACTION", "").replace("DIGITS", r"\p{N}")
TIKTOKEN = (  # cl100k as it stands in tiktoken: possessive, and another way to write the contractions
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|"
    r"\s+(?!\S)|\s+"
)

TEXTS = (
    "Once upon a time there was a boat; it's old, they'll say. WE'LL SEE, she'D said, I'VE no idea!",
    "1 22 333 4444 55555, 3.14159 and 1/2 of 7\u00b2",
    "  two blanks,   three,\ttab\n\n\nlines \n \n  and more   ",
    "def add(left, right):\n    return left + right  # ok\r\n\r\nprint(add(1, 2))\n",
    "Der Hund schl\u00e4ft. Le gar\u00e7on mange une p\u00eache. \u0401\u0436\u0438\u043a \u0432 \u0442\u0443\u043c\u0430\u043d\u0435.",
    "\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e \u3053\u3093\u306b\u3061\u306f \U0001f680\U0001f999 ok \u2705 ====---...!!!???",
    "camelCase HTTPServer parseJSONFile /usr/bin//x <html> </s> {'a': [1]}",
)

Json = dict[str, Any]


def write_json(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def splitting(expression: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(expression), "isolated", False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def byte_level(
    pre_tokenizer: pre_tokenizers.PreTokenizer, *, ignore_merges: bool = False, size: int = 500
) -> Tokenizer:
    """A byte-level BPE tokenizer that was trained on TEXTS."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def write_model(folder: Path, tokens: int, **config: object) -> None:
    """config.json and weights of a Llama of one layer for so many tokens."""
    random = np.random.default_rng(0)
    hidden, ffn = 32, 64
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (tokens, hidden),
        "model.norm.weight": (hidden,),
        "model.layers.0.input_layernorm.weight": (hidden,),
        "model.layers.0.post_attention_layernorm.weight": (hidden,),
        "model.layers.0.mlp.gate_proj.weight": (ffn, hidden),
        "model.layers.0.mlp.up_proj.weight": (ffn, hidden),
        "model.layers.0.mlp.down_proj.weight": (hidden, ffn),
    }
    shapes |= {f"model.layers.0.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
    save_file(
        {name: random.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()},
        folder / "model.safetensors",
    )
    write_json(folder, "config.json", llama_config(tokens, **config))


def llama_config(tokens: int, **more: object) -> Json:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": tokens,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        **more,
    }


def keys_of(folder: Path, config: Mapping[str, object] | None = None) -> dict[str, Any]:
    """The keys that are made of a folder's tokenizer."""
    files = SourceFiles.of_folder(folder)
    return {
        key.name: key.value
        for key in vocabulary(files, files.json("config.json") if config is None else config)
    }


def piece(text: str, score: float = 0.0, kind: int = 1) -> bytes:
    """A piece of a SentencePiece model, as Protocol Buffers encode it."""
    inner = _field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind])
    return _field(1, inner)


def sentence_piece_model(pieces: Sequence[bytes], *, model_type: int = 2, prefixed: bool = True) -> bytes:
    """A tokenizer.model."""
    return (
        b"".join(pieces) + _field(2, b"\x18" + bytes([model_type])) + _field(3, b"\x18" + bytes([prefixed]))
    )


def _field(number: int, value: bytes) -> bytes:
    length, head = len(value), bytearray()
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2]) + bytes(head) + bytes([length]) + value


SPACE = "\u2581"


def learnt_pieces(words: str) -> list[str]:
    """Pieces in the order of their scores: each word behind all its beginnings, then every character."""
    beginnings = {SPACE + word[:end] for word in words.split() for end in range(1, len(word) + 1)}
    ordered = [SPACE * 2, *sorted(beginnings, key=lambda text: (len(text), text))]
    singles = sorted({letter for text in ordered for letter in text})
    return [text for text in ordered if len(text) > 1] + singles


def sentence_piece_pair(folder: Path, pieces: Sequence[str], *, prefixed: bool = True) -> int:
    """The same tokenizer as tokenizer.model and as tokenizer.json, the latter as Transformers makes it of the
    former: a merge for every way to make a piece of two, by the score of what is made. Gives its size."""
    control = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    raw = [piece(text, 0.0, kind) for text, kind in control] + [piece(text, 0.0, 6) for text in octets]
    raw += [piece(text, -float(rank)) for rank, text in enumerate(pieces)]
    (folder / "tokenizer.model").write_bytes(sentence_piece_model(raw, prefixed=prefixed))
    known = {text: number for number, text in enumerate([*(text for text, _ in control), *octets, *pieces])}
    merges = [
        [text[:cut], text[cut:]]
        for text in pieces
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]
    steps: list[Json] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    if prefixed:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
    tokenizer = {
        "version": "1.0",
        "added_tokens": [added(number, text) for number, (text, _) in enumerate(control)],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": known,
            "merges": merges,
        },
    }
    write_json(folder, "tokenizer.json", tokenizer)
    return len(known)


def added(number: int, text: str, special: bool = True) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": special, **flags}
