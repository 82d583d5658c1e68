"""The choice among the builds of one model on one engine at one place (fit.md 6.4, DESIGN.md section 6).

Step by step, the first that finds something wins. A better tier comes first, then full speed, then the whole
context with a plain cache, then with a quantized one, then as much context as fits. That tiers come before
the speed floor, and why, is argued in docs/decisions/0025.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runtimes.planning.assess import Assessor, Option
from runtimes.planning.budget import HOST
from runtimes.planning.quality import NO_TIER, TIERS, is_cache_safe, limit
from runtimes.planning.values import CONTEXT_STEP, DEFAULT_CONTEXT, MIN_CONTEXT, Evaluated, PlanRequest

_SHARED_SHARE, _DEVICE_SHARE = 60, 90  # percent of a pool that an upgrade may take (fit.md 6.4, step 2)
_NEARLY_AS_SMALL = 105  # percent of the smallest, within which the lowest loss wins

Found = tuple[Option, Evaluated]
Pick = Callable[[Sequence[Found]], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one place has to offer. `tier` is what it was held to, `rank` sorts decisions, best first."""

    option: Option
    evaluated: Evaluated
    tier: str
    slow: bool
    rank: tuple[float, ...]

    @property
    def speed(self) -> float:
        return self.evaluated.speed.expected if self.evaluated.speed is not None else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contexts:
    """What is wanted, and the least that a soft wish may shrink to; equal where it is pinned."""

    wanted: int
    least: int


def contexts(request: PlanRequest, trained: int | None) -> Contexts:
    """The context to plan for: what was asked, else 16,384, never more than trained unless pinned."""
    wanted = request.context or DEFAULT_CONTEXT
    if request.context_is_pinned and request.context is not None:
        return Contexts(wanted=wanted, least=wanted)
    if trained is not None:
        wanted = min(wanted, trained)
    return Contexts(wanted=wanted, least=min(wanted, MIN_CONTEXT))


def decide(options: Sequence[Option], assessor: Assessor, *, floor: bool) -> Decision | None:
    """The best of the options, all of one model, engine and place; None where none fits.

    `floor` admits builds that lose more than the compact tier allows.
    """
    search = _Search(sorted(options, key=lambda option: option.key), assessor)
    prefer = assessor.request.prefer
    if prefer == "quality":
        return search.least_loss(floor=floor)
    tiers = [tier for tier in TIERS if floor or tier != "floor"] + ([NO_TIER] if floor else [])
    for tier in tiers:
        if tier == "near-lossless":
            found = search.upgrade() if prefer == "balanced" else None
        elif tier == "balanced" and prefer == "smallest":
            found = None  # compact builds are good enough for it, and the smallest are among them
        else:
            found = search.within(tier, _picks(prefer, tier))
        if found is not None:
            return found
    return None


