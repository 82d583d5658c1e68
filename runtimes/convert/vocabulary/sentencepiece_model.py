"""tokenizer.model: a SentencePiece vocabulary.

Sources: sentencepiece_model.proto (field numbers and defaults), and the encoding of Protocol Buffers: a
file is a row of fields, each a varint of (number << 3 | wire type) and its value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from registry.errors import MalformedFile
from runtimes.convert.vocabulary.tokenizer_json import MAX_TOKENS

NAME = "tokenizer.model"
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_MODEL_TYPE = 3
_ADD_DUMMY_PREFIX = 3
_HINT = "Download the model again from where its makers publish it."


class PieceType(IntEnum):
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class ModelType(IntEnum):
    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


class Piece(NamedTuple):
    text: str
    score: float
    kind: PieceType


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieceModel:
    """`prefixed` says whether a text gets a blank in front (`add_dummy_prefix`)."""

    model_type: ModelType
    pieces: tuple[Piece, ...]
    prefixed: bool

    @classmethod
    def of(cls, raw: bytes) -> SentencePieceModel:
        """The parsed file. Raises MalformedFile."""
        pieces: list[Piece] = []
        trainer: list[bytes] = []
        normalizer: list[bytes] = []
        for number, value in _fields(raw):
            if not isinstance(value, bytes):
                continue
            if number == _PIECES:
                pieces.append(_piece(value, len(pieces)))
            elif number == _TRAINER:
                trainer.append(value)  # a message that comes twice is merged, and later values win
            elif number == _NORMALIZER:
                normalizer.append(value)
        if not pieces or len(pieces) > MAX_TOKENS:
            raise MalformedFile(f"{NAME} has {len(pieces)} pieces.", hint=_HINT)
        return cls(
            model_type=_model_type(b"".join(trainer)),
            pieces=tuple(pieces),
            prefixed=_last(b"".join(normalizer), _ADD_DUMMY_PREFIX, 1) != 0,
        )


def looks_like_one(raw: bytes) -> bool:
    """Whether a file starts as these do: with a piece."""
    return raw[:1] == bytes([_PIECES << 3 | _BYTES])


def _piece(raw: bytes, number: int) -> Piece:
    text, score, kind = b"", 0.0, int(PieceType.NORMAL)
    for field, value in _fields(raw):
        if field == 1 and isinstance(value, bytes):
            text = value
        elif field == 2 and isinstance(value, float):
            score = value
        elif field == 3 and isinstance(value, int):
            kind = value
    try:
        return Piece(text.decode(), score, PieceType(kind))
    except ValueError:  # UnicodeDecodeError is one
        raise MalformedFile(f"Piece {number} of {NAME} is none.", hint=_HINT) from None


def _model_type(trainer: bytes) -> ModelType:
    value = _last(trainer, _MODEL_TYPE, ModelType.UNIGRAM)
    try:
        return ModelType(value)
    except ValueError:
        raise MalformedFile(f"{NAME} is of type {value}, which there is none of.", hint=_HINT) from None


def _last(raw: bytes, number: int, default: int) -> int:
    """The value of a field that may be given or not."""
    for field, value in _fields(raw):
        if field == number and isinstance(value, int):
            default = value
    return default


def _fields(raw: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Numbers and values: an int for a varint, a float for four bytes, bytes for the rest. Raises
    MalformedFile."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(raw, at)
        elif wire in (_FOUR, _EIGHT):
            length = 4 if wire == _FOUR else 8
        else:
            raise MalformedFile(f"{NAME} has a field of an unknown kind at byte {at}.", hint=_HINT)
        if length > len(raw) - at:
            raise MalformedFile(f"{NAME} is cut: a field is longer than what is left of it.", hint=_HINT)
        piece = raw[at : at + length]
        at += length
        yield number, struct.unpack("<f", piece)[0] if wire == _FOUR else piece


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while at < len(raw) and shift < 70:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise MalformedFile(f"{NAME} is cut, or has a number that is none, at byte {at}.", hint=_HINT)
