"""An engine on paper: where on a machine it could run a build, and what it would need there.

Pure, and apart from `runtimes.engines.base`: a plan may weigh an engine that slmctl has no worker for yet.
Refusals carry the reason codes of fit.md 6.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from runtimes.hardware.machine import Device, Hardware
from runtimes.planning.values import Build, Need, Shape

CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A place for a whole model: the CPU (`device` None) or a device, and how the engine computes there."""

    device: Device | None
    api: str

    @property
    def place(self) -> str:
        return CPU if self.device is None else self.device.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not, in a sentence with the number that decided; `place` None where it is the whole machine."""

    code: str
    detail: str
    place: str | None = None


class PaperEngine(Protocol):
    """One engine. All methods are pure and answer at once; `hardware` says what is installed.

    `cache_types` are ggml's names of what its cache may be, the plain one first; `reserves` says that it
    takes its share of a device whatever the model; `splits`, that it can share layers out between the CPU and
    a device.
    """

    @property
    def name(self) -> str: ...

    @property
    def reserves(self) -> bool: ...

    @property
    def splits(self) -> bool: ...

    def gate(self, hardware: Hardware) -> Refusal | None:
        """Why this engine cannot be on such a machine at all; None where it can."""

    def refuses(self, build: Build) -> Refusal | None:
        """Why it cannot run this build on any machine; None where it can."""

    def placements(self, build: Build, hardware: Hardware) -> Iterator[Placement | Refusal]:
        """Where it can run the build, and why not at the other places. Only for what neither `gate` nor
        `refuses` has anything against."""

    def cache_types(self, placement: Placement) -> tuple[str, ...]:
        """Types of the cache there."""

    def most_context(self, placement: Placement) -> int | None:
        """Tokens of prompt and answer together, where a graph is compiled for so many; None elsewhere."""

    def need(self, build: Build, shape: Shape, placement: Placement, features: frozenset[str]) -> Need:
        """What it takes there. `features` are the CPU's instruction sets that count. Raises MalformedFile for
        facts that lack a size."""


def version_parts(text: str | None) -> tuple[int, ...]:
    """The numbers of a version (`550.54.14`), as far as there are any; empty for None."""
    parts = []
    for part in (text or "").split("."):
        if not part.isascii() or not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def capability(device: Device) -> float | None:
    """CUDA's compute capability as a number; None for what has none."""
    try:
        return float(device.capability) if device.capability and "cuda" in device.apis else None
    except ValueError:
        return None


def graphics(hardware: Hardware) -> list[Device]:
    """The GPUs, by id."""
    return sorted((each for each in hardware.devices if each.kind == "gpu"), key=lambda each: each.id)
