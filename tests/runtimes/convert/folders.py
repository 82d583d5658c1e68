"""Folders as Hugging Face has them: small models of every architecture with random weights, made without torch.

Names and shapes are those of Transformers' model classes; tests/compat holds conversions of such models, made
by Transformers itself, against llama.cpp's converter.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HELLO = Path(__file__).parents[3] / "slmctl" / "shipped" / "hello"
TOKENS = 2048  # of hello's tokenizer
HIDDEN, FFN, LAYERS, HEADS, KV_HEADS, HEAD = 64, 96, 2, 4, 2, 16

Array = npt.NDArray[Any]
Shapes = dict[str, tuple[int, ...]]
_DTYPES = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16", np.dtype("<u2"): "BF16", np.dtype("u1"): "U8"}

CONFIG: dict[str, object] = {
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "vocab_size": TOKENS,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}


def brain(values: Array) -> Array:
    """F32 cut to the upper half, which is BF16."""
    return (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2")


def from_brain(values: Array) -> Array:
    return (values.astype("<u4") << 16).view("<f4")


def safetensors(tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> bytes:
    """A file's bytes; 16-bit whole numbers stand for BF16."""
    table: dict[str, object] = {"__metadata__": dict(metadata or {"format": "pt"})}
    position = 0
    for name, values in tensors.items():
        table[name] = {
            "dtype": _DTYPES[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [position, position + values.nbytes],
        }
        position += values.nbytes
    raw = json.dumps(table).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(values.tobytes() for values in tensors.values())


def write_folder(
    folder: Path, config: Mapping[str, object], tensors: Mapping[str, Array], *, shards: int = 1
) -> Path:
    """The folder with hello's tokenizer; with several shards there is an index."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(HELLO / name, folder / name)
    if shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(tensors))
        return folder
    names = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    held: list[dict[str, Array]] = [{} for _ in names]
    for number, (name, values) in enumerate(tensors.items()):
        held[number % shards][name] = values
    for name, part in zip(names, held, strict=True):
        (folder / name).write_bytes(safetensors(part))
    weight_map = {tensor: name for name, part in zip(names, held, strict=True) for tensor in part}
    index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def random_tensors(shapes: Shapes, dtype: str = "BF16", seed: int = 0) -> dict[str, Array]:
    """Norms about 1, other numbers small, as a trained model has them."""
    chance = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for name, shape in shapes.items():
        values = chance.normal(0, 0.05, shape).astype("<f4") + (1.0 if "norm" in name.lower() else 0.0)
        values = values.astype("<f4")
        tensors[name] = {"F32": values, "F16": values.astype("<f2"), "BF16": brain(values)}[dtype]
    return tensors


def decoder_shapes(head: int = HEAD, tokens: int = TOKENS, tied: bool = False) -> Shapes:
    """Llama's tensors, and Mistral's."""
    shapes: Shapes = {"model.embed_tokens.weight": (tokens, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        shapes["lm_head.weight"] = (tokens, HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}input_layernorm.weight": (HIDDEN,),
            f"{at}post_attention_layernorm.weight": (HIDDEN,),
            f"{at}self_attn.q_proj.weight": (HEADS * head, HIDDEN),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * head, HIDDEN),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * head, HIDDEN),
            f"{at}self_attn.o_proj.weight": (HIDDEN, HEADS * head),
            f"{at}mlp.gate_proj.weight": (FFN, HIDDEN),
            f"{at}mlp.up_proj.weight": (FFN, HIDDEN),
            f"{at}mlp.down_proj.weight": (HIDDEN, FFN),
        }
    return shapes


def per_layer(parts: Mapping[str, tuple[int, ...]]) -> Shapes:
    return {f"model.layers.{at}.{name}": shape for at in range(LAYERS) for name, shape in parts.items()}


def llama(folder: Path, dtype: str = "BF16", shards: int = 1, **changes: object) -> Path:
    config = CONFIG | {"architectures": ["LlamaForCausalLM"], "model_type": "llama"} | changes
    shapes = decoder_shapes(tied=config["tie_word_embeddings"] is True)
    return write_folder(folder, config, random_tensors(shapes, dtype), shards=shards)


def qwen2(folder: Path, **changes: object) -> Path:
    config = CONFIG | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"} | changes
    biases = {
        f"self_attn.{part}_proj.bias": (size * HEAD,) for part, size in (("q", HEADS), ("k", 2), ("v", 2))
    }
    return write_folder(folder, config, random_tensors(decoder_shapes() | per_layer(biases)))


def qwen3(folder: Path, **changes: object) -> Path:
    head = 32
    config = (
        CONFIG | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": head} | changes
    )
    norms = {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    return write_folder(folder, config, random_tensors(decoder_shapes(head) | per_layer(norms)))


def phi3(folder: Path, **changes: object) -> Path:
    """Longrope over three quarters of each head, as Phi-4-mini."""
    config = CONFIG | {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "original_max_position_embeddings": 32,
        "sliding_window": None,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {
            "type": "longrope",
            "long_factor": [1.0 + number for number in range(6)],
            "short_factor": [1.0 + number / 10 for number in range(6)],
        },
        **changes,
    }
    parts = {
        "self_attn.qkv_proj.weight": ((HEADS + 2 * KV_HEADS) * HEAD, HIDDEN),
        "mlp.gate_up_proj.weight": (2 * FFN, HIDDEN),
    }
    gone = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    shapes = {
        name: shape
        for name, shape in decoder_shapes().items()
        if not any(f".{part}." in name for part in gone)
    }
    return write_folder(folder, config, random_tensors(shapes | per_layer(parts)))


def gemma3(folder: Path, tokens: int = TOKENS + 64, prefix: str = "", **changes: object) -> Path:
    config = CONFIG | {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "head_dim": HEAD,
        "sliding_window": 32,
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
        "vocab_size": tokens,
        **changes,
    }
    del config["tie_word_embeddings"]
    norms = {
        "self_attn.q_norm.weight": (HEAD,),
        "self_attn.k_norm.weight": (HEAD,),
        "pre_feedforward_layernorm.weight": (HIDDEN,),
        "post_feedforward_layernorm.weight": (HIDDEN,),
    }
    shapes = decoder_shapes(tokens=tokens, tied=True) | per_layer(norms)
    return write_folder(
        folder, config, random_tensors({prefix + name: size for name, size in shapes.items()})
    )


BITNET = {"self_attn.attn_sub_norm.weight": (HIDDEN,), "mlp.ffn_sub_norm.weight": (FFN,)}


def bitnet_config(**changes: object) -> dict[str, object]:
    own: dict[str, object] = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "silu",
        "tie_word_embeddings": True,
    }
    return CONFIG | own | changes


def bitnet(folder: Path, **changes: object) -> Path:
    """As it was trained, not packed."""
    shapes = decoder_shapes(tied=True) | per_layer(BITNET)
    return write_folder(folder, bitnet_config(**changes), random_tensors(shapes, "F32"))


def bert(folder: Path, prefix: str = "", dtype: str = "F32", **changes: object) -> Path:
    """With a tokenizer of its own and mean pooling, as sentence-transformers has it."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(97, 123))]
    words += [f"##{chr(number)}" for number in range(97, 123)]
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 128,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "vocab_size": len(words),
        "pad_token_id": 0,
        **changes,
    }
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (len(words), HIDDEN),
        "embeddings.position_embeddings.weight": (128, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
        "pooler.dense.weight": (HIDDEN, HIDDEN),
        "pooler.dense.bias": (HIDDEN,),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        for part, rows, columns in (
            ("attention.self.query", HIDDEN, HIDDEN),
            ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN),
            ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", FFN, HIDDEN),
            ("output.dense", HIDDEN, FFN),
        ):
            shapes |= {f"{at}{part}.weight": (rows, columns), f"{at}{part}.bias": (rows,)}
        for part in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{part}.weight": (HIDDEN,), f"{at}{part}.bias": (HIDDEN,)}
    tensors = random_tensors({prefix + name: shape for name, shape in shapes.items()}, dtype)
    write_folder(folder, config, tensors)
    (folder / "tokenizer.json").write_text(json.dumps(_word_pieces(words)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (folder / "modules.json").write_text(
        json.dumps([{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}])
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


def _word_pieces(words: list[str]) -> dict[str, object]:
    special = [
        {"id": number, "content": words[number], "special": True, "normalized": False} for number in range(5)
    ]
    return {
        "version": "1.0",
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: number for number, word in enumerate(words)},
        },
    }


MAKERS: dict[str, Callable[[Path], Path]] = {
    "llama": llama,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "phi3": phi3,
    "gemma3": gemma3,
    "bitnet": bitnet,
    "bert": bert,
}
"""One maker for each architecture."""
