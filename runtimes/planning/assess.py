"""One candidate with its numbers: what it needs, how fast it is, what it loses, and why it cannot be.

An `Assessor` holds one machine and one request, and remembers what it has worked out: a plan asks for the
same cache and buffers of hundreds of builds of one model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.errors import MalformedFile
from registry.formats.facts import ModelFacts
from runtimes.engines.paper import CPU, PaperEngine, Placement
from runtimes.hardware.machine import Hardware
from runtimes.planning.budget import HOST, MIB, Budget, device_budget, host_budget, reserved_budget
from runtimes.planning.quality import quality
from runtimes.planning.speed import (
    TYPICAL_FILL,
    Rate,
    cache_bytes_read,
    cpu_features,
    cpu_rate,
    decode_speed,
    device_rate,
    split_speed,
    waits_for_threads,
    weight_bytes_read,
)
from runtimes.planning.values import (
    Build,
    Candidate,
    Evaluated,
    Learned,
    Need,
    Part,
    PlanRequest,
    Quality,
    Rejection,
    Shape,
    Speed,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A build on an engine at a place: what nothing static speaks against."""

    build: Build
    engine: PaperEngine
    placement: Placement
    installed: bool

    @property
    def place(self) -> str:
        return self.placement.place

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        build = self.build
        return (build.model, build.variant, build.digest or "", self.engine.name, self.place)


class Assessor:
    """Works candidates out for one machine, one request and what earlier loads have shown."""

    def __init__(self, hardware: Hardware, request: PlanRequest, learned: Learned) -> None:
        self.hardware = hardware
        self.request = request
        self.learned = learned
        self._known: dict[tuple[object, ...], Evaluated] = {}
        self._rates: dict[tuple[str, str, str], Rate] = {}
        self._read: dict[tuple[int, bool], float] = {}
        self._bare: dict[int, ModelFacts] = {}
        self._caches: dict[tuple[ModelFacts, str, str, int, bool], int] = {}
        self._qualities: dict[tuple[int, str], Quality] = {}
        self._budgets: dict[tuple[str, str], tuple[Budget, ...]] = {}
        self._features: dict[str, frozenset[str]] = {}
        self._host = host_budget(hardware)

    def features(self, engine: PaperEngine) -> frozenset[str]:
        """The CPU's instruction sets that count for this engine."""
        if engine.name not in self._features:
            self._features[engine.name] = cpu_features(self.hardware, self.hardware.engine(engine.name))
        return self._features[engine.name]

    def shape(self, option: Option, context: int, cache_type: str, gpu_layers: int | None = None) -> Shape:
        """How `option` would be loaded; on a device with all its layers unless `gpu_layers` says so."""
        on_device = option.placement.device is not None
        every = (option.build.facts.layers or 0) + 1
        pinned = self.request.gpu_layers
        if gpu_layers is None and pinned is not None and pinned >= 0:
            gpu_layers = min(pinned, every)
        usual = Shape(context=context)
        at_once = context if self.request.one_batch else 0
        return Shape(
            context=context,
            parallel=self.request.parallel,
            batch=max(usual.batch, at_once),
            micro_batch=max(usual.micro_batch, at_once),
            type_k=cache_type,
            type_v=cache_type,
            gpu_layers=(every if gpu_layers is None else gpu_layers) if on_device else 0,
            repack=True,
            draft_tokens=0 if option.build.draft is None else self.request.draft_tokens,
            embedding=self.request.embedding,
        )

    def assess(
        self, option: Option, context: int, cache_type: str, gpu_layers: int | None = None
    ) -> Evaluated:
        """`option` with this context and cache; `rejection` says which memory does not suffice."""
        key = (id(option.build), option.engine.name, option.place, context, cache_type, gpu_layers)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._assess(option, context, cache_type, gpu_layers)
        return found

    def _assess(self, option: Option, context: int, cache_type: str, gpu_layers: int | None) -> Evaluated:
        shape = self.shape(option, context, cache_type, gpu_layers)
        candidate = Candidate(
            build=option.build,
            runtime=option.engine.name,
            place=option.place,
            api=option.placement.api,
            shape=shape,
        )
        need = self._need(option, candidate)
        budgets = self.budgets(option)
        return Evaluated(
            candidate=candidate,
            need=need,
            budget={budget.pool: budget.bytes for budget in budgets},
            speed=self.speed(option, shape),
            quality=self.quality(option.build, cache_type),
            rejection=self._too_much(candidate, need, budgets),
        )

    def quality(self, build: Build, cache_type: str) -> Quality:
        key = (id(build), cache_type)
        if key not in self._qualities:
            self._qualities[key] = quality(build, cache_type)
        return self._qualities[key]

    def budgets(self, option: Option) -> tuple[Budget, ...]:
        """What each pool has that the option takes from: the host, and a device of its own memory."""
        key = (option.engine.name, option.place)
        if key not in self._budgets:
            self._budgets[key] = tuple(self._pools(option))
        return self._budgets[key]

    def speed(self, option: Option, shape: Shape) -> Speed:
        """How fast it decodes, with the cache filled as far as it usually is."""
        build, device = option.build, option.placement.device
        layers = build.facts.layers or 0
        cache = self._cache_read(build, shape, cpu=device is None)
        if device is None:
            return decode_speed(layers, self._weights_read(build, cpu=True) + cache, self._rate(option, CPU))
        read = self._weights_read(build, cpu=False) + cache
        if shape.gpu_layers > layers:
            return decode_speed(layers, read, self._rate(option, device.id))
        share = max(0, shape.gpu_layers - 1) / max(1, layers)
        rates = self._rate(option, device.id), self._rate(option, CPU)
        return split_speed(layers, read, share, *rates)

    def _pools(self, option: Option) -> list[Budget]:
        device = option.placement.device
        if device is None:
            found = [self._host]
        elif option.engine.reserves and not device.unified:
            found = [self._host, reserved_budget(device)]
        elif device.unified:
            found = [device_budget(device, self.hardware)]
        else:
            found = [self._host, device_budget(device, self.hardware)]
        most = self.request.max_memory
        if most is None:
            return found
        return [_at_most(each, most) for each in found]

    def _need(self, option: Option, candidate: Candidate) -> Need:
        shape = candidate.shape
        known = self.learned.needs.get((option.build.key, candidate.runtime, candidate.place, shape))
        if known is not None:
            return known
        try:
            return option.engine.need(option.build, shape, option.placement, self.features(option.engine))
        except MalformedFile:
            return _unknown(option.build)

    def _too_much(self, candidate: Candidate, need: Need, budgets: tuple[Budget, ...]) -> Rejection | None:
        for budget in budgets:
            wanted = int(need.of(budget.pool) * need.margin)
            bound = self._bound(candidate, budget.pool)
            if wanted > budget.bytes:
                detail = f"{_mib(wanted)} are needed, {_mib(budget.bytes)} are there ({_reason(budget)})."
            elif bound is not None and bound >= budget.bytes:
                wanted = bound + 1
                detail = f"{_mib(bound)} did not suffice before, {_mib(budget.bytes)} are there."
            else:
                continue
            return rejected(candidate, budget.code, detail, need=wanted, budget=budget.bytes)
        most = self.request.max_memory
        if most is not None and int(need.total * need.margin) > most:
            wanted = int(need.total * need.margin)
            detail = f"{_mib(wanted)} are needed, --max-memory allows {_mib(most)}."
            return rejected(candidate, "MEM_HOST", detail, need=wanted, budget=most)
        return None

    def _bound(self, candidate: Candidate, pool: str) -> int | None:
        """What a load of this build that was no larger has died of."""
        shape = candidate.shape
        found = [
            each.bytes
            for each in self.learned.bounds
            if each.digest == candidate.build.digest
            and each.runtime == candidate.runtime
            and each.pool == pool
            and each.shape.context <= shape.context
            and each.shape.parallel <= shape.parallel
            and each.shape.type_k == shape.type_k
            and each.shape.gpu_layers <= shape.gpu_layers
        ]
        return max(found, default=None)

    def _rate(self, option: Option, place: str) -> Rate:
        engine, api = option.engine.name, option.placement.api
        key = (engine, place, api)
        if key not in self._rates:
            device = option.placement.device
            if place == CPU or device is None:
                self._rates[key] = cpu_rate(self.hardware, engine, self.features(option.engine))
            else:
                self._rates[key] = device_rate(self.hardware, engine, device, api)
        return self._rates[key]

    def _weights_read(self, build: Build, *, cpu: bool) -> float:
        key = (id(build), cpu)
        if key not in self._read:
            few = cpu and waits_for_threads(self.hardware)
            self._read[key] = weight_bytes_read(build.facts, build.size, cpu=cpu, few_threads=few)
        return self._read[key]

    def _cache_read(self, build: Build, shape: Shape, *, cpu: bool) -> int:
        """Builds of one model differ in their tensors only, and so have one cache."""
        bare = self._bare.get(id(build))
        if bare is None:
            bare = self._bare[id(build)] = replace(build.facts, tensors=(), quantization=None)
        few = cpu and waits_for_threads(self.hardware)
        key = (bare, shape.type_k, shape.type_v, min(shape.context, TYPICAL_FILL), few)
        if key not in self._caches:
            try:
                self._caches[key] = cache_bytes_read(bare, shape, few_threads=few)
            except MalformedFile:
                self._caches[key] = 0
        return self._caches[key]


