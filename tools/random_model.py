"""Write a small language model with random weights as GGUF: an engine loads it and it babbles readable words.

    python -m tools.random_model OUT.gguf [--shape tiny|gigabyte] [--type F32] [--seed N]

The demo, the tests and the benchmarks need models of any size that nobody has to download. The same arguments
give the same bytes on every machine: the weights are raw PCG64 output scaled in exact steps, nothing else.

How random weights are kept from printing rubbish. Channel 0 of the residual stream is built to be positive:
the first feed-forward units have equal gate and up rows, so each gives silu(z)*z >= 0, and only they write to
that channel. The output rows of tokens that must not be said (control tokens, bytes, pieces of words) are
negative there, so their logits lie far below those of every whole word, for greedy decoding and for sampling.
End of sequence is such a token too: generation stops at the limit that the caller sets. For a model that ends
by itself pass `metadata={"tokenizer.ggml.eos_token_id": <id of a word>}`.

Formats: GGUF (ggml/docs/gguf.md), split files as llama.cpp's `gguf-split` writes them.
"""

from __future__ import annotations

import argparse
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import gguf
import numpy as np
import numpy.typing as npt

TENSOR_TYPES = ("F32", "F16", "Q8_0", "Q4_0")

Quantize = Callable[[npt.NDArray[np.float32], gguf.GGMLQuantizationType], npt.NDArray[np.generic]]
"""Rows of values to rows of a type's blocks."""

MetadataValue = str | bool | int | float | list[str] | list[int] | list[float]
"""A metadata value. An int is written as u32, or as i32 or 64 bits where it needs that; a float as f32."""

_WORDS = """
a about above across after again air all along also always am an and animal answer any apple are arm around as
ask at autumn away baby back bag ball bank barn be bear beat bed bee before began begin behind bell below best
big bird black blue boat body book both bowl box boy bread bring brother brown bus but butter buy by cake call
came camp can cap car care cat chair child city clean clear clock close cloud coat cold color come cook corn
could count country cow cross cup cut dance dark day deep did do dog door down draw dream drink drop dry duck
each ear early earth east eat egg end even ever eye face fall family far farm fast father feet few field find
fire first fish five flag flat floor flow fly fold food for forest forget found four free friend frog from
fruit full game garden gave get gift girl give glad glass go gold good grass great green grew ground group
grow had hair half hand happy hard has hat have he head hear heart help her here high hill him his hold home
horse
hot house how hundred ice idea if in into is island it jar job jump just keep key kind king kitchen kite knew
know lake lamp land large last late laugh leaf learn leave left leg less let letter life light like line lion
list little live long look lost lot loud love low made make man many map mark may me mean meet milk mind moon
more morning most mother mouse move much music must my name near need never new next night no north nose not
now number oak of off often old on once one only open or other our out over own page paper park part pass path
pen people piece place plan plant play please pond pull put question quick quiet rain ran reach read ready
red rest rice right ring river road rock room root rose round run sad said sail salt same sand sang saw say
school sea second see seed seem sent set seven shape she ship shoe shop short should show side sing sister
sit six sky sleep slow small snow so soft some song soon sound south spring stand star start stay step still
stone stop story street strong such sugar summer sun sure swim table tail take talk tall tea tell ten than
that the their them then there these they thing think this thought three time to together told took top town
tree true try turn two under until up us use very voice wait walk wall want warm was watch water wave way we
week well went were west what wheel when where which while white who why wide wild will wind window winter
wish with woman wood word work world would write year yellow yes you young your
"""

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece writes a blank like this
_UNKNOWN, _BEGIN, _END = 0, 1, 2
_TYPES = gguf.TokenType


def _pieces() -> list[tuple[str, gguf.TokenType]]:
    """The vocabulary: control tokens, bytes, printable characters, then words behind all their beginnings.

    SentencePiece's merge needs a token for every step from single characters to the word, hence the
    beginnings; a shorter piece comes earlier, and so has the better score.
    """
    control = [("<unk>", _TYPES.UNKNOWN), ("<s>", _TYPES.CONTROL), ("</s>", _TYPES.CONTROL)]
    octets = [(f"<0x{octet:02X}>", _TYPES.BYTE) for octet in range(256)]
    characters = [_SPACE, *(chr(code) for code in range(0x21, 0x7F))]
    beginnings = {_SPACE + word[:end] for word in _WORDS.split() for end in range(1, len(word) + 1)}
    texts = [*characters, *sorted(beginnings, key=lambda text: (len(text), text))]
    return [*control, *octets, *((text, _TYPES.NORMAL) for text in texts)]


_PIECES = _pieces()
_SPOKEN = frozenset(_SPACE + word for word in _WORDS.split())

WORDS = frozenset(_WORDS.split())
"""Everything the models say."""

VOCABULARY = len(_PIECES)
"""Tokens of the built-in vocabulary; a larger `Shape.vocabulary` is filled up with unused tokens."""


_LIFTING = 32  # feed-forward units that lift channel 0: one block of the 32-value quantizations
_LIFT = 6 / 16  # their weight; 32 units of mean 1/2 raise the channel by 6 a layer, others move by about 1
_SILENCE = 1.5  # how far below zero the unspoken rows lie in channel 0
_OUTPUT_GAIN = 16.0  # weight of the last norm: makes embeddings small beside what the layers add
_LOGIT_SPREAD = 3.0  # standard deviation of the words' logits


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a llama-architecture model; the defaults make one of about 6 MB in F32."""

    layers: int = 2
    hidden: int = 256
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    feed_forward: int = 512
    context: int = 2048
    vocabulary: int = VOCABULARY
    tied: bool = True

    def __post_init__(self) -> None:
        if min(self.layers, self.hidden, self.heads, self.kv_heads, self.head_size, self.context) < 1:
            raise ValueError("every size of a shape is at least 1")
        if self.heads % self.kv_heads or self.head_size % 2:
            raise ValueError("heads must be a multiple of kv_heads, and head_size even")
        if self.feed_forward < 2 * _LIFTING:
            raise ValueError(f"feed_forward must be at least {2 * _LIFTING}")
        if self.vocabulary < VOCABULARY:
            raise ValueError(f"vocabulary must be at least {VOCABULARY}")

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and row-major dimensions (outputs, inputs) of every tensor, in file order."""
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        dimensions: dict[str, tuple[int, ...]] = {"token_embd.weight": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            block = {
                "attn_norm": (self.hidden,),
                "attn_q": (query, self.hidden),
                "attn_k": (key, self.hidden),
                "attn_v": (key, self.hidden),
                "attn_output": (self.hidden, query),
                "ffn_norm": (self.hidden,),
                "ffn_gate": (self.feed_forward, self.hidden),
                "ffn_up": (self.feed_forward, self.hidden),
                "ffn_down": (self.hidden, self.feed_forward),
            }
            dimensions |= {f"blk.{layer}.{name}.weight": dims for name, dims in block.items()}
        dimensions["output_norm.weight"] = (self.hidden,)
        if not self.tied:
            dimensions["output.weight"] = (self.vocabulary, self.hidden)
        return dimensions


TINY = Shape(hidden=64, heads=2, kv_heads=1, head_size=32, feed_forward=192)
GIGABYTE = Shape(layers=21, hidden=1024, heads=16, kv_heads=4, feed_forward=3072, context=4096)
SHAPES = {"tiny": TINY, "default": Shape(), "gigabyte": GIGABYTE}


def write_random_model(
    path: Path,
    *,
    shape: Shape = TINY,
    seed: int = 0,
    tensor_type: str = "F32",
    chat_template: str | None = None,
    metadata: Mapping[str, MetadataValue | None] | None = None,
    types: Mapping[str, str] | None = None,
    quantize: Quantize = gguf.quants.quantize,
    distinct_rows: int | None = None,
) -> None:
    """Write a model of `shape` to `path`; one tensor is in memory at a time.

    `tensor_type` is one of `TENSOR_TYPES`; for Q8_0 and Q4_0 every row length must be a multiple of 32 (norms
    stay F32). `metadata` replaces or adds keys; a None leaves the key out. `types` names other types of
    single tensors, any that `quantize` can make. With `distinct_rows`, the last so many rows of each tensor
    are repeated to its end: all bytes are there, and making them costs little.

    Raises ValueError on arguments that make no model, OSError when the file cannot be written.
    """
    keys = _metadata(shape, tensor_type, chat_template, metadata or {})
    _write_file(path, keys, _plan(shape, tensor_type, types or {}), seed, quantize, distinct_rows)


def write_random_shards(
    folder: Path,
    *,
    count: int = 3,
    name: str = "model",
    shape: Shape = TINY,
    seed: int = 0,
    tensor_type: str = "F32",
    chat_template: str | None = None,
    metadata: Mapping[str, MetadataValue | None] | None = None,
) -> list[Path]:
    """Write the same model as `count` files `<name>-00001-of-0000N.gguf` in `folder`; returns them in order.

    The first holds the metadata, all hold split.no, split.count and split.tensors.count.
    """
    keys = _metadata(shape, tensor_type, chat_template, metadata or {})
    tensors = _plan(shape, tensor_type)
    if not 1 <= count <= len(tensors):
        raise ValueError(f"count must be from 1 to {len(tensors)}, the number of tensors")
    bounds = [len(tensors) * number // count for number in range(count + 1)]
    paths = []
    for number in range(count):
        path = folder / f"{name}-{number + 1:05d}-of-{count:05d}.gguf"
        split = {
            "split.no": gguf.GGUFValue(number, gguf.GGUFValueType.UINT16),
            "split.count": gguf.GGUFValue(count, gguf.GGUFValueType.UINT16),
            "split.tensors.count": gguf.GGUFValue(len(tensors), gguf.GGUFValueType.INT32),
        }
        own = keys if number == 0 else {}
        _write_file(path, own | split, tensors[bounds[number] : bounds[number + 1]], seed)
        paths.append(path)
    return paths


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tensor:
    name: str
    dimensions: tuple[int, ...]
    type: gguf.GGMLQuantizationType
    shape: Shape

    @property
    def stored_bytes(self) -> int:
        block, size = gguf.GGML_QUANT_SIZES[self.type]
        return math.prod(self.dimensions) // block * size


def _plan(shape: Shape, tensor_type: str, types: Mapping[str, str] = MappingProxyType({})) -> list[_Tensor]:
    weights_type = _weights_type(tensor_type)
    plan = []
    for name, dimensions in shape.tensors().items():
        kind = weights_type if len(dimensions) > 1 else gguf.GGMLQuantizationType.F32
        if name in types:
            kind = gguf.GGMLQuantizationType[types[name]]
        block, _ = gguf.GGML_QUANT_SIZES[kind]
        if dimensions[-1] % block:
            raise ValueError(
                f"{kind.name} needs rows of a multiple of {block} values, {name} has {dimensions[-1]}"
            )
        plan.append(_Tensor(name=name, dimensions=dimensions, type=kind, shape=shape))
    return plan


def _weights_type(tensor_type: str) -> gguf.GGMLQuantizationType:
    if tensor_type not in TENSOR_TYPES:
        raise ValueError(f"tensor_type must be one of {', '.join(TENSOR_TYPES)}")
    return gguf.GGMLQuantizationType[tensor_type]


def _write_file(
    path: Path,
    keys: Mapping[str, gguf.GGUFValue],
    tensors: Sequence[_Tensor],
    seed: int,
    quantize: Quantize = gguf.quants.quantize,
    distinct_rows: int | None = None,
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.kv_data[0] = dict(keys)
    for tensor in tensors:
        size = tensor.stored_bytes
        writer.add_tensor_info(
            tensor.name, tensor.dimensions, np.dtype(np.float32), size, raw_dtype=tensor.type
        )
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(_stored(tensor, seed, quantize, distinct_rows))
    finally:
        writer.close()


_Array = npt.NDArray[np.float32]
_SPECIAL_ROWS = {
    "token_embd": VOCABULARY,
    "output": VOCABULARY,
    "ffn_gate": _LIFTING,
    "ffn_up": _LIFTING,
    "ffn_down": 1,
    "attn_output": 1,
}


def _stored(
    tensor: _Tensor, seed: int, quantize: Quantize, distinct_rows: int | None
) -> npt.NDArray[np.generic]:
    """The tensor as the file has it: rows that have a meaning of their own, then the others."""
    rows = tensor.dimensions[0]
    made = rows
    if distinct_rows is not None and len(tensor.dimensions) > 1:
        role = tensor.name.removesuffix(".weight").rpartition(".")[2]
        made = min(rows, _SPECIAL_ROWS.get(role, 0) + distinct_rows)
    blocks = quantize(_weights(replace(tensor, dimensions=(made, *tensor.dimensions[1:])), seed), tensor.type)
    if distinct_rows is None or made == rows:
        return blocks
    return blocks[[*range(made), *(made - distinct_rows + at % distinct_rows for at in range(rows - made))]]


def _weights(tensor: _Tensor, seed: int) -> _Array:
    """The values of one tensor: a function of its name, its dimensions and the seed alone."""
    dimensions, shape = tensor.dimensions, tensor.shape
    role = tensor.name.removesuffix(".weight").rpartition(".")[2]
    rows = np.float32(1 / math.sqrt(dimensions[-1]))  # keeps a unit-variance input at unit variance
    if role == "output_norm":
        return np.full(dimensions, _OUTPUT_GAIN, np.float32)
    if len(dimensions) == 1:
        return np.ones(dimensions, np.float32)
    if role in ("token_embd", "output"):
        array = _uniform(tensor.name, dimensions, seed, rows * np.float32(_LOGIT_SPREAD / _OUTPUT_GAIN))
        array[:, 0] = 0
        if role == "output" or shape.tied:
            array[_unspoken(shape.vocabulary)[: dimensions[0]], 0] = -_SILENCE
        return array
    if role == "attn_q":
        return _uniform(tensor.name, dimensions, seed, rows * np.float32(3))  # attends to few positions
    if role == "ffn_up":
        array = _uniform(tensor.name, dimensions, seed, rows)
        gate = tensor.name.replace("ffn_up", "ffn_gate")
        array[:_LIFTING] = _uniform(gate, (_LIFTING, dimensions[1]), seed, rows)
        return array
    array = _uniform(tensor.name, dimensions, seed, rows * np.float32(2) if role == "ffn_down" else rows)
    if role in ("attn_output", "ffn_down"):
        array[0] = 0
    if role == "ffn_down":
        array[0, :_LIFTING] = _LIFT
    return array


def _uniform(name: str, dimensions: tuple[int, ...], seed: int, deviation: np.float32) -> _Array:
    """Uniform values around 0 with the standard deviation given, row-major; a shorter array is a prefix.

    Raw generator output and three exactly rounded operations only: numpy promises the raw stream for ever,
    but not what its distributions make of it.
    """
    count = math.prod(dimensions)
    bits = np.random.PCG64([seed, zlib.crc32(name.encode())]).random_raw((count + 3) // 4)
    array = bits.astype("<u8", copy=False).view("<u2")[:count].astype(np.float32)
    array -= np.float32(32767.5)
    array *= deviation * np.float32(math.sqrt(3) / 32768)
    return array.reshape(dimensions)


def _unspoken(vocabulary: int) -> npt.NDArray[np.bool_]:
    spoken = [text in _SPOKEN for text, _ in _PIECES]
    return ~np.array(spoken + [False] * (vocabulary - VOCABULARY))


def _metadata(
    shape: Shape,
    tensor_type: str,
    chat_template: str | None,
    overrides: Mapping[str, MetadataValue | None],
) -> dict[str, gguf.GGUFValue]:
    spare = range(shape.vocabulary - VOCABULARY)
    kinds = [int(kind) for _, kind in _PIECES] + [int(_TYPES.UNUSED) for _ in spare]
    scores = [0.0 if kind != _TYPES.NORMAL else -float(number) for number, kind in enumerate(kinds)]
    file_types = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7}  # llama.cpp's LLAMA_FTYPE numbers
    _weights_type(tensor_type)
    values: dict[str, MetadataValue | None] = {
        "general.architecture": "llama",
        "general.name": "random words",
        "general.file_type": file_types[tensor_type],
        "general.quantization_version": 2,
        "llama.block_count": shape.layers,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.hidden,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.key_length": shape.head_size,
        "llama.attention.value_length": shape.head_size,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.rope.dimension_count": shape.head_size,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": shape.vocabulary,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [text for text, _ in _PIECES] + [f"<unused{number}>" for number in spare],
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": _BEGIN,
        "tokenizer.ggml.eos_token_id": _END,
        "tokenizer.ggml.unknown_token_id": _UNKNOWN,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": True,
        "tokenizer.chat_template": chat_template,
    }
    values.update(overrides)
    return {key: _typed(value) for key, value in values.items() if value is not None}


def _typed(value: MetadataValue) -> gguf.GGUFValue:
    kinds = gguf.GGUFValueType
    match value:
        case list():
            kind = kinds.ARRAY
        case bool():
            kind = kinds.BOOL
        case str():
            kind = kinds.STRING
        case float():
            kind = kinds.FLOAT32
        case _ if 0 <= value < 1 << 32:
            kind = kinds.UINT32
        case _ if -(1 << 31) <= value < 0:
            kind = kinds.INT32
        case _:
            kind = kinds.UINT64 if value > 0 else kinds.INT64
    return gguf.GGUFValue(value, kind)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.random_model", description="Write a random model.")
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="tiny")
    parser.add_argument("--type", choices=TENSOR_TYPES, default="F32", dest="tensor_type")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    write_random_model(
        chosen.out, shape=SHAPES[chosen.shape], seed=chosen.seed, tensor_type=chosen.tensor_type
    )
    print(f"{chosen.out}: {chosen.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
