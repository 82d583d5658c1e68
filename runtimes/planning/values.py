"""What goes into a plan and what comes out: values, frozen. Sizes are bytes, times seconds, unknowns None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.formats.facts import ModelFacts

DEFAULT_CONTEXT = 16_384
MIN_CONTEXT = 4_096
CONTEXT_STEP = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build of a model that exists or could be made: what fit.md 6.1 calls an artifact.

    `model` is the name it belongs to (`qwen3:1.7b`; a family has several), `variant` its id (`gguf-q4_k_m`).
    `size` is what a download takes. `projector`, `adapters` and `draft` are what is loaded beside the
    weights. `divergence` is a KL divergence from the unquantized model that somebody measured. `made` is
    False for one that `quantize` could make of what is there. `guessed` says that the tensor rows in `facts`
    are by analogy with other models (a config.json of an unknown architecture): the need's method is then
    `parameters`.
    """

    model: str
    variant: str
    facts: ModelFacts
    size: int
    digest: str | None = None
    quantization: str | None = None
    importance_matrix: bool | None = None
    quantization_aware: bool = False
    producer: str | None = None
    divergence: float | None = None
    projector_bytes: int = 0
    adapter_bytes: int = 0
    draft: ModelFacts | None = None
    stored: bool = False
    made: bool = True
    guessed: bool = False

    @property
    def key(self) -> str:
        """What tells it from all others of one plan: the digest, where it has one."""
        return self.digest or f"{self.model} {self.variant} {self.size}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a model is loaded, as far as memory depends on it. Sizes in tokens, as in `LaunchRequest`.

    `context` is what one request may use, `parallel` how many are answered at once. `gpu_layers` counts the
    output layer (llama.cpp's -ngl): 0 for none, `layers + 1` for all.
    """

    context: int
    parallel: int = 1
    batch: int = 2048
    micro_batch: int = 512
    type_k: str = "f16"
    type_v: str = "f16"
    flash_attention: bool = True
    gpu_layers: int = 0
    repack: bool = False
    draft_tokens: int = 0
    embedding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One row of the budget. `pool` is `host` or a device's id; `kind` is `anon`, `file` (pages of a mapped
    file, which the kernel can give back) or `device`; `source` says how the number is known."""

    name: str
    pool: str
    bytes: int
    kind: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a load takes: the parts, and by how much they may be off.

    `margin` multiplies: 1.02 for the oracle, 1.03 for the formulas on a header, 1.12 for less (fit.md 6.2).
    `method` is `oracle`, `header` or `parameters`.
    """

    parts: tuple[Part, ...]
    method: str
    margin: float

    def of(self, pool: str) -> int:
        """Bytes of one pool."""
        return sum(part.bytes for part in self.parts if part.pool == pool)

    @property
    def total(self) -> int:
        return sum(part.bytes for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What is asked. A pin is what the user named; None leaves it to the plan. `context` is soft unless
    `context_is_pinned`; `max_memory` is bytes, speeds are tokens per second. `draft_tokens` are those that
    a build's draft guesses at a time. With `one_batch` a whole context is computed at once."""

    context: int | None = None
    context_is_pinned: bool = False
    parallel: int = 1
    prefer: str = "balanced"
    variant: str | None = None
    runtime: str | None = None
    kv_type: str | None = None
    gpu_layers: int | None = None
    max_memory: int | None = None
    min_speed: float = 6.0
    comfort_speed: float = 25.0
    speed_is_pinned: bool = False
    offline: bool = False
    force: bool = False
    embedding: bool = False
    one_batch: bool = False
    draft_tokens: int = 0
    rope_scaling: bool = False
    """The user stretches the context: more than the model was trained on is then no mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Tokens per second of decoding, lowest to highest, and what that rests on (`prior`, `same-device`,
    `measured`). `overhead` is seconds per layer, `bandwidth` bytes per second that are reached."""

    low: float
    expected: float
    high: float
    basis: str
    overhead: float
    bandwidth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What quantization loses: a KL divergence, predicted or measured, and its tier (`near-lossless`,
    `balanced`, `compact`, `floor`)."""

    loss: float
    tier: str
    basis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run one build: an engine at a place. `place` is `cpu` or a device's id; `api` how the engine
    computes there."""

    build: Build
    runtime: str
    place: str
    api: str
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """A candidate with its numbers, and why it cannot be chosen, where it cannot."""

    candidate: Candidate
    need: Need
    budget: Mapping[str, int]
    speed: Speed | None
    quality: Quality
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why not: a code of fit.md 6.3, a sentence with the number that decided, and what it concerned."""

    code: str
    detail: str
    model: str | None = None
    variant: str | None = None
    runtime: str | None = None
    kv_type: str | None = None
    need: int | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The flags of the chosen candidate, all of them; what the engine is started with."""

    context: int
    parallel: int
    threads: int
    batch_threads: int
    batch: int
    micro_batch: int
    gpu_layers: int
    type_k: str
    type_v: str
    flash_attention: bool
    cache_ram: int
    context_checkpoints: int
    mmap: bool
    repack: bool
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerBound:
    """A load that died of too little memory: in `pool`, this build as `shape` needs more than `bytes`."""

    digest: str
    runtime: str
    shape: Shape
    pool: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What earlier loads have shown, and the engine's own word: it counts more than the formulas.

    `needs` are the oracle's, by (the build's key, runtime, place, shape); a candidate that is among them
    has that need. One that a bound speaks of (same build and runtime, a context and slots no smaller) needs
    at least one byte more than the bound in its pool.
    """

    needs: Mapping[tuple[str, str, str, Shape], Need] = field(default_factory=dict)
    bounds: tuple[LowerBound, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer. `verdict` is `ok` or `nofit`, `flags` are such as SLOW and KV_Q8, `alternatives` what was
    planned beside it, `would_change` pairs of a condition and what it would bring.

    `tier` is what the choice was held to: a machine too slow for an upgrade takes the smallest build that
    is `balanced`, whose own loss may be near-lossless.
    """

    verdict: str
    flags: tuple[str, ...]
    chosen: Evaluated | None
    launch: Launch | None
    binding: Rejection | None
    rejected: tuple[Rejection, ...]
    alternatives: tuple[Evaluated, ...] = ()
    would_change: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    tier: str | None = None
    considered: tuple[Evaluated, ...] = field(default=(), repr=False)
