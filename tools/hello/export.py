"""hello's Hugging Face folder as GGUF.

    python -m tools.hello.export HF_FOLDER OUT.gguf [--type F16|Q8_0]

llama.cpp keeps the rows of a Llama's query and key matrices in another order than Transformers: pairs of the
rotary embedding lie beside each other there and half a head apart here (LlamaModel.permute in its converter).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Array = npt.NDArray[np.float16]

_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(rows: Array, heads: int) -> Array:
    """Rows in llama.cpp's order from Transformers' (heads x 2 x half, columns)."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def export(folder: Path, target: Path, kind: str = "F16") -> None:
    """Write the folder's model as GGUF, its matrices in F16 or Q8_0; the same folder gives the same bytes."""
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("hello")
    writer.add_license("apache-2.0")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)

    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda item: item[1])
    special = {token["id"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([text for text, _ in vocabulary])
    writer.add_token_types(
        [gguf.TokenType.CONTROL if number in special else gguf.TokenType.NORMAL for _, number in vocabulary]
    )
    writer.add_token_merges(
        [" ".join(merge) if isinstance(merge, list) else merge for merge in tokenizer["model"]["merges"]]
    )
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer_config["chat_template"])

    tensors = load_file(folder / "model.safetensors")
    _add(writer, "token_embd.weight", tensors["model.embed_tokens.weight"], kind)
    for layer in range(config["num_hidden_layers"]):
        for theirs, ours in _NAMES.items():
            value = tensors[f"model.layers.{layer}.{theirs}.weight"]
            if ours == "attn_q":
                value = interleaved(value, heads)
            elif ours == "attn_k":
                value = interleaved(value, kv_heads)
            _add(writer, f"blk.{layer}.{ours}.weight", value, kind)
    _add(writer, "output_norm.weight", tensors["model.norm.weight"], kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: gguf.GGUFWriter, name: str, value: Array, kind: str) -> None:
    """A tensor: vectors stay F32, as llama.cpp wants them."""
    if value.ndim == 1:
        writer.add_tensor(name, value.astype(np.float32))
        return
    tensor_type = gguf.GGMLQuantizationType[kind]
    writer.add_tensor(
        name, gguf.quants.quantize(value.astype(np.float32), tensor_type), raw_dtype=tensor_type
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Write hello's Hugging Face folder as GGUF.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--type", choices=["F16", "Q8_0"], default="F16")
    given = parser.parse_args()
    export(given.folder, given.target, given.type)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
