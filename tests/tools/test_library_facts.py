"""The library's facts: that they are up to date, right, and what our reader finds in files of such models."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.model_shapes import Dimensions, facts_of, shapes_of
from runtimes.planning.mix import quantized_bytes
from tools.library_facts import LIBRARY, SHAPES, documents
from tools.random_model import TINY, write_random_model

# Sums and sizes (MB = 10^6) that were computed apart and checked against llama.cpp; the cache in bytes per token
# with F16, of layers that see the whole context.
TABLE = """
entry               layers hidden heads kv head  ffn   vocab  tied context   parameters cache  Q4_K_M    BF16
qwen3/0.6b              28   1024    16  8  128  3072 151936 y   40960    596049920 114688   390.8  1192.2
qwen3/1.7b              28   2048    16  8  128  6144 151936 y   40960   1720574976 114688  1101.5  3441.4
qwen3/4b                36   2560    32  8  128  9728 151936 y   40960   4022468096 147456  2491.3  8045.3
qwen3/8b                36   4096    32  8  128 12288 151936 n   40960   8190735360 147456  5021.8 16382.1
phi4-mini/3.8b          32   3072    24  8  128  8192 200064 y  131072   3836021856 131072  2485.6  7672.4
gemma3/1b               26   1152     4  1  256  6912 262144 y   32768    999885952   4096   799.5  2000.0
gemma3/4b               34   2560     8  4  256 10240 262144 y  131072   3880099328  20480  2483.2  7760.9
llama3.1/8b             32   4096    32  8  128 14336 128256 n  131072   8030261312 131072  4912.9 16061.1
llama3.2/1b             16   2048    32  8   64  8192 128256 y  131072   1235814432  32768   799.9  2471.8
llama3.2/3b             28   3072    24  8  128  8192 128256 y  131072   3212749888 114688  2011.5  6425.9
bitnet/b1.58-2b-4t      30   2560    20  5  128  6912 128256 y    4096   2412820480  76800  1513.2  4826.5
smollm2/135m            30    576     9  3   64  1536  49152 y    8192    134515008  23040   103.7   269.1
smollm2/360m            32    960    15  5   64  2560  49152 y    8192    361821120  40960   268.8   723.8
smollm2/1.7b            24   2048    32 32   64  8192  49152 y    8192   1711376384 196608  1053.8  3423.0
"""
ROWS = [line.split() for line in TABLE.split("\n")[2:-1]]


def facts(entry: str) -> ModelFacts:
    return ModelFacts.from_json(json.loads((LIBRARY / entry / "facts.json").read_text()))


@pytest.mark.parametrize(
    "path", sorted(documents()), ids=lambda path: path.parent.parent.name + path.parent.name
)
def test_the_files_are_up_to_date(path: Path) -> None:
    assert path.read_text() == documents()[path], "run: python -m tools.library_facts"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_facts_are_those_of_the_table(row: list[str]) -> None:
    found = facts(row[0])
    windowed = found.window.layers if found.window and found.window.layers else (False,)
    layers = found.layers or 0
    full = sum(not windowed[layer % len(windowed)] for layer in range(layers))
    assert isinstance(found.kv_heads, int)
    assert [
        *(layers, found.hidden, found.heads, found.kv_heads, found.head_size_k, found.feed_forward),
        *(found.vocabulary, "y" if found.tied_embeddings else "n", found.trained_context, found.parameters),
        full * found.kv_heads * ((found.head_size_k or 0) + (found.head_size_v or 0)) * 2,
        *(round(quantized_bytes(found, "Q4_K_M") / 1e6, 1), round(found.tensor_bytes / 1e6, 1)),
    ] == [value if value in {"y", "n"} else float(value) for value in row[1:]]


def test_llama_3_is_llama_3_1_without_the_factors_for_long_contexts() -> None:
    old, new = facts("llama3/8b"), facts("llama3.1/8b")
    assert (new.parameters or 0) - (old.parameters or 0) == 64
    assert old.trained_context == 8192


def test_an_encoder_has_no_cache() -> None:
    found = facts("all-minilm/22m")
    assert (found.kv_layers, found.causal, found.pooling) == ((False,), False, 1)
    assert found.parameters == 22_565_376  # 22,713,216 as published, less the pooling layer's 384 * 385
    assert 45.5e6 < found.tensor_bytes < 45.9e6  # the F16 file has 45.9 MB
    assert 20.5e6 < quantized_bytes(found, "Q4_K_M") < 21.0e6  # the Q4_K_M file has 21 MB


def test_a_llama_file_has_the_same_facts(tmp_path: Path) -> None:
    """tools.random_model has its own idea of a Llama."""
    write_random_model(tmp_path / "tiny.gguf", shape=TINY)
    shape = Dimensions(
        architecture="llama", layers=TINY.layers, hidden=TINY.hidden, heads=TINY.heads, kv_heads=TINY.kv_heads,
        head_size=TINY.head_size, feed_forward=TINY.feed_forward, vocabulary=TINY.vocabulary, context=TINY.context,
        published_as="F32",
    )  # fmt: skip
    assert read(tmp_path / "tiny.gguf") == facts_of(shape)


def read(path: Path) -> ModelFacts:
    with path.open("rb") as stream:
        return facts_from_gguf([read_header(stream)])


SMALL = {
    "qwen3": Dimensions(
        architecture="qwen3", layers=3, hidden=64, heads=4, kv_heads=2, head_size=32, feed_forward=96, vocabulary=100,
        context=256, tied=False, published_as="F16",
    ),
    "gemma3": Dimensions(
        architecture="gemma3", layers=7, hidden=64, heads=4, kv_heads=1, head_size=32, feed_forward=96, vocabulary=100,
        context=256, window=32, windowed_layers=(True,) * 5 + (False,), published_as="F16",
    ),
    "phi3": Dimensions(
        architecture="phi3", layers=2, hidden=96, heads=3, kv_heads=1, head_size=32, feed_forward=64, vocabulary=100,
        context=256, window=512, rotary=(("rope_factors_long.weight", 12), ("rope_factors_short.weight", 12)),
        published_as="F16",
    ),
    "bert": Dimensions(
        architecture="bert", layers=2, hidden=64, heads=2, kv_heads=2, head_size=32, feed_forward=96, vocabulary=100,
        context=64, published_as="F16",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_files_of_other_architectures_have_the_same_facts(tmp_path: Path, name: str) -> None:
    """Written by gguf-py, with the keys that llama.cpp's converter writes for them."""
    shape = SMALL[name]
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    if name in {"qwen3", "gemma3"}:
        writer.add_key_length(shape.head_size)
        writer.add_value_length(shape.head_size)
    if shape.window is not None:
        writer.add_sliding_window(shape.window)
    if name == "bert":
        writer.add_causal_attention(False)
        writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{index}" for index in range(shape.vocabulary)])
    for tensor, dims in shapes_of(shape).items():
        exact = len(dims) == 1 or tensor.startswith(("position_embd", "token_types"))
        writer.add_tensor(tensor, np.zeros(dims[::-1], np.float32 if exact else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read(path) == facts_of(shape)


@pytest.mark.parametrize("entry", sorted(SHAPES))
def test_llama_cpp_knows_every_tensor(entry: str) -> None:
    shape = SHAPES[entry]
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == shape.architecture)
    known = {gguf.TENSOR_NAMES[tensor] for tensor in gguf.MODEL_TENSORS[architecture]}
    first = {
        name.rpartition(".")[0].replace("blk.0.", "blk.{bid}.")
        for name in shapes_of(shape)
        if "blk.0." in name
    }
    others = {name.rpartition(".")[0] for name in shapes_of(shape) if "blk." not in name}
    assert first | others <= known
