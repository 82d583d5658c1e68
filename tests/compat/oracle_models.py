"""Small models with random weights of every architecture that is converted. Runs in the oracle's environment.

    python -m tests.compat.oracle_models LLAMA_CPP OUT [NAME ...]

writes a folder in Hugging Face's form for each (or for those named) into OUT, made by Transformers from a small
config.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.compat import oracle_tokenizers as made

VOCABULARIES = Path(sys.argv[1] if len(sys.argv) > 1 else "llama.cpp") / "models"
SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def llama2(folder: Path) -> None:
    """SentencePiece, untied, several files, and a bias nowhere."""
    count = made.pieces(folder, 400, add_bos_token=True, add_eos_token=False, add_prefix_space=True)
    shape = {**SMALL, "num_key_value_heads": 4, "vocab_size": count, "max_position_embeddings": 256}
    save(folder, transformers.LlamaConfig(**shape, rope_theta=10000.0), shard="100KB")


def llama3(folder: Path) -> None:
    """Llama 3's tokenizer, rotary frequencies scaled, tied, BF16, a context that was made longer."""
    count = made.real(
        folder,
        VOCABULARIES / "ggml-vocab-llama-bpe.gguf",
        made.CL100K.replace("DIGITS", r"\p{N}{1,3}"),
        ignore_merges=True,
        begin="<|begin_of_text|>",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        chat_template=made.TEMPLATE,
    )
    scaled = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope = {**scaled, "original_max_position_embeddings": 128, "rope_theta": 500000.0}
    shape = {**SMALL, "num_key_value_heads": 2, "vocab_size": count, "max_position_embeddings": 1024}
    config = transformers.LlamaConfig(**shape, rope_parameters=rope, tie_word_embeddings=True)
    config.eos_token_id = [128001, 128009]
    save(folder, config, torch.bfloat16)
    sampling = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1}
    made.write(folder, "generation_config.json", sampling)


def smollm2(folder: Path) -> None:
    """SmolLM2's tokenizer, trained here, with a template in a file of its own and one more."""
    count = made.byte_level(folder, made.digits(), 600, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    (folder / "chat_template.jinja").write_text(made.TEMPLATE, encoding="utf-8")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("tools", encoding="utf-8")
    shape = {**SMALL, "num_key_value_heads": 2, "vocab_size": count + 8, "max_position_embeddings": 512}
    save(folder, transformers.LlamaConfig(**shape, tie_word_embeddings=True), torch.bfloat16)


def mistral(folder: Path) -> None:
    """Heads that are not an even share, F16, added tokens in tokenizer_config.json."""
    added = made.decoder(**{"<unk>": (0, True), "<s>": (1, True), "</s>": (2, True), "[INST]": (400, True)})
    added |= made.decoder(**{"[TOOL]": (401, False), "\u2581\u2581": (402, False)})
    made.pieces(folder, 400, added_tokens_decoder=added, add_bos_token=True, legacy=False)
    shape = {**SMALL, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 403, "sliding_window": None}
    save(
        folder,
        transformers.MistralConfig(**shape, max_position_embeddings=512, rope_theta=1e6),
        torch.float16,
    )


def qwen2(folder: Path) -> None:
    """Qwen2's tokenizer, biases on query, key and value, tied, more rows than tokens."""
    count = made.real(
        folder,
        VOCABULARIES / "ggml-vocab-qwen2.gguf",
        made.CL100K.replace("DIGITS", r"\p{N}"),
        ignore_merges=False,
        bos_token=None,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        add_bos_token=False,
        chat_template=[{"name": "default", "template": made.TEMPLATE}, {"name": "tool-use", "template": "x"}],
    )
    shape = {**SMALL, "num_key_value_heads": 2, "vocab_size": count + 64, "max_position_embeddings": 512}
    save(folder, transformers.Qwen2Config(**shape, tie_word_embeddings=True, rope_theta=1e6), torch.bfloat16)


def qwen2_yarn(folder: Path) -> None:
    """A context made longer by YaRN, untied, F32."""
    count = qwen_like(folder)
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "rope_theta": 1e6}
    shape = {**SMALL, "num_key_value_heads": 2, "vocab_size": count, "max_position_embeddings": 512}
    save(folder, transformers.Qwen2Config(**shape, rope_parameters=rope))


