"""What models of an architecture become in GGUF: its keys, the names of its tensors, what is done to them.

Sources: GGUF's keys and tensor names (gguf-py's constants.py and tensor_mapping.py), what llama.cpp reads for
each architecture (src/llama-model.cpp), the configuration and model classes of Transformers, and what
llama.cpp's convert_hf_to_gguf.py makes of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, RopeScalingType, get_tensor_name_map

from registry.errors import DoesNotFit, MalformedFile
from registry.formats.quote import quoted
from runtimes.convert import keys
from runtimes.convert.config import ModelConfig, Rope
from runtimes.convert.files import SourceFiles
from runtimes.convert.rows import Rows
from runtimes.convert.source import Source, SourceTensor
from runtimes.convert.values import Key

_LAYER = re.compile(r"blk\.([0-9]+)\.(.+)")
_NEVER = (".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias")  # worked out, not learnt
_OTHER_ENGINE = "Run it with an engine that runs safetensors."
_HINT = "Download the model again from where its makers publish it."
WINDOW_NOTE = "Each token of the model sees {} before it; llama.cpp shows it all."
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is converted: `vocabulary` is the number of tokens that the tokenizer has."""

    files: SourceFiles
    config: ModelConfig
    source: Source
    vocabulary: int


class Family:
    """An architecture of models that read tokens and attend to those before them.

    A subclass says what differs. `classes` are Transformers' names in `architectures`, `model_types` those
    in `model_type`; `taken_in` says that Transformers took in the class that the makers published as code of
    their own, and that config.json files still name it (`auto_map`).
    """

    arch: ClassVar[MODEL_ARCH]
    classes: ClassVar[frozenset[str]]
    model_types: ClassVar[frozenset[str]]
    taken_in: ClassVar[bool] = False
    rope_base: ClassVar[float] = 10_000.0
    rotates_partly: ClassVar[bool] = False
    says_head_size: ClassVar[bool] = False
    tied: ClassVar[bool] = False
    context: ClassVar[int | None] = None
    norm_epsilon: ClassVar[float | None] = 1e-6
    activations: ClassVar[frozenset[str]] = frozenset({"silu", "swish"})
    activation: ClassVar[str] = "silu"
    dropped: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """`general.architecture`."""
        return MODEL_ARCH_NAMES[self.arch]

    def reads_quantized(self, config: ModelConfig) -> bool:
        """Whether weights that are quantized as the config says can be read."""
        return False

    def check(self, model: Model) -> None:
        """Raise DoesNotFit for a model that has what this architecture in llama.cpp does not."""
        config = model.config
        used = config.word("hidden_act") or config.word("hidden_activation") or self.activation
        theirs = f"llama.cpp's {self.name} models"
        if used not in self.activations:
            raise DoesNotFit(
                f"The model's feed-forward layers use {quoted(used)}, those of {theirs} {self.activation}.",
                hint=_OTHER_ENGINE,
            )

        share = config.rope(self.rope_base).settings.real("partial_rotary_factor", 1.0)
        if share != 1.0 and not self.rotates_partly:
            raise DoesNotFit(
                f"The model rotates {share:g} of each head, {theirs} rotate all of it.", hint=_OTHER_ENGINE
            )

    def notes(self, model: Model) -> Iterator[str]:
        """What is to be said to whoever converts it, in sentences."""
        yield from ()

    def keys(self, model: Model) -> Iterator[Key]:
        """The keys of this architecture. Raises MalformedFile for a config that lacks what they say."""
        config, name = model.config, self.name
        yield keys.whole(f"{name}.block_count", config.layers)
        yield keys.whole(f"{name}.context_length", config.whole("max_position_embeddings", self.context))
        yield keys.whole(f"{name}.embedding_length", config.hidden)
        yield keys.whole(f"{name}.feed_forward_length", config.whole("intermediate_size"))
        yield keys.whole(f"{name}.attention.head_count", self.heads(config))
        yield keys.whole(f"{name}.attention.head_count_kv", self.kv_heads(config))
        yield keys.real(
            f"{name}.attention.layer_norm_rms_epsilon", config.real("rms_norm_eps", self.norm_epsilon)
        )
        if self.says_head_size or config.fields.get("head_dim") is not None:
            yield keys.whole(f"{name}.attention.key_length", self.head_size(config))
            yield keys.whole(f"{name}.attention.value_length", self.head_size(config))
        yield from self.rope_keys(config.rope(self.rope_base))

    def rope_keys(self, rope: Rope) -> Iterator[Key]:
        """The keys about positions. Raises DoesNotFit for a scaling that llama.cpp has not."""
        prefix = f"{self.name}.rope"
        settings = rope.settings
        if rope.kind in ("linear", "yarn"):
            kind = RopeScalingType.LINEAR if rope.kind == "linear" else RopeScalingType.YARN
            yield keys.text(f"{prefix}.scaling.type", kind.value)
            yield keys.real(f"{prefix}.scaling.factor", settings.real("factor"))
            if rope.kind == "yarn":
                original = settings.whole("original_max_position_embeddings")
                yield keys.whole(f"{prefix}.scaling.original_context_length", original)
                yield from _yarn(prefix, rope)
        elif rope.kind not in ("default", "llama3"):
            raise DoesNotFit(
                f"The model scales its positions by {quoted(rope.kind)}, which llama.cpp does not do.",
                hint=_OTHER_ENGINE,
            )
        yield keys.real(f"{prefix}.freq_base", rope.base)

    def heads(self, config: ModelConfig) -> int:
        return config.heads

    def kv_heads(self, config: ModelConfig) -> int:
        return config.kv_heads

    def head_size(self, config: ModelConfig) -> int:
        return config.head_size

    def tensors(self, model: Model) -> Iterator[tuple[str, Rows]]:
        """GGUF names and numbers, those that were worked out first, then as the source has them.

        Raises MalformedFile for a tensor that this architecture has not, for one that is missing and for one
        of another shape than the config says.
        """
        yield from self.generated(model)
        names = get_tensor_name_map(self.arch, model.config.layers)
        found: set[str] = set()
        for theirs, tensor in model.source.tensors.items():
            stem = self.stem(theirs)
            if stem is None or self._is_dropped(model, stem):
                continue
            ours = names.get_name(stem, try_suffixes=(".weight", ".bias"))
            if ours is None:
                raise MalformedFile(
                    f"A {self.name} model has no tensor {quoted(theirs)}.",
                    hint="The model is another than its config.json says.",
                )
            if ours in found:
                raise MalformedFile(f"Two tensors are {ours}, one of them {quoted(theirs)}.", hint=_HINT)
            found.add(ours)
            rows = self.rows(model, ours, tensor)
            self._check_shape(model, ours, theirs, rows)
            yield ours, rows
        self._check_all_there(model, found)

    def generated(self, model: Model) -> Iterator[tuple[str, Rows]]:
        """Tensors that no weight file has."""
        yield from ()

    def stem(self, name: str) -> str | None:
        """The name by which GGUF's table knows a tensor of the source; None for one that is not needed."""
        return None if name.endswith(_NEVER) else name

    def rows(self, model: Model, name: str, tensor: SourceTensor) -> Rows:
        """What becomes of a tensor, by its name in GGUF."""
        return self.ordered(model, name, tensor.rows())

    def ordered(self, model: Model, name: str, rows: Rows) -> Rows:
        """A tensor's rows in llama.cpp's order, and those that an adapter adds to them."""
        return rows

    def shapes(self, model: Model) -> Mapping[str, Shape]:
        """What a model must have, by name without the layer (`attn_q.weight`), as GGUF will have it."""
        config = model.config
        hidden, ffn = config.hidden, config.whole("intermediate_size")
        query = self.heads(config) * self.head_size(config)
        key = self.kv_heads(config) * self.head_size(config)
        shapes: dict[str, Shape] = {
            "token_embd.weight": (self.vocabulary(model), hidden),
            "output_norm.weight": (hidden,),
            "attn_norm.weight": (hidden,),
            "attn_q.weight": (query, hidden),
            "attn_k.weight": (key, hidden),
            "attn_v.weight": (key, hidden),
            "attn_output.weight": (hidden, query),
            "ffn_norm.weight": (hidden,),
            "ffn_gate.weight": (ffn, hidden),
            "ffn_up.weight": (ffn, hidden),
            "ffn_down.weight": (hidden, ffn),
        }
        if not self.is_tied(config):
            shapes["output.weight"] = (self.vocabulary(model), hidden)
        return shapes

    def vocabulary(self, model: Model) -> int:
        """The rows of the embedding."""
        return model.config.whole("vocab_size")

    def is_tied(self, config: ModelConfig) -> bool:
        """Whether the embedding is the output matrix too."""
        return config.flag("tie_word_embeddings", self.tied)

    def _is_dropped(self, model: Model, stem: str) -> bool:
        return stem.startswith(self.dropped) or (stem == "lm_head.weight" and self.is_tied(model.config))

    def expected(self, model: Model, name: str) -> Shape | None:
        """The shape that a tensor must have, by its name in GGUF; None where any will do."""
        match = _LAYER.fullmatch(name)
        shapes, part = self.shapes(model), match[2] if match else name
        if part not in shapes and part.endswith(".bias"):  # one number for each row of the matrix
            matrix = shapes.get(f"{part.removesuffix('bias')}weight")
            return matrix[:1] if matrix is not None else None
        return shapes.get(part)

    def _check_shape(self, model: Model, ours: str, theirs: str, rows: Rows) -> None:
        expected = self.expected(model, ours)
        if expected is not None and rows.shape != expected:
            raise MalformedFile(
                f"The tensor {quoted(theirs)} has the shape {list(rows.shape)}, by the config.json it has "
                f"{list(expected)}.",
                hint=_HINT,
            )

    def _check_all_there(self, model: Model, found: set[str]) -> None:
        once = ("token_embd", "token_types", "position_embd", "output")
        for name in self.shapes(model):
            outside = name.startswith(once)
            wanted = [name] if outside else [f"blk.{at}.{name}" for at in range(model.config.layers)]
            for each in wanted:
                if each not in found:
                    raise MalformedFile(f"The weights lack the tensor {each}.", hint=_HINT)


def _yarn(prefix: str, rope: Rope) -> Iterator[Key]:
    settings = rope.settings
    attention = settings.real_or_none("attention_factor")
    if attention is None:
        attention = settings.real_or_none("attn_factor")
    for name, value in (
        ("yarn_ext_factor", settings.real_or_none("extrapolation_factor")),
        ("yarn_attn_factor", attention),
        ("yarn_beta_fast", settings.real_or_none("beta_fast")),
        ("yarn_beta_slow", settings.real_or_none("beta_slow")),
    ):
        if value is not None:
            yield keys.real(f"{prefix}.scaling.{name}", value)
