"""A machine in words, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from runtimes.hardware.machine import Device, EngineBuild, Hardware
from runtimes.hardware.unused import counted
from runtimes.planning.budget import binding_limits, device_budget, host_budget
from slmctl.cli.render import counted as number_of
from slmctl.cli.render import human_bytes

_WIDTH = 80
_INDENT = 4
_GAP = 2

_SYSTEMS = {"linux": "Linux", "darwin": "macOS"}


def describe_hardware(hardware: Hardware) -> str:
    """What `slmctl hardware` shows."""
    blocks = {
        "Machine": _machine(hardware),
        "Memory": _memory(hardware),
        "Processor": _processor(hardware),
        "GPUs and NPUs": [
            (device.id, text) for device in hardware.devices for text in _device(device, hardware)
        ]
        or [("none", "")],
        "Engines": [(engine.name, text) for engine in hardware.engines for text in _engine(engine, hardware)],
        "Speed": [
            (
                speed.place,
                (
                    f"{speed.overhead * 1e6:.0f} us a layer, {speed.efficiency:.0%} of the bandwidth"
                    f" ({speed.basis}: {speed.source})"
                ),
            )
            for speed in hardware.speeds
        ],
        "Missing": _missing(hardware),
        "Notes": [("", note) for note in hardware.notes],
        "Sources": [("", source) for source in hardware.sources],
    }
    return "\n\n".join(_block(title, rows) for title, rows in blocks.items() if rows) + "\n"


def about(hardware: Hardware) -> str:
    """A machine in a few words, for a list."""
    limit = min((each.limit for each in binding_limits(hardware)), default=None)
    memory = memory_size(limit if limit is not None else hardware.memory.total)
    devices = [device for device in hardware.devices if device.kind == "gpu"]
    if devices:
        own = f", {memory_size(devices[0].total)}" if devices[0].total and not devices[0].unified else ""
        return f"{devices[0].name}{own}; {memory} of memory"
    return f"{hardware.cpu.model or hardware.cpu.architecture}; {memory} of memory"


def memory_size(count: int) -> str:
    """As memory is sold and limited: `23.5 GiB`, `512 MiB`."""
    if count >= 1 << 30:
        return f"{count / (1 << 30):.1f} GiB"
    return f"{count >> 20} MiB"


def _machine(hardware: Hardware) -> list[tuple[str, str]]:
    rows = [("name", hardware.name)] if hardware.name else []
    inside = f", in {hardware.container}" if hardware.container else ""
    translated = f", translated by {hardware.emulated}" if hardware.emulated else ""
    system = _SYSTEMS.get(hardware.system, hardware.system)
    rows.append(("system", f"{system} on {hardware.cpu.architecture}{inside}{translated}"))
    if hardware.disk_free is not None:
        rows.append(("disk", f"{human_bytes(hardware.disk_free)} free where models are stored"))
    return rows


def _memory(hardware: Hardware) -> list[tuple[str, str]]:
    memory, budget = hardware.memory, host_budget(hardware)
    rows = [("total", memory_size(memory.total)), ("available", memory_size(memory.available))]
    rows += [
        ("limit", f"{memory_size(each.limit)}, of which {memory_size(each.usage)} are used: {each.source}")
        for each in binding_limits(hardware)
    ]
    why = {"MEM_CGROUP": "of the limit", "MEM_HOST": "of what is available"}.get(budget.code, "")
    kept = f"{memory_size(budget.reserve)} {why} stay free"
    rows.append(("for models", f"{memory_size(budget.bytes)}: {kept}"))
    if memory.swap:
        rows.append(("swap", f"{memory_size(memory.swap)}, never counted on"))
    if memory.bandwidth:
        how = "measured" if memory.bandwidth_measured else "not measured"
        rows.append(("bandwidth", f"{memory.bandwidth / 1e9:.1f} GB/s, {how}"))
    if hardware.name:
        rows.append(("source", memory.source))
    return rows


def _processor(hardware: Hardware) -> list[tuple[str, str]]:
    cpu = hardware.cpu
    cores = [number_of(cpu.physical or cpu.logical, "core")]
    if cpu.performance:
        cores.append(f"{cpu.performance} of them fast")
    if cpu.logical != (cpu.physical or cpu.logical):
        cores.append(number_of(cpu.logical, "thread"))
    if cpu.affinity is not None and cpu.affinity < cpu.logical:
        cores.append(f"this process may use {cpu.affinity} of {cpu.logical} CPUs")
    if cpu.quota is not None:
        cores.append(f"a quota of {cpu.quota:g} CPUs")
    if cpu.numa_nodes > 1:
        cores.append(number_of(cpu.numa_nodes, "NUMA node"))
    rows = [("model", cpu.model or "unknown"), ("cores", ", ".join(cores))]
    rows.append(("decoding", f"with {number_of(cpu.threads, 'thread')}"))
    rows.append(("has", " ".join(cpu.features) or "no instruction sets that are known"))
    engine = hardware.engine("llama.cpp")
    if engine is not None and engine.installed and engine.features is not None:
        rows.append(("counts", f"{' '.join(sorted(counted(cpu, engine))) or 'none'} (what llama.cpp uses)"))
    return rows


def _device(device: Device, hardware: Hardware) -> Iterable[str]:
    parts = [device.name]
    if device.unified:
        parts.append("shares the memory above")
        if device.working_set is not None:
            parts.append(f"up to {memory_size(device.working_set)} of it")
    elif device.total is not None:
        parts.append(memory_size(device.total))
        if device.free is not None:
            parts.append(f"{memory_size(device.free)} free")
    if device.kind == "gpu" and (device.unified or device.total is not None):
        parts.append(f"{memory_size(device_budget(device, hardware).bytes)} for models")
    if device.bandwidth:
        parts.append(f"{device.bandwidth / 1e9:.0f} GB/s")
    if device.capability:
        parts.append(
            device.capability if device.vendor == "amd" else f"compute capability {device.capability}"
        )
    if device.driver:
        parts.append(f"driver {device.driver}")
    yield f"{', '.join(parts)} ({', '.join(device.apis)})"
    seen_by = [each.name for each in hardware.engines if device.id in (each.devices or ())]
    yield f"used by {', '.join(seen_by)}" if seen_by else "used by no engine that is installed"
    if device.note:
        yield device.note


def _engine(engine: EngineBuild, hardware: Hardware) -> Iterable[str]:
    if not engine.installed:
        yield f"not installed; {engine.install or 'there is no build for such a machine'}"
        return
    what = f": {', '.join(engine.apis)}" if engine.apis else ""
    yield f"{engine.version or 'installed'}{what}"
    if engine.note:
        yield engine.note


def _missing(hardware: Hardware) -> list[tuple[str, str]]:
    rows = []
    for what, command in hardware.missing:
        rows.append(("", f"{what}:"))
        rows += [("", f"\0{line}") for line in command_lines(command, _WIDTH - _INDENT - _GAP)]
    return rows


def command_lines(command: str, width: int) -> Sequence[str]:
    """A command on lines that a shell reads as one: broken before an option, with a backslash."""
    if len(command) <= width or " --" not in command:
        return [command]
    lines, line = [], ""
    for number, part in enumerate(command.split(" --")):
        piece = part if number == 0 else f"--{part}"
        if line and len(line) + len(piece) + 3 > width:
            lines.append(f"{line} \\")
            line = f"  {piece}"
        else:
            line = f"{line} {piece}".strip() if number else piece
    return [*lines, line]


def _block(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Rows of a name and a text, which is broken at blanks; a name is said once. `\\0` keeps a line whole."""
    names = max(len(name) for name, _ in rows)
    column = _INDENT + (names + _GAP if names else 0)
    lines, before = [f"  {title}"], None
    for name, text in rows:
        shown = "" if name == before else name
        before = name or before
        start = " " * _INDENT + (shown.ljust(names + _GAP) if names else "")
        if text.startswith("\0"):
            lines.append(f"{start}  {text[1:]}".rstrip())
            continue
        wrapped = textwrap.wrap(text, _WIDTH - column, break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"{start}{wrapped[0]}".rstrip())
        lines += [" " * column + line for line in wrapped[1:]]
    return "\n".join(lines)
