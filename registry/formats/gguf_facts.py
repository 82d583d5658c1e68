"""Facts from GGUF headers: which keys and tensors say what.

Sources: the key names of the GGUF specification (ggml/docs/gguf.md) and of llama.cpp (src/llama-arch.cpp),
and what llama.cpp makes of them when it sizes its caches (src/llama-model.cpp, src/llama-hparams.cpp): an
absent `head_count_kv` means `head_count`, an absent `key_length` hidden / heads, and some architectures
have fixed patterns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from registry.errors import MalformedFile
from registry.formats.facts import (
    Experts,
    LatentAttention,
    ModelFacts,
    Pattern,
    PerLayer,
    Recurrent,
    Window,
)
from registry.formats.ggml_types import fallback_type, file_type
from registry.formats.gguf import ArraySummary, GgufHeader, TensorInfo
from registry.formats.gguf_keys import ModelKeys
from registry.formats.shards import check_shards
from registry.formats.tensor_classes import tensor_rows

# Which layer of each period sees everything when the file does not say so; True: the first, False: the last.
_WINDOW_PERIODS: Mapping[str, tuple[int, bool]] = MappingProxyType(
    {
        "afmoe": (4, False),
        "cohere2": (4, False),
        "exaone4": (4, False),
        "gemma-embedding": (6, False),
        "gemma2": (2, False),
        "gemma3": (6, False),
        "gemma3n": (5, False),
        "gpt-oss": (2, False),
        "llama4": (4, False),
        "modern-bert": (3, True),
        "olmo2": (4, False),
        "plamo3": (8, False),
        "smallthinker": (4, True),
    }
)
_WINDOW_SIZES: Mapping[str, int] = MappingProxyType({"gemma2": 4096, "llama4": 8192})
_ALL_RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_RECURRENT_BESIDE_ATTENTION = frozenset({"falcon-h1"})
_LAYERS_OF_ONE_KIND = frozenset({"nemotron_h", "nemotron_h_moe"})  # attention, or recurrence, or feed-forward
_ATTENTION_INTERVALS: Mapping[str, int] = MappingProxyType({"qwen3next": 4, "qwen35": 4, "qwen35moe": 4})
_GEMMA3N_OWN_KV_LAYERS = 20
_WITHOUT_CACHE = frozenset(
    {
        "bert",
        "dream",
        "eurobert",
        "gemma-embedding",
        "jina-bert-v2",
        "jina-bert-v3",
        "llada",
        "llada-moe",
        "modern-bert",
        "neo-bert",
        "nomic-bert",
        "nomic-bert-moe",
        "rnd1",
        "t5encoder",
        "wavtokenizer-dec",
    }
)
_ENOUGH_FOR_A_LABEL = 10  # a label's own type must hold at least one in so many weights


def facts_from_gguf(headers: Sequence[GgufHeader]) -> ModelFacts:
    """The facts of the model in `headers`: one file, or all parts of a sharded set in order.

    Raises MalformedFile for a key of the wrong type, an array whose length is not the layer count, and a
    set of parts that is not whole. The work and the result are bounded whatever the numbers are: a layer
    count of 0xFFFFFFFF is passed on as it stands, since it is the engine and the planner that it concerns.
    """
    check_shards(headers)
    first = headers[0]
    architecture = first.architecture
    if architecture is None:
        raise MalformedFile("The first header has no general.architecture.")
    keys = ModelKeys(first.metadata, architecture)
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    layers = keys.number("block_count")
    hidden = keys.number("embedding_length")
    heads = keys.per_layer("attention.head_count", layers)
    kv_heads = keys.per_layer("attention.head_count_kv", layers)
    if kv_heads is None:
        kv_heads = heads
    kv_layers = _kv_layers(keys, kv_heads)
    feed_forward = keys.per_layer("feed_forward_length", layers)
    return ModelFacts(
        format="gguf",
        architecture=architecture,
        quantization=_quantization(first, tensors),
        parameters=sum(tensor.elements for tensor in tensors) or None,
        layers=layers,
        decoder_layers=keys.number("decoder_block_count"),
        nextn_layers=keys.number("nextn_predict_layers"),
        hidden=hidden,
        feed_forward=feed_forward,
        heads=heads,
        kv_heads=kv_heads,
        head_size_k=_head_size(keys, "attention.key_length", hidden, heads),
        head_size_v=_head_size(keys, "attention.value_length", hidden, heads),
        vocabulary=_vocabulary(keys, first),
        trained_context=keys.number("context_length"),
        tied_embeddings=_tied(tensors),
        causal=keys.flag("attention.causal"),
        pooling=keys.number("pooling_type"),
        kv_layers=kv_layers,
        shared_kv_layers=_shared_kv_layers(keys, layers),
        window=_window(keys),
        latent=_latent(keys),
        recurrent=_recurrent(keys, kv_layers, feed_forward),
        experts=_experts(keys),
        tensors=tensor_rows(tensors),
    )


def _head_size(keys: ModelKeys, name: str, hidden: int | None, heads: PerLayer | None) -> int | None:
    given = keys.number(name)
    if given is not None:
        return given
    first = heads[0] if isinstance(heads, tuple) else heads
    return hidden // first if hidden and first else None


def _vocabulary(keys: ModelKeys, header: GgufHeader) -> int | None:
    given = keys.number("vocab_size")
    if given is not None:
        return given
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, ArraySummary):
        return tokens.count
    return len(tokens) if isinstance(tokens, tuple) else None


def _tied(tensors: Iterable[TensorInfo]) -> bool | None:
    names = {tensor.name for tensor in tensors}
    return None if "token_embd.weight" not in names else "output.weight" not in names


def _kv_layers(keys: ModelKeys, kv_heads: PerLayer | None) -> Pattern | None:
    if keys.architecture in _ALL_RECURRENT or keys.architecture in _WITHOUT_CACHE:
        return (False,)
    if isinstance(kv_heads, tuple):
        return tuple(count > 0 for count in kv_heads) if 0 in kv_heads else (True,)
    if recurrent := keys.flags("attention.recurrent_layers"):
        return tuple(not flag for flag in recurrent)
    interval = keys.period("full_attention_interval") or _ATTENTION_INTERVALS.get(keys.architecture)
    if interval is not None:
        return (False,) * (interval - 1) + (True,)
    return None if kv_heads is None else (kv_heads > 0,)


def _shared_kv_layers(keys: ModelKeys, layers: int | None) -> int | None:
    given = keys.number("attention.shared_kv_layers")
    if given is None and keys.architecture == "gemma3n" and layers is not None:
        return max(0, layers - _GEMMA3N_OWN_KV_LAYERS)
    return given


def _window(keys: ModelKeys) -> Window | None:
    size = keys.number("attention.sliding_window")
    if size is None:
        size = _WINDOW_SIZES.get(keys.architecture)
    if not size:
        return None
    return Window(
        size=size,
        layers=_window_layers(keys),
        head_size_k=keys.number("attention.key_length_swa"),
        head_size_v=keys.number("attention.value_length_swa"),
    )


def _window_layers(keys: ModelKeys) -> Pattern | None:
    name = "attention.sliding_window_pattern"
    if keys.is_array(name):
        return keys.flags(name)
    period, full_first = _WINDOW_PERIODS.get(keys.architecture, (None, False))
    given = keys.period(name)
    if given is not None:
        period = given
    if period is None:
        return None
    if period == 0:
        return (True,)
    windowed = (True,) * (period - 1)
    return (False, *windowed) if full_first else (*windowed, False)


def _latent(keys: ModelKeys) -> LatentAttention | None:
    head_size_k = keys.number("attention.key_length_mla")
    head_size_v = keys.number("attention.value_length_mla")
    if not head_size_k or not head_size_v:
        return None
    return LatentAttention(
        rank=keys.number("attention.kv_lora_rank"), head_size_k=head_size_k, head_size_v=head_size_v
    )


def _recurrent(keys: ModelKeys, kv_layers: Pattern | None, feed_forward: PerLayer | None) -> Recurrent | None:
    sizes = {
        "conv_kernel": keys.number("ssm.conv_kernel"),
        "inner_size": keys.number("ssm.inner_size"),
        "state_size": keys.number("ssm.state_size"),
        "time_step_rank": keys.number("ssm.time_step_rank"),
        "group_count": keys.number("ssm.group_count"),
        "wkv_head_size": keys.number("wkv.head_size"),
        "token_shift": keys.number("token_shift_count"),
        "conv_cache": keys.number("shortconv.l_cache"),
        "kda_head_size": keys.number("kda.head_dim"),
    }
    if all(size is None for size in sizes.values()):
        return None
    return Recurrent(layers=_recurrent_layers(keys, kv_layers, feed_forward), **sizes)


def _recurrent_layers(
    keys: ModelKeys, kv_layers: Pattern | None, feed_forward: PerLayer | None
) -> Pattern | None:
    if keys.architecture in _ALL_RECURRENT or keys.architecture in _RECURRENT_BESIDE_ATTENTION:
        return (True,)
    if kv_layers is None or all(kv_layers):
        return None
    if keys.architecture in _LAYERS_OF_ONE_KIND and isinstance(feed_forward, tuple):
        return tuple(not kv and not ff for kv, ff in zip(kv_layers, feed_forward, strict=False))
    return tuple(not flag for flag in kv_layers)


def _experts(keys: ModelKeys) -> Experts | None:
    count = keys.number("expert_count")
    if not count:
        return None
    return Experts(
        count=count,
        used=keys.number("expert_used_count"),
        shared=keys.number("expert_shared_count"),
        feed_forward=keys.number("expert_feed_forward_length"),
        shared_feed_forward=keys.number("expert_shared_feed_forward_length"),
    )


def _quantization(header: GgufHeader, tensors: Iterable[TensorInfo]) -> str | None:
    """The file type's label where the matrices bear it out, else the type that holds most weights."""
    held: Counter[str] = Counter()
    for tensor in tensors:
        held[tensor.type.name] += tensor.elements if len(tensor.dims) > 1 else 0
    if not held:
        return None
    most = max(held, key=lambda name: (held[name], name))
    number = header.metadata.get("general.file_type")
    claimed = file_type(number) if isinstance(number, int) else None
    if claimed is None:
        return most
    fallback = fallback_type(claimed.base)
    if fallback is None:
        return claimed.label if most == claimed.base else most
    share = held[claimed.base] + held[fallback]
    return claimed.label if share * _ENOUGH_FOR_A_LABEL >= held.total() else most