def _at_most(budget: Budget, most: int) -> Budget:
    """The budget under --max-memory: where that is less, a control group's limit is not what binds."""
    if most >= budget.bytes:
        return budget
    code = "MEM_HOST" if budget.code == "MEM_CGROUP" else budget.code
    return replace(budget, bytes=most, reserve=0, code=code, source="--max-memory")


def rejected(
    candidate: Candidate, code: str, detail: str, *, need: int | None = None, budget: int | None = None
) -> Rejection:
    return Rejection(
        code=code,
        detail=detail,
        model=candidate.build.model,
        variant=candidate.build.variant,
        runtime=candidate.runtime,
        kv_type=candidate.shape.type_k,
        need=need,
        budget=budget,
    )


def needed(evaluated: Evaluated, pool: str) -> int:
    """Bytes of a pool with the margin that the estimate may be off."""
    return int(evaluated.need.of(pool) * evaluated.need.margin)


def _unknown(build: Build) -> Need:
    """Facts that do not say enough: the file, and half of it for all else."""
    size = build.size or build.facts.tensor_bytes
    part = Part(name="all", pool=HOST, bytes=size * 3 // 2, kind="anon", source="size of the file")
    return Need(parts=(part,), method="parameters", margin=1.12)


def _reason(budget: Budget) -> str:
    """What set the budget, in a few words: a cgroup's file by its name."""
    if budget.code == "MEM_HOST" and budget.reserve:
        return f"{_mib(budget.free)} free, {_mib(budget.reserve)} kept in reserve"
    return budget.source


def _mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"