class _Search:
    def __init__(self, options: Sequence[Option], assessor: Assessor) -> None:
        self.options = options
        self.assessor = assessor
        self.request = assessor.request

    def upgrade(self) -> Decision | None:
        """Near-lossless where there is plenty: a plain cache, room to spare, and comfortable speed."""
        plain = _plain(self.options[0])
        if self.request.kv_type not in (None, plain):
            return None
        found: list[Found] = []
        for option in self.options:
            evaluated = self._largest(option, plain, self._is_roomy) if self._upgrades(option) else None
            if evaluated is not None:
                found.append((option, evaluated))
        if not found:
            return None
        longest = max(evaluated.candidate.shape.context for _, evaluated in found)
        best = smallest([each for each in found if each[1].candidate.shape.context == longest])
        return self._decision(best, "near-lossless", slow=False)

    def within(self, tier: str, pick: Pick) -> Decision | None:
        """The best within a tier: fast before slow, the whole context before less of it."""
        for slow in (False, True):
            options = [
                option
                for option in self.options
                if self._is_slow(option) == slow and not (slow and self.request.speed_is_pinned)
            ]
            if tier == "compact" and pick is least_loss:
                found = self._finest(options, tier)
            else:
                found = self._whole(options, tier, pick) or self._shrunk(options, tier, pick)
            if found is not None:
                return self._decision(found, tier, slow=slow)
        return None

    def least_loss(self, *, floor: bool) -> Decision | None:
        """The lowest loss that fits at all, however slow, then the best cache and context for it."""
        most = limit("compact")
        for option in sorted(
            self.options, key=lambda option: (self._loss(option, _plain(option)), option.key)
        ):
            if not floor and self._loss(option, _plain(option)) > most:
                continue
            if self._is_slow(option) and self.request.speed_is_pinned:
                continue
            found = self._whole([option], NO_TIER, smallest) or self._shrunk([option], NO_TIER, smallest)
            if found is not None:
                return self._decision(found, found[1].quality.tier, slow=self._is_slow(option))
        return None

    def _whole(self, options: Sequence[Option], tier: str, pick: Pick) -> Found | None:
        """At the whole context: a plain cache first, but in the compact tier whichever loses least."""
        found: list[Found] = []
        for cache_type in self._cache_types():
            for option in self._in_tier(options, tier, cache_type):
                evaluated = self.assessor.assess(option, self._contexts(option).wanted, cache_type)
                if self._suits(evaluated):
                    found.append((option, evaluated))
            if found and tier != "compact":
                break
        return pick(found) if found else None

    def _shrunk(self, options: Sequence[Option], tier: str, pick: Pick) -> Found | None:
        """With as much of a soft context as fits, whichever cache gives more of it."""
        found: list[Found] = []
        for cache_type in self._cache_types():
            for option in self._in_tier(options, tier, cache_type):
                evaluated = self._largest(option, cache_type, self._suits)
                if evaluated is not None:
                    found.append((option, evaluated))
        if not found:
            return None
        longest = max(evaluated.candidate.shape.context for _, evaluated in found)
        return pick([each for each in found if each[1].candidate.shape.context == longest])

    def _finest(self, options: Sequence[Option], tier: str) -> Found | None:
        """The least loss that fits at all, then as much of a soft context as fits for that: the compact tier
        is wide, and a longer context is not worth twice the loss."""
        at_least: list[Found] = []
        for cache_type in self._cache_types():
            for option in self._in_tier(options, tier, cache_type):
                evaluated = self.assessor.assess(option, self._contexts(option).least, cache_type)
                if self._suits(evaluated):
                    at_least.append((option, evaluated))
        if not at_least:
            return None
        best = [least_loss(at_least)[0]]
        return self._whole(best, tier, least_loss) or self._shrunk(best, tier, least_loss)

    def _largest(
        self, option: Option, cache_type: str, suits: Callable[[Evaluated], bool]
    ) -> Evaluated | None:
        """The option with the largest context that suits, in steps; None where the least does not."""
        span = self._contexts(option)
        whole = self.assessor.assess(option, span.wanted, cache_type)
        if suits(whole):
            return whole
        best = self.assessor.assess(option, span.least, cache_type)
        if span.least == span.wanted or not suits(best):
            return None
        low, high = span.least // CONTEXT_STEP, -(-span.wanted // CONTEXT_STEP)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.assessor.assess(option, middle * CONTEXT_STEP, cache_type)
            if suits(tried):
                low, best = middle, tried
            else:
                high = middle
        return best

    def _cache_types(self) -> tuple[str, ...]:
        if self.request.kv_type is not None:
            return (self.request.kv_type,)
        first = self.options[0]
        return first.engine.cache_types(first.placement)

    def _in_tier(self, options: Iterable[Option], tier: str, cache_type: str) -> list[Option]:
        most = float("inf") if tier == NO_TIER else limit(tier)
        pinned = self.request.kv_type is not None
        return [
            option
            for option in options
            if self._loss(option, cache_type) <= most and (pinned or is_cache_safe(option.build, cache_type))
        ]

    def _upgrades(self, option: Option) -> bool:
        fast = self._expected(option) >= self.request.comfort_speed
        return fast and self._loss(option, _plain(option)) <= limit("near-lossless")

    def _is_roomy(self, evaluated: Evaluated) -> bool:
        """Whether so much stays free that nothing else on the machine minds."""
        if not self._suits(evaluated):
            return False
        place = evaluated.candidate.place
        pool, share = (place, _DEVICE_SHARE) if place in evaluated.budget else (HOST, _SHARED_SHARE)
        return evaluated.need.of(pool) * 100 <= evaluated.budget[pool] * share

    def _suits(self, evaluated: Evaluated) -> bool:
        """Whether it fits, and is as fast as was demanded: a quantized cache, say, may be slower to read."""
        demanded = self.request.speed_is_pinned and evaluated.speed is not None
        slow = demanded and _speed(evaluated) < self.request.min_speed
        return evaluated.rejection is None and not slow

    def _loss(self, option: Option, cache_type: str) -> float:
        return self.assessor.quality(option.build, cache_type).loss

    def _is_slow(self, option: Option) -> bool:
        return self._expected(option) < self.request.min_speed

    def _expected(self, option: Option) -> float:
        shape = self.assessor.shape(option, self._contexts(option).wanted, self._cache_types()[0])
        return self.assessor.speed(option, shape).expected

    def _contexts(self, option: Option) -> Contexts:
        return contexts(self.request, option.build.facts.trained_context)

    def _decision(self, found: Found, tier: str, *, slow: bool) -> Decision:
        return decision_of(*found, tier, self.request.prefer, slow=slow)


