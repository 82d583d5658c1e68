"""The machine that a plan is for: this one with what it has learned, or the one of a profile."""

from __future__ import annotations

from dataclasses import replace

from runtimes.hardware.machine import Hardware, SpeedFigure
from runtimes.hardware.probe import probe
from runtimes.planning.speed import SATURATES, threads_to_decode
from slmctl.app import clock
from slmctl.app.planning.history import History, SpeedRecord
from slmctl.app.planning.learning import is_trusted
from slmctl.config import Settings

CPU = "cpu"


def this_machine(settings: Settings, history: History, *, quick: bool = False) -> Hardware:
    """This machine, with the speeds that its answers have shown. `quick` starts no child and measures
    nothing: what is not known without is left out."""
    hardware = probe(
        environment=settings.environment,
        cache_folder=settings.home / "cache",
        store=settings.store,
        quick=quick,
        today=clock.now()[:10],
    )
    return with_speeds(hardware, history)


def other_machine(given: str) -> Hardware:
    """The profile of that name, or in that file. Raises UsageError, MalformedFile."""
    from runtimes.hardware.profiles import profile  # most plans are for this machine

    return profile(given)


def with_speeds(hardware: Hardware, history: History) -> Hardware:
    """The machine with the speeds of those engine builds that are installed now, before all other figures."""
    builds = {each.name: each.version for each in hardware.engines if each.installed}
    found = [
        record
        for record in reversed(history.speeds)
        if builds.get(record.engine) == record.build
        and record.machine == machine_of(hardware, record.place)
        and (record.place != CPU or record.threads == threads_to_decode(hardware))
    ]
    if not found:
        return hardware
    reached = max((int(record.bandwidth) for record in found if record.place == CPU), default=0)
    hardware = _with_reached(hardware, reached)
    figures = [figure for record in found if (figure := _figure(record, hardware)) is not None]
    return replace(hardware, speeds=(*figures, *hardware.speeds))


def _with_reached(hardware: Hardware, reached: int) -> Hardware:
    """The machine with the bandwidth that answers reached: whatever ran beside the probe made its figure
    smaller. Never with so much that more threads would decode: what they show would be looked up nowhere."""
    most = threads_to_decode(hardware) * SATURATES
    for bandwidth in (reached, min(reached, int(most))):
        if bandwidth > (hardware.memory.bandwidth or 0):
            memory = replace(hardware.memory, bandwidth=bandwidth, bandwidth_measured=True)
            found = replace(hardware, memory=memory)
            if threads_to_decode(found) == threads_to_decode(hardware):
                return found
    return hardware


def machine_of(hardware: Hardware, place: str) -> str:
    """What tells the processor at a place from that of another machine with the same home."""
    if place == CPU:
        return f"{hardware.cpu.model or hardware.cpu.architecture}, {hardware.cpu.logical} CPUs"
    device = next((each for each in hardware.devices if each.id == place), None)
    return "gone" if device is None else device.uuid or device.name


def bandwidth_of(hardware: Hardware, place: str) -> int | None:
    """Bytes per second that efficiencies at a place are shares of."""
    if place == CPU:
        return hardware.memory.bandwidth
    device = next((each for each in hardware.devices if each.id == place), None)
    if device is None:
        return None
    return device.bandwidth or (hardware.memory.bandwidth if device.unified else None)


def _figure(record: SpeedRecord, hardware: Hardware) -> SpeedFigure | None:
    bandwidth = bandwidth_of(hardware, record.place)
    if not bandwidth:
        return None
    answers = f"{record.samples} answer{'' if record.samples == 1 else 's'}"
    return SpeedFigure(
        engine=record.engine,
        place=record.place,
        overhead=record.overhead,
        efficiency=record.bandwidth / bandwidth,
        basis="measured" if is_trusted(record) else "same-device",
        source=f"{answers} of {record.engine} {record.build} here, {record.date[:10]}"
        if record.samples
        else f"calibrated with {record.engine} {record.build} here, {record.date[:10]}",
    )
