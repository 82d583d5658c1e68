"""Write a small language model as GGUF that says texts by heart: which one, the prompt's last token says.

Tests of tool calls, thoughts and structured answers need models that give them; those that learned to are
too large to bring along. This one is a chain: layers add nothing, so what comes next depends on the last
token alone, and the output's row of a token is the embedding of the one that it comes after. A text is cut
into pieces, each a token of its own, and the last one is followed by the end of the answer.

    write_reciting_model(path, ["first answer", "second answer"])     # after <|say-0|>, after <|say-1|>

A chat template ends the prompt with one of these (`cue`). Sampling may be what it will: the next token has
nearly all of the probability, unless a grammar forbids it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np

HIDDEN = 256
_HEADS = 4
_FEED_FORWARD = 64
_CONTEXT = 4096
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
_END = 2
_CERTAIN = 24.0
"""The logit of the token that comes next; the others' are some eight standard deviations below."""

_TYPES = gguf.TokenType


def cue(number: int) -> str:
    """The token that text `number` comes after."""
    return f"<|say-{number}|>"


def write_reciting_model(path: Path, texts: Sequence[str], *, chat_template: str | None = None) -> None:
    """Write a model that says each of `texts` after its cue. Raises ValueError for a text that is empty, or
    that repeats itself so that its pieces cannot be told apart."""
    vocabulary = _vocabulary(len(texts))
    chains = []
    known = {text for text, _ in vocabulary}
    for number, text in enumerate(texts):
        pieces = _pieces(text, known)
        first = len(vocabulary)
        vocabulary += [(piece, _TYPES.USER_DEFINED) for piece in pieces]
        begin = next(at for at, (token, _) in enumerate(vocabulary) if token == cue(number))
        chains.append([begin, *range(first, len(vocabulary)), _END])
    embeddings = _random(len(vocabulary))
    output = np.zeros_like(embeddings)
    for chain in chains:
        for before, after in pairwise(chain):
            output[after] += embeddings[before] * np.float32(_CERTAIN / np.sqrt(HIDDEN))
    _write(path, vocabulary, embeddings, output, chat_template)


def _vocabulary(texts: int) -> list[tuple[str, gguf.TokenType]]:
    control = [("<unk>", _TYPES.UNKNOWN), ("<s>", _TYPES.CONTROL), ("</s>", _TYPES.CONTROL)]
    octets = [(f"<0x{octet:02X}>", _TYPES.BYTE) for octet in range(256)]
    characters = [(each, _TYPES.NORMAL) for each in (_SPACE, *map(chr, range(0x21, 0x7F)))]
    return [*control, *octets, *characters, *((cue(number), _TYPES.CONTROL) for number in range(texts))]


def _pieces(text: str, known: set[str]) -> list[str]:
    """`text` in pieces of about a word that nobody has had yet; what is not new grows by what follows."""
    found: list[str] = []
    piece = ""
    for part in re.findall(r"\s+|\w+|[^\w\s]", text):
        piece += part
        if len(piece) > 1 and piece not in known:
            known.add(piece)
            found.append(piece)
            piece = ""
    while piece and found:  # the rest belongs to the last ones
        piece = found.pop() + piece
        if piece not in known:
            known.add(piece)
            return [*found, piece]
    if not found:
        raise ValueError(f"{text!r:.60} cannot be told from the other texts")
    return found


def _random(rows: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Directions that have little to do with each other, each of length 1 in every channel's mean square."""
    signs = np.random.PCG64(1).random_raw(rows * HIDDEN).reshape(rows, HIDDEN) & np.uint64(1)
    return (signs.astype(np.float32) * 2 - 1).astype(np.float32)


def _write(
    path: Path,
    vocabulary: Sequence[tuple[str, gguf.TokenType]],
    embeddings: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    output: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    chat_template: str | None,
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("reciting")
    writer.add_file_type(0)
    writer.add_block_count(1)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(HIDDEN // _HEADS)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_scores([-float(number) for number in range(len(vocabulary))])
    writer.add_token_types([int(kind) for _, kind in vocabulary])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(_END)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    square = np.zeros((HIDDEN, HIDDEN), np.float32)
    ones = np.ones(HIDDEN, np.float32)
    writer.add_tensor("token_embd.weight", embeddings)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", ones)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", square)
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((_FEED_FORWARD, HIDDEN), np.float32))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((HIDDEN, _FEED_FORWARD), np.float32))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
