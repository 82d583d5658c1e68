"""Folders of safetensors as makers publish models: hello's own, and small ones with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

SHIPPED = Path(__file__).parents[1] / "slmctl" / "shipped" / "hello"
HELLO_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def write_hello_folder(folder: Path) -> Path:
    """The model that comes with slmctl, without its GGUF."""
    folder.mkdir(parents=True)
    for name in (*HELLO_FILES, "model.safetensors", "README.md"):
        shutil.copy(SHIPPED / name, folder / name)
    return folder


def write_tiny_folder(folder: Path, *, seed: int = 0, shards: int = 1, hidden: int = 64) -> Path:
    """A Llama of one layer with random weights in F32 and hello's tokenizer: 0.7 MB, the same each time."""
    folder.mkdir(parents=True)
    for name in HELLO_FILES[1:]:
        shutil.copy(SHIPPED / name, folder / name)
    config = json.loads((SHIPPED / "config.json").read_text())
    config |= {
        "hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": 1, "head_dim": 32,
        "num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 32, "dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    chance = np.random.default_rng(seed)
    layer = "model.layers.0"
    shapes = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
        f"{layer}.input_layernorm.weight": (hidden,),
        f"{layer}.post_attention_layernorm.weight": (hidden,),
        **{f"{layer}.self_attn.{each}_proj.weight": (hidden, hidden) for each in "qkvo"},
        f"{layer}.mlp.gate_proj.weight": (2 * hidden, hidden),
        f"{layer}.mlp.up_proj.weight": (2 * hidden, hidden),
        f"{layer}.mlp.down_proj.weight": (hidden, 2 * hidden),
    }
    tensors = {name: chance.standard_normal(shape, np.float32) / 8 for name, shape in shapes.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return folder
    weight_map: dict[str, str] = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in sorted(tensors)[number::shards]}
        save_file(part, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {
        "metadata": {"total_size": sum(each.nbytes for each in tensors.values())},
        "weight_map": weight_map,
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_peft_folder(folder: Path, *, hidden: int = 64, scale: float = 1.0) -> Path:
    """A LoRA adapter of rank 4 for the first layer of a model of these folders, as PEFT saves it."""
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    chance = np.random.default_rng(9)
    tensors = {}
    for name in ("q_proj", "down_proj"):
        module = "self_attn.q_proj" if name == "q_proj" else "mlp.down_proj"
        inputs = hidden if name == "q_proj" else 2 * hidden
        head = f"base_model.model.model.layers.0.{module}"
        tensors[f"{head}.lora_A.weight"] = chance.standard_normal((4, inputs), np.float32) * scale
        tensors[f"{head}.lora_B.weight"] = chance.standard_normal((hidden, 4), np.float32) * scale
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder
