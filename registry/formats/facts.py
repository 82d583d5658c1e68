"""What a planner must know about a model: the value behind the schema `slmctl.facts/1`.

The schema, docs/schemas/facts-1.json, is frozen: it describes every field, and manifests carry it. Facts
are made from a file's header by the reader of its format (`registry.formats.gguf_facts` for GGUF).

A pattern says which layers have a property and repeats: layer `i` has it where `pattern[i % len(pattern)]`.
So one entry speaks for all layers, six for Gemma 3's five windowed layers and a full one, and a full list
for a model that says it layer by layer; no layer count from a hostile file is ever expanded. An unknown is
None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from registry.errors import MalformedFile
from registry.formats.facts_json import Fields

SCHEMA = "slmctl.facts/1"

Pattern: TypeAlias = tuple[bool, ...]
PerLayer: TypeAlias = int | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """All tensors of one class and type: how many, and their elements and bytes together.

    `tensor_class` is a GGUF tensor name without its layer and suffix (`attn_q`, `ffn_down`,
    `ffn_down_exps`, `output`), or `norm`, `bias`, `vision`, `audio`, `projector`, `other`. `columns` is the
    row length in elements that block sizes must divide, None where the tensors differ in it.
    """

    tensor_class: str
    type: str
    count: int
    columns: int | None
    elements: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sliding-window attention: `size` in tokens, and which layers have it (None: unknown, plan as if none).

    The head sizes are those of windowed layers where they differ from the others'.
    """

    size: int
    layers: Pattern | None
    head_size_k: int | None
    head_size_v: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention: the cache holds K rows only, `ModelFacts.head_size_k` wide, and no V.

    `rank` is the latent's own part of that width; the head sizes are those of the expanded heads.
    """

    rank: int | None
    head_size_k: int
    head_size_v: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent:
    """Sizes of the state that layers keep instead of, or beside, a KV cache: fixed for each sequence.

    Mamba-like layers use the first five; RWKV `wkv_head_size` and `token_shift`; short convolutions (LFM2)
    `conv_cache`; Kimi Delta Attention `kda_head_size`. Which layers are recurrent is None where unknown.
    """

    layers: Pattern | None
    conv_kernel: int | None
    inner_size: int | None
    state_size: int | None
    time_step_rank: int | None
    group_count: int | None
    wkv_head_size: int | None
    token_shift: int | None
    conv_cache: int | None
    kda_head_size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Mixture of experts: `count` per layer, `used` per token, `shared` always; and their widths."""

    count: int
    used: int | None
    shared: int | None
    feed_forward: int | None
    shared_feed_forward: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The facts of one variant. Sizes are element counts; the field descriptions stand in the JSON schema."""

    format: str
    architecture: str
    quantization: str | None = None
    parameters: int | None = None
    layers: int | None = None
    decoder_layers: int | None = None
    nextn_layers: int | None = None
    hidden: int | None = None
    feed_forward: PerLayer | None = None
    heads: PerLayer | None = None
    kv_heads: PerLayer | None = None
    head_size_k: int | None = None
    head_size_v: int | None = None
    vocabulary: int | None = None
    trained_context: int | None = None
    tied_embeddings: bool | None = None
    causal: bool | None = None
    pooling: int | None = None
    kv_layers: Pattern | None = None
    shared_kv_layers: int | None = None
    window: Window | None = None
    latent: LatentAttention | None = None
    recurrent: Recurrent | None = None
    experts: Experts | None = None
    tensors: tuple[TensorRow, ...] = ()

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors together, without the header and padding."""
        return sum(row.bytes for row in self.tensors)

    def to_json(self) -> dict[str, object]:
        """The document, every field present, keys and rows in a fixed order: equal facts give equal JSON."""
        document: dict[str, object] = {"schema": SCHEMA}
        document |= {name: _plain(getattr(self, name)) for name in self.__slots__ if name != "tensors"}
        document["tensors"] = [_row_to_json(row) for row in self.tensors]
        return document

    @classmethod
    def from_json(cls, document: object) -> ModelFacts:
        """Read a parsed document; a missing, unknown or mistyped field raises MalformedFile, naming it."""
        fields = Fields(document, "facts", ("schema", *cls.__slots__))
        if fields.text("schema") != SCHEMA:
            raise MalformedFile(f"These facts are not of the schema {SCHEMA}.")
        return cls(
            format=fields.label("format"),
            architecture=fields.label("architecture"),
            quantization=fields.label_or_none("quantization"),
            parameters=fields.count_or_none("parameters"),
            layers=fields.count_or_none("layers"),
            decoder_layers=fields.count_or_none("decoder_layers"),
            nextn_layers=fields.count_or_none("nextn_layers"),
            hidden=fields.count_or_none("hidden"),
            feed_forward=fields.per_layer_or_none("feed_forward"),
            heads=fields.per_layer_or_none("heads"),
            kv_heads=fields.per_layer_or_none("kv_heads"),
            head_size_k=fields.count_or_none("head_size_k"),
            head_size_v=fields.count_or_none("head_size_v"),
            vocabulary=fields.count_or_none("vocabulary"),
            trained_context=fields.count_or_none("trained_context"),
            tied_embeddings=fields.flag_or_none("tied_embeddings"),
            causal=fields.flag_or_none("causal"),
            pooling=fields.count_or_none("pooling"),
            kv_layers=fields.pattern_or_none("kv_layers"),
            shared_kv_layers=fields.count_or_none("shared_kv_layers"),
            window=_window(fields.child_or_none("window", Window.__slots__)),
            latent=_latent(fields.child_or_none("latent", LatentAttention.__slots__)),
            recurrent=_recurrent(fields.child_or_none("recurrent", Recurrent.__slots__)),
            experts=_experts(fields.child_or_none("experts", Experts.__slots__)),
            tensors=tuple(map(_row, fields.children("tensors", _ROW_KEYS))),
        )


_ROW_KEYS = ("class", "type", "count", "columns", "elements", "bytes")


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Window | LatentAttention | Recurrent | Experts):
        return {name: _plain(getattr(value, name)) for name in value.__slots__}
    return value


def _row_to_json(row: TensorRow) -> Mapping[str, object]:
    values = (row.tensor_class, row.type, row.count, row.columns, row.elements, row.bytes)
    return dict(zip(_ROW_KEYS, values, strict=True))


def _row(fields: Fields) -> TensorRow:
    return TensorRow(
        tensor_class=fields.label("class"),
        type=fields.label("type"),
        count=fields.count("count"),
        columns=fields.count_or_none("columns"),
        elements=fields.count("elements"),
        bytes=fields.count("bytes"),
    )


def _window(fields: Fields | None) -> Window | None:
    if fields is None:
        return None
    return Window(
        size=fields.count("size"),
        layers=fields.pattern_or_none("layers"),
        head_size_k=fields.count_or_none("head_size_k"),
        head_size_v=fields.count_or_none("head_size_v"),
    )


def _latent(fields: Fields | None) -> LatentAttention | None:
    if fields is None:
        return None
    return LatentAttention(
        rank=fields.count_or_none("rank"),
        head_size_k=fields.count("head_size_k"),
        head_size_v=fields.count("head_size_v"),
    )


def _recurrent(fields: Fields | None) -> Recurrent | None:
    if fields is None:
        return None
    sizes = {name: fields.count_or_none(name) for name in Recurrent.__slots__ if name != "layers"}
    return Recurrent(layers=fields.pattern_or_none("layers"), **sizes)


def _experts(fields: Fields | None) -> Experts | None:
    if fields is None:
        return None
    return Experts(
        count=fields.count("count"),
        used=fields.count_or_none("used"),
        shared=fields.count_or_none("shared"),
        feed_forward=fields.count_or_none("feed_forward"),
        shared_feed_forward=fields.count_or_none("shared_feed_forward"),
    )
