"""Tokenizers for the models of the compat tests, in Hugging Face's form. Runs in the oracle's environment.

Two of the vocabularies of llama.cpp's own tests are real (Llama 3's, Qwen2's, BERT's): there the converter knows
the tokenizer by itself. The others are trained here on a few sentences.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import sentencepiece
import tokenizers
from tokenizers import decoders, pre_tokenizers, trainers

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
CL100K = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATE = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
SENTENCES = [
    "The little boat went down the river, and nobody knew where it would end.",
    "In 1969 people walked on the moon; it's 384,400 km away, they'd said.",
    "Der Hund schläft. Le garçon mange une pêche. Ёжик в тумане. 我想在apple工作1314151天.",
    "def add(left, right):\n    return left + right\n\n\nprint(add(1, 22))\t# WE'LL see",
    "She sells sea shells by the sea shore, and the shells that she sells are sea shells.",
]

Json = dict[str, Any]


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def byte_level(folder: Path, pre_tokenizer: Any, size: int, special: list[str], **settings: object) -> int:
    """A trained byte-level BPE tokenizer; gives its number of tokens."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    _configure(folder, {"bos_token": special[0], "eos_token": special[-1], **settings})
    return int(tokenizer.get_vocab_size())


def splitting(expression: str) -> object:
    """The pipeline of Llama 3, Qwen2 and GPT-4o."""
    split = pre_tokenizers.Split(tokenizers.Regex(expression), "isolated", False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def digits() -> object:
    """The pipeline of SmolLM2."""
    each = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([each, pre_tokenizers.ByteLevel(add_prefix_space=False)])


def real(
    folder: Path,
    vocabulary: Path,
    expression: str,
    *,
    ignore_merges: bool,
    begin: str | None = None,
    **settings: object,
) -> int:
    """A byte-level BPE tokenizer of one of llama.cpp's vocabularies, with a token in front of each text or without;
    gives its number of tokens."""
    fields = gguf.GGUFReader(vocabulary).fields
    texts = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    special = {number for number, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL}
    normal = [number for number, kind in enumerate(kinds) if kind == gguf.TokenType.NORMAL]
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [_added(number, texts[number]) for number in sorted(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_]},
        "post_processor": None if begin is None else _begins(bytes_, texts.index(begin), begin),
        "decoder": {**bytes_, "use_regex": True},
        "model": {
            "type": "BPE",
            "ignore_merges": ignore_merges,
            "vocab": {texts[number]: number for number in normal},
            "merges": fields["tokenizer.ggml.merges"].contents(),
        },
    }
    write(folder, "tokenizer.json", tokenizer)
    _configure(folder, dict(settings))
    return len(texts)


def bert(folder: Path, vocabulary: Path) -> int:
    """The tokenizer of BERT, uncased, of llama.cpp's vocabulary; gives its number of tokens."""
    fields = gguf.GGUFReader(vocabulary).fields
    kinds = fields["tokenizer.ggml.token_type"].contents()
    texts = fields["tokenizer.ggml.tokens"].contents()
    names = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocab = {}
    for number, (text, kind) in enumerate(zip(texts, kinds, strict=True)):
        if kind == gguf.TokenType.CONTROL or text in names:
            vocab[text] = number
        else:
            vocab[text[1:] if text.startswith("\u2581") else f"##{text}"] = number
    (folder / "vocab.txt").write_text(
        "\n".join(sorted(vocab, key=lambda text: vocab[text])), encoding="utf-8"
    )
    ends = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    first, second = ({"Sequence": {"id": name, "type_id": at}} for at, name in enumerate("AB"))
    again = {"SpecialToken": {"id": "[SEP]", "type_id": 1}}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [_added(vocab[name], name) for name in names],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ends[0], first, ends[1]],
            "pair": [ends[0], first, ends[1], second, again],
            "special_tokens": {
                name: {"id": name, "ids": [vocab[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }
    write(folder, "tokenizer.json", tokenizer)
    roles = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
    _configure(folder, {f"{role}_token": name for role, name in roles.items()} | {"do_lower_case": True})
    return len(vocab)


def pieces(folder: Path, size: int, *, gemma: tuple[str, ...] = (), **settings: object) -> int:
    """A trained SentencePiece tokenizer as tokenizer.model; gives its number of pieces. Gemma's puts no blank in
    front of a text and has pieces that its makers defined."""
    numbers = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3} if gemma else {}
    model = folder / "tokenizer"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_prefix=str(model),
        vocab_size=size,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=not gemma,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=0.99,
        user_defined_symbols=list(gemma),
        minloglevel=2,
        **numbers,
    )
    (folder / "tokenizer.vocab").unlink()
    _configure(folder, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **settings})
    return size


def decoder(**tokens: tuple[int, bool]) -> Json:
    """An `added_tokens_decoder`: text to number and whether it is special."""
    return {str(number): _added(number, text, special) for text, (number, special) in tokens.items()}


def _begins(first: Json, number: int, text: str) -> Json:
    """Llama 3's post-processor."""
    start = {"SpecialToken": {"id": text, "type_id": 0}}
    one, two = ({"Sequence": {"id": name, "type_id": at}} for at, name in enumerate("AB"))
    again = {"SpecialToken": {"id": text, "type_id": 1}}
    template = {
        "type": "TemplateProcessing",
        "single": [start, one],
        "pair": [start, one, again, two],
        "special_tokens": {text: {"id": text, "ids": [number], "tokens": [text]}},
    }
    return {"type": "Sequence", "processors": [first, template]}


def _added(number: int, text: str, special: bool = True) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": special, **flags}


def _configure(folder: Path, settings: Json) -> None:
    settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    write(folder, "tokenizer_config.json", settings)
