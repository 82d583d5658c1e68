"""BERT as embedding models have it: all tokens see each other, positions are learnt, norms come after.

The parts that only predict words or sentences (`pooler`, `cls`) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gguf import MODEL_ARCH

from registry.errors import DoesNotFit
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.architectures.family import Family, Model, Shape
from runtimes.convert.architectures.pooling import pooling_keys
from runtimes.convert.config import ModelConfig
from runtimes.convert.values import Key


class Bert(Family):
    arch = MODEL_ARCH.BERT
    classes = frozenset({"BertModel", "BertForMaskedLM"})
    model_types = frozenset({"bert"})
    context = 512
    activations = frozenset({"gelu"})
    activation = "gelu"
    tied = True
    dropped = ("pooler.", "cls.predictions", "cls.seq_relationship")

    def check(self, model: Model) -> None:
        super().check(model)
        positions = model.config.word("position_embedding_type", "absolute")
        if positions != "absolute" or model.config.flag("is_decoder", False):
            raise DoesNotFit(
                f"The model is a BERT of another kind ({quoted(positions)} positions) than llama.cpp runs.",
                hint="Run it with an engine that runs safetensors.",
            )

    def keys(self, model: Model) -> Iterator[Key]:
        config, name = model.config, self.name
        yield keys.whole(f"{name}.block_count", config.layers)
        yield keys.whole(f"{name}.context_length", config.whole("max_position_embeddings", self.context))
        yield keys.whole(f"{name}.embedding_length", config.hidden)
        yield keys.whole(f"{name}.feed_forward_length", config.whole("intermediate_size"))
        yield keys.whole(f"{name}.attention.head_count", config.heads)
        yield keys.real(f"{name}.attention.layer_norm_epsilon", config.real("layer_norm_eps", 1e-12))
        yield keys.flag(f"{name}.attention.causal", False)
        yield from pooling_keys(name, model.files)

    def stem(self, name: str) -> str | None:
        name = name.removeprefix("bert.")
        if name.endswith(".gamma"):
            name = name.removesuffix("gamma") + "weight"
        elif name.endswith(".beta"):
            name = name.removesuffix("beta") + "bias"
        return None if name == "embeddings.position_ids" else super().stem(name)

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        config = model.config
        hidden, ffn = config.hidden, config.whole("intermediate_size")
        matrices: dict[str, Shape] = {
            "attn_q": (hidden, hidden),
            "attn_k": (hidden, hidden),
            "attn_v": (hidden, hidden),
            "attn_output": (hidden, hidden),
            "attn_output_norm": (hidden,),
            "ffn_up": (ffn, hidden),
            "ffn_down": (hidden, ffn),
            "layer_output_norm": (hidden,),
            "token_embd_norm": (hidden,),
        }
        shapes = {f"{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"{name}.bias": shape[:1] for name, shape in matrices.items()}
        return shapes | {
            "token_embd.weight": (self.vocabulary(model), hidden),
            "position_embd.weight": (config.whole("max_position_embeddings", self.context), hidden),
            "token_types.weight": (config.whole("type_vocab_size", 2), hidden),
        }

    def is_tied(self, config: ModelConfig) -> bool:
        return True