def decision_of(option: Option, evaluated: Evaluated, tier: str, prefer: str, *, slow: bool) -> Decision:
    """What was found in a tier, as a decision that can be held against another place's."""
    rank = _rank(prefer, evaluated, tier, slow=slow)
    return Decision(option=option, evaluated=evaluated, tier=tier, slow=slow, rank=rank)


def smallest(found: Sequence[Found]) -> Found:
    """The fewest bytes, but within 5 percent of that the lowest loss; an engine that takes the same memory
    whatever the model (vLLM) has no use for small ones."""
    if found[0][0].engine.reserves:
        return least_loss(found)
    least = min((option for option, _ in found), key=size)
    return least_loss([each for each in found if is_near(each[0], least)])


def is_near(option: Option, least: Option) -> bool:
    """Whether an option is hardly larger than the smallest."""
    return size(option) * 100 <= size(least) * _NEARLY_AS_SMALL


def least_loss(found: Sequence[Found]) -> Found:
    return min(found, key=lambda each: (each[1].quality.loss, *_tie(each)))


def fastest(found: Sequence[Found]) -> Found:
    return min(found, key=lambda each: (-_speed(each[1]), each[1].quality.loss, *_tie(each)))


def fewest_bytes(found: Sequence[Found]) -> Found:
    return min(found, key=lambda each: (size(each[0]), each[1].quality.loss, *_tie(each)))


def size(option: Option) -> int:
    return option.build.size or option.build.facts.tensor_bytes


def _picks(prefer: str, tier: str) -> Pick:
    if prefer == "speed":
        return fastest
    if prefer == "smallest":
        return fewest_bytes
    return smallest if tier == "balanced" else least_loss


def _rank(prefer: str, evaluated: Evaluated, tier: str, *, slow: bool) -> tuple[float, ...]:
    """What decides between places, before speed does."""
    if prefer == "quality":
        return (evaluated.quality.loss,)
    if prefer == "smallest":
        return (slow, evaluated.candidate.build.size)
    return ((*TIERS, NO_TIER).index(tier), slow)


def _tie(found: Found) -> tuple[object, ...]:
    """Which of equals: what is here, then what was made with more care, then by name."""
    build = found[0].build
    care = (not build.quantization_aware, build.importance_matrix is not True)
    return (not build.stored, *care, size(found[0]), build.variant, build.digest or "")


def _speed(evaluated: Evaluated) -> float:
    return evaluated.speed.expected if evaluated.speed is not None else 0.0


def _plain(option: Option) -> str:
    return option.engine.cache_types(option.placement)[0]
