"""Facts from headers: the shapes of models that people run, and what hostile numbers do to them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jsonschema
import pytest

from registry.errors import MalformedFile
from registry.formats.facts import Experts, LatentAttention, ModelFacts, Recurrent, TensorRow, Window
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.tensor_classes import tensor_class
from tests.gguf_bytes import BOOL, F32, STRING, U32, U64, Builder, minimal, tiny
from tests.registry.formats.test_gguf import STORIES

SCHEMA = Path(__file__).parents[3] / "docs/schemas/facts-1.json"


def _facts(made: Builder) -> ModelFacts:
    return facts_from_gguf([read_header(io.BytesIO(made.build()))])


def _model(architecture: str, **keys: object) -> Builder:
    """A header with `<architecture>.<name>` for each keyword, two underscores standing for a dot."""
    made = minimal(architecture)
    for name, value in keys.items():
        key = f"{architecture}.{name.replace('__', '.')}"
        if isinstance(value, bool):
            made.put(key, BOOL, value)
        elif isinstance(value, int):
            made.put(key, U32, value)
        elif isinstance(value, Sequence):
            made.put_array(key, BOOL if isinstance(value[0], bool) else U32, value)
    return made


@pytest.mark.skipif(not STORIES.exists(), reason="the stories260K model is not in ../shared")
def test_stories260k() -> None:
    with STORIES.open("rb") as stream:
        header = read_header(stream)
    facts = facts_from_gguf([header])
    assert not header.has_chat_template
    assert (facts.format, facts.architecture, facts.quantization) == ("gguf", "llama", "F32")
    assert (facts.layers, facts.hidden, facts.heads, facts.kv_heads) == (5, 64, 8, 4)
    assert (facts.head_size_k, facts.head_size_v, facts.feed_forward) == (8, 8, 172)
    assert (facts.vocabulary, facts.trained_context, facts.tied_embeddings) == (512, 512, True)
    assert facts.parameters == 260_032
    assert facts.tensor_bytes == sum(tensor.size_bytes for tensor in header.tensors) == 4 * 260_032
    assert facts.kv_layers == (True,)
    assert facts.window is None
    assert facts.recurrent is None
    assert facts.experts is None
    document = facts.to_json()
    jsonschema.validate(json.loads(json.dumps(document)), json.loads(SCHEMA.read_text()))
    assert len(json.dumps(document)) < 4096
    assert ModelFacts.from_json(document) == facts


def test_rows_are_summed_by_class_and_type() -> None:
    facts = _facts(tiny())
    assert facts.tensors == (
        _row("attn_k", 2, 8, 64),
        _row("attn_q", 2, 8, 128),
        _row("ffn_down", 2, 16, 256),
        _row("norm", 3, 8, 24),
        _row("token_embd", 1, 8, 128),
    )
    assert facts.parameters == sum(row.elements for row in facts.tensors)


def _row(name: str, count: int, columns: int | None, elements: int) -> TensorRow:
    return TensorRow(
        tensor_class=name, type="F32", count=count, columns=columns, elements=elements, bytes=4 * elements
    )


def test_unknown_is_none() -> None:
    facts = _facts(minimal())
    assert facts == ModelFacts(format="gguf", architecture="llama")


def test_defaults_that_engines_apply() -> None:
    facts = _facts(_model("llama", block_count=2, embedding_length=64, attention__head_count=4))
    assert (facts.kv_heads, facts.head_size_k, facts.head_size_v) == (4, 16, 16)
    explicit = _facts(
        _model("qwen3", embedding_length=1024, attention__head_count=16, attention__key_length=128)
    )
    assert (explicit.head_size_k, explicit.head_size_v) == (128, 64)


def test_vocabulary_is_the_token_count_where_the_file_does_not_say() -> None:
    made = minimal().put_array("tokenizer.ggml.tokens", STRING, ["x"] * 2000)
    assert _facts(made).vocabulary == 2000
    assert _facts(made.put("llama.vocab_size", U32, 3000)).vocabulary == 3000


def test_per_layer_numbers() -> None:
    facts = _facts(
        _model("openelm", block_count=3, attention__head_count_kv=[3, 3, 4], feed_forward_length=[8, 8, 8])
    )
    assert facts.kv_heads == (3, 3, 4)
    assert facts.kv_layers == (True,)
    assert facts.feed_forward == 8


WINDOWS: Mapping[str, tuple[dict[str, object], tuple[bool, ...] | None]] = {
    "gemma3": ({}, (True,) * 5 + (False,)),
    "gemma2": ({}, (True, False)),
    "gpt-oss": ({}, (True, False)),
    "smallthinker": ({}, (False, True, True, True)),
    "phi3": ({}, None),
    "plamo3": ({"attention__sliding_window_pattern": 2}, (True, False)),
    "gemma4": ({"attention__sliding_window_pattern": [True, True, False]}, (True, True, False)),
    "mimo2": ({"attention__sliding_window_pattern": [0, 1, 1]}, (False, True, True)),
    "deepseek4": ({"attention__sliding_window_pattern": 0}, (True,)),
    "cohere2": ({"attention__sliding_window_pattern": 1}, (False,)),
}


@pytest.mark.parametrize("architecture", WINDOWS)
def test_which_layers_have_a_window(architecture: str) -> None:
    keys, layers = WINDOWS[architecture]
    facts = _facts(_model(architecture, block_count=3, attention__sliding_window=512, **keys))
    assert facts.window == Window(size=512, layers=layers, head_size_k=None, head_size_v=None)


def test_windows_without_a_size() -> None:
    assert _facts(_model("gemma3")).window is None
    assert _facts(_model("gemma3", attention__sliding_window=0)).window is None
    gemma2 = _facts(_model("gemma2")).window
    assert gemma2 is not None
    assert gemma2.size == 4096


def test_gemma3_windowed_layers_of_26_and_34() -> None:
    """fit.md 2.6: 22 of 26 and 29 of 34."""
    window = _facts(_model("gemma3", attention__sliding_window=512)).window
    assert window is not None
    assert window.layers is not None
    for layers, windowed in ((26, 22), (34, 29)):
        assert sum(window.layers[layer % len(window.layers)] for layer in range(layers)) == windowed


def test_shared_caches() -> None:
    assert _facts(_model("gemma3n", block_count=35)).shared_kv_layers == 15
    assert _facts(_model("gemma3n", block_count=5)).shared_kv_layers == 0
    facts = _facts(_model("gemma4", block_count=35, attention__shared_kv_layers=18))
    assert facts.shared_kv_layers == 18
    assert _facts(_model("llama", block_count=35)).shared_kv_layers is None


def test_latent_attention() -> None:
    keys = {
        "attention__key_length_mla": 192,
        "attention__value_length_mla": 128,
        "attention__kv_lora_rank": 512,
    }
    facts = _facts(_model("deepseek2", attention__key_length=576, attention__head_count_kv=1, **keys))
    assert facts.latent == LatentAttention(rank=512, head_size_k=192, head_size_v=128)
    assert (facts.kv_heads, facts.head_size_k) == (1, 576)
    assert _facts(_model("deepseek2", attention__kv_lora_rank=512)).latent is None


def test_experts() -> None:
    keys = {"expert_count": 128, "expert_used_count": 8, "expert_feed_forward_length": 768}
    facts = _facts(_model("qwen3moe", **keys))
    assert facts.experts == Experts(
        count=128, used=8, shared=None, feed_forward=768, shared_feed_forward=None
    )
    assert _facts(_model("llama", expert_count=0)).experts is None


def _recurrent(layers: tuple[bool, ...] | None, **sizes: int) -> Recurrent:
    return Recurrent(
        layers=layers, **{name: sizes.get(name) for name in Recurrent.__slots__ if name != "layers"}
    )


def test_recurrent_models() -> None:
    mamba = _facts(
        _model("mamba", block_count=24, ssm__conv_kernel=4, ssm__inner_size=1536, ssm__state_size=16)
    )
    assert mamba.recurrent == _recurrent((True,), conv_kernel=4, inner_size=1536, state_size=16)
    assert mamba.kv_layers == (False,)
    rwkv = _facts(_model("rwkv7", wkv__head_size=64, token_shift_count=2))
    assert rwkv.recurrent == _recurrent((True,), wkv_head_size=64, token_shift=2)
    lfm2 = _facts(_model("lfm2", block_count=3, shortconv__l_cache=3, attention__head_count_kv=[0, 8, 0]))
    assert lfm2.recurrent == _recurrent((True, False, True), conv_cache=3)
    assert lfm2.kv_layers == (False, True, False)
    falcon = _facts(_model("falcon-h1", ssm__state_size=128, attention__head_count_kv=2))
    assert falcon.recurrent == _recurrent((True,), state_size=128)
    assert falcon.kv_layers == (True,)
    nemotron = _facts(
        _model(
            "nemotron_h",
            block_count=3,
            ssm__state_size=128,
            attention__head_count_kv=[0, 8, 0],
            feed_forward_length=[0, 0, 64],
        )
    )
    assert nemotron.recurrent == _recurrent((True, False, False), state_size=128)
    qwen = _facts(_model("qwen3next", block_count=48, ssm__state_size=128, attention__head_count_kv=2))
    assert qwen.kv_layers == (False, False, False, True)
    assert qwen.recurrent == _recurrent((True, True, True, False), state_size=128)


def test_embedding_models() -> None:
    facts = _facts(_model("nomic-bert", attention__causal=False, pooling_type=1, attention__head_count=12))
    assert (facts.causal, facts.pooling, facts.kv_layers) == (False, 1, (False,))


def _typed(file_type: int | None, *tensors: tuple[str, tuple[int, ...], int]) -> str | None:
    made = minimal() if file_type is None else minimal().put("general.file_type", U32, file_type)
    for name, dims, kind in tensors:
        blocks = dims[0] * dims[1] // 256 if len(dims) > 1 else 0
        sizes = {0: 1024 * blocks, 1: 512 * blocks, 6: 176 * blocks, 8: 272 * blocks, 12: 144 * blocks}
        made.tensor(name, dims, kind, data=bytes(sizes[kind]) if blocks else None)
    return _facts(made).quantization


def test_quantization_label() -> None:
    q4_k = ("blk.0.ffn_up.weight", (256, 8), 12)
    q8_0 = ("output.weight", (256, 4), 8)
    norm = ("output_norm.weight", (256,), 0)
    q5_0 = ("blk.0.ffn_up.weight", (32, 64), 6)
    f16 = ("blk.0.ffn_up.weight", (256, 8), 1)
    assert _typed(15, q4_k, q8_0, norm) == "Q4_K_M"
    assert _typed(14 + 1024, q4_k, norm) == "Q4_K_S"
    assert _typed(None, q4_k, q8_0, norm) == "Q4_K"
    assert _typed(999, q4_k, norm) == "Q4_K"
    assert _typed(15, q5_0, norm) == "Q4_K_M", "rows of no whole block fall back, the recipe stays"
    assert _typed(0, q4_k, norm) == "Q4_K", "a wrong file type does not make a quantized file F32"
    assert _typed(1, f16, norm) == "F16"
    assert _typed(15, f16, norm) == "F16"
    assert _typed(15) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("token_embd.weight", "token_embd"),
        ("output.weight", "output"),
        ("output_norm.weight", "norm"),
        ("blk.12.attn_q.weight", "attn_q"),
        ("blk.12.attn_q.bias", "bias"),
        ("blk.0.attn_q_norm.weight", "norm"),
        ("blk.0.ffn_down_exps.weight", "ffn_down_exps"),
        ("blk.0.ffn_gate_inp.weight", "ffn_gate_inp"),
        ("enc.blk.3.attn_o.weight", "attn_output"),
        ("blk.0.shortconv.in_proj.weight", "shortconv_in_proj"),
        ("blk.0.ssm_a", "other"),
        ("rope_freqs.weight", "other"),
        ("v.blk.0.attn_q.weight", "vision"),
        ("a.blk.0.ffn_up.weight", "audio"),
        ("mm.0.weight", "projector"),
        ("blk.0.evil.weight", "other"),
        ("nonsense", "other"),
        ("\x1b[2J", "other"),
    ],
)
def test_tensor_classes(name: str, expected: str) -> None:
    assert tensor_class(name) == expected


def test_hostile_numbers_are_passed_on_and_cost_nothing() -> None:
    most = 2**32 - 1
    facts = _facts(
        _model(
            "gemma3",
            block_count=most,
            embedding_length=2**31 - 1,
            attention__head_count=0,
            attention__head_count_kv=most,
            attention__sliding_window=most,
            context_length=most,
            vocab_size=most,
        )
    )
    assert (facts.layers, facts.heads, facts.head_size_k) == (most, 0, None)
    assert len(json.dumps(facts.to_json())) < 1000
    assert _facts(_model("gemma3n", block_count=most)).shared_kv_layers == most - 20


@pytest.mark.parametrize(
    "made",
    [
        minimal().put("llama.block_count", F32, 1.0),
        minimal().put("llama.block_count", STRING, "1"),
        minimal().put("llama.block_count", BOOL, 1),
        minimal().put("llama.block_count", U64, 2**64 - 1),
        minimal().put("llama.embedding_length", STRING, ""),
        minimal().put("llama.vocab_size", F32, 1.0),
        minimal().put("llama.attention.causal", U32, 1),
        _model("gemma3", attention__sliding_window=1).put(
            "gemma3.attention.sliding_window_pattern", STRING, "x"
        ),
        minimal().put("llama.attention.sliding_window", U32, 1).put_array("llama.context_length", U32, [1]),
        _model("llama", attention__head_count=[1, 2], block_count=3),
        _model("llama", attention__head_count_kv=[True, False], block_count=2),
        _model("llama", attention__head_count_kv=[1] * 1025),
        _model("llama", feed_forward_length=[1] * 9000),
        _model("gemma3", attention__sliding_window=1, attention__sliding_window_pattern=[True] * 1025),
        _model("gemma3", attention__sliding_window=1, attention__sliding_window_pattern=2**32 - 1),
        _model("qwen3next", full_attention_interval=2**32 - 1, attention__head_count_kv=1),
    ],
    ids=lambda made: made.pairs[-1][0][8:].decode(),
)
def test_wrong_types_are_refused(made: Builder) -> None:
    with pytest.raises(MalformedFile):
        _facts(made)