def qwen3(folder: Path) -> None:
    """Norms on query and key, heads that are not an even share, untied, several files."""
    shape = {**SMALL, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": qwen_like(folder)}
    config = transformers.Qwen3Config(**shape, max_position_embeddings=512, rope_theta=1e6)
    save(folder, config, torch.bfloat16, shard="60KB")


def phi3(folder: Path) -> None:
    """Phi-3-mini-4k: query, key and value in one, gate and up in one, SentencePiece, a window."""
    phi_pieces(folder)
    shape = {**SMALL, "num_key_value_heads": 4, "vocab_size": 416, "sliding_window": 128}
    config = transformers.Phi3Config(**shape, **PHI_SPECIAL, max_position_embeddings=256)
    save(folder, config, torch.bfloat16)


def phi3_long(folder: Path) -> None:
    """Phi-3-mini-128k: long and short factors."""
    phi_pieces(folder)
    save(folder, phi_config(vocab_size=416, factors=8, **PHI_SPECIAL), torch.bfloat16)


def phi4_mini(folder: Path) -> None:
    """Part of each head is rotated, tied, o200k's tokenizer."""
    special = ["<|endoftext|>", "<|user|>", "<|end|>"]
    count = made.byte_level(folder, made.splitting(made.O200K), 600, special, tokenizer_class="GPT2Tokenizer")
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    config = phi_config(vocab_size=count, factors=6, partial_rotary_factor=0.75, num_key_value_heads=2, **ids)
    config.tie_word_embeddings = True
    save(folder, config, torch.bfloat16)


def gemma3(folder: Path) -> None:
    """One added to norms, some layers with a window, no blank in front, fewer tokens than rows."""
    own = ("<start_of_turn>", "<end_of_turn>", "\u2581\u2581", "\n\n")
    roles = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    names = {"<pad>": (0, True), "<eos>": (1, True), "<bos>": (2, True), "<start_of_turn>": (4, False)}
    added = made.decoder(
        **names, **{"<end_of_turn>": (5, True), "\u2581\u2581": (6, False), "<unused0>": (400, False)}
    )
    made.pieces(folder, 400, gemma=own, added_tokens_decoder=added, add_bos_token=True, **roles)
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    shape = {**SMALL, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 408}
    config = transformers.Gemma3TextConfig(
        **shape, layer_types=kinds, sliding_window=64, max_position_embeddings=512, query_pre_attn_scalar=32
    )
    save(folder, config, torch.bfloat16)


def bitnet(folder: Path) -> None:
    """Weights as they were trained, to be rounded to three values."""
    made.pieces(folder, 400, add_bos_token=True)
    shape = {
        **SMALL,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_key_value_heads": 2,
        "vocab_size": 400,
    }
    config = transformers.BitNetConfig(
        **shape, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2
    )
    save(folder, config, torch.bfloat16)
    older_names(folder)


def bert(folder: Path) -> None:
    """all-MiniLM's shape, one layer of it, with the pooling that sentence-transformers adds."""
    count = made.bert(folder, VOCABULARIES / "ggml-vocab-bert-bge.gguf")
    config = transformers.BertConfig(
        hidden_size=96, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=count
    )
    save(folder, config)
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])
    ]
    made.write(folder, "modules.json", modules)
    (folder / "1_Pooling").mkdir()
    made.write(
        folder / "1_Pooling",
        "config.json",
        {"word_embedding_dimension": 96, "pooling_mode_mean_tokens": True},
    )


PHI_SPECIAL = {"bos_token_id": 1, "eos_token_id": 400, "pad_token_id": 400}


def phi_pieces(folder: Path) -> None:
    names = {"<|endoftext|>": (400, True), "<|assistant|>": (401, True), "<|placeholder1|>": (402, True)}
    common = {"<unk>": (0, True), "<s>": (1, True), "</s>": (2, False)}
    added = made.decoder(**common, **names)
    made.pieces(
        folder, 400, added_tokens_decoder=added, tokenizer_class="LlamaTokenizer", add_bos_token=False
    )


def phi_config(*, factors: int, **settings: Any) -> transformers.PretrainedConfig:
    """With long and short factors for so many pairs of numbers."""
    share = settings.pop("partial_rotary_factor", 1.0)
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": share,
        "short_factor": [1.0 + at / 16 for at in range(factors)],
        "long_factor": [1.5 + at for at in range(factors)],
        "original_max_position_embeddings": 64,
    }
    shape = {**SMALL, "num_key_value_heads": 4, "max_position_embeddings": 512, **settings}
    return transformers.Phi3Config(**shape, rope_parameters=rope, original_max_position_embeddings=64)


def qwen_like(folder: Path) -> int:
    """A tokenizer that cuts as Qwen2's does."""
    cut = made.splitting(made.CL100K.replace("DIGITS", r"\p{N}"))
    return made.byte_level(
        folder, cut, 600, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], add_bos_token=False
    )


def save(
    folder: Path,
    config: transformers.PretrainedConfig,
    dtype: torch.dtype = torch.float32,
    shard: str = "1GB",
) -> None:
    """A model of the config with weights that are all random, norms and biases too."""
    of_text = isinstance(config, transformers.BertConfig)
    auto = transformers.AutoModel if of_text else transformers.AutoModelForCausalLM
    model = auto.from_config(config).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.save_pretrained(folder, max_shard_size=shard)


def adapters(folder: Path) -> None:
    """PEFT's adapters of two of the models, beside them: with every matrix of the layers, and with another rank
    and the heads of Llama, whose rows are put into another order."""
    every = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    for name, modules, rank in (("llama2", every, 4), ("qwen3", ["q_proj", "v_proj", "down_proj"], 8)):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        config = peft.LoraConfig(r=rank, lora_alpha=12, target_modules=modules, task_type="CAUSAL_LM")
        adapted = peft.get_peft_model(model, config)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
        adapted.save_pretrained(folder / f"{name}-lora")


def older_names(folder: Path) -> None:
    """The norms by the names that the converter knows."""
    path = folder / "model.safetensors"
    names = (".attn_sub_norm.", ".inner_attn_ln."), (".ffn_sub_norm.", ".ffn_layernorm.")
    tensors = load_file(path)
    for theirs, older in names:
        tensors = {name.replace(theirs, older): tensor for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})


MODELS: Mapping[str, Callable[[Path], None]] = {
    maker.__name__: maker
    for maker in (
        llama2, llama3, smollm2, mistral, qwen2, qwen2_yarn, qwen3, phi3, phi3_long, phi4_mini, gemma3, bitnet,
        bert,
    )
}  # fmt: skip


def main() -> None:
    for name in sys.argv[3:] or MODELS:
        folder = Path(sys.argv[2]) / name
        folder.mkdir(parents=True)
        MODELS[name](folder)
    if len(sys.argv) == 3:
        adapters(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
