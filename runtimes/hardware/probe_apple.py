"""A Mac: sysctl and vm_stat."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.hardware import parse_apple as parse
from runtimes.hardware.findings import Findings
from runtimes.hardware.machine import Cpu, Device, Memory
from runtimes.hardware.system import System

_NAMES = (
    "hw.memsize",
    "hw.logicalcpu",
    "hw.physicalcpu",
    "machdep.cpu.brand_string",
    "hw.perflevel0.physicalcpu",
    "hw.optional.arm64",
    "hw.optional.arm.FEAT_DotProd",
    "hw.optional.arm.FEAT_FP16",
    "hw.optional.arm.FEAT_I8MM",
    "hw.optional.arm.FEAT_BF16",
    "hw.optional.arm.FEAT_SME",
    "machdep.cpu.features",
    "machdep.cpu.leaf7_features",
    "sysctl.proc_translated",
    "iogpu.wired_limit_mb",
)
"""Those that a Mac does not have make sysctl complain and go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mac:
    cpu: Cpu
    memory: Memory
    emulated: str | None


def probe_apple(system: System, findings: Findings) -> Mac:
    """The processor and the memory; adds the GPU of a Mac with Apple silicon."""
    values = parse.sysctl(system.run(["sysctl", *_NAMES]).text or "")
    arm = values.get("hw.optional.arm64") == "1" or system.machine == "arm64"
    translated = values.get("sysctl.proc_translated") == "1"
    total = parse.number(values, "hw.memsize") or 0
    available = parse.available(system.run(["vm_stat"]).text or "")
    if not total or available is None:
        findings.notes.append("sysctl or vm_stat did not answer, so that the memory is not known.")
    name = values.get("machdep.cpu.brand_string", "")[:200] or None
    if translated:
        findings.notes.append(
            "This Python is for Intel's processors and is translated by Rosetta: it has neither Metal nor the"
            " instruction sets of this CPU."
        )
        findings.miss("Metal, which needs a Python for arm64", "uv tool install --python 3.12 slmctl")
    elif arm and total:
        wired = parse.number(values, "iogpu.wired_limit_mb")
        findings.devices.append(
            Device(
                id=findings.next_id("gpu"),
                kind="gpu",
                vendor="apple",
                name=name or "Apple GPU",
                apis=("metal",),
                unified=True,
                working_set=parse.working_set(total, wired),
                source="iogpu.wired_limit_mb" if wired else "hw.memsize and a table",
            )
        )
    logical = parse.number(values, "hw.logicalcpu") or 1
    cpu = Cpu(
        model=name,
        architecture="x86_64" if translated or not arm else "aarch64",
        features=() if translated else parse.features(values, arm=arm),
        logical=logical,
        physical=parse.number(values, "hw.physicalcpu"),
        performance=parse.number(values, "hw.perflevel0.physicalcpu"),
        source="sysctl",
    )
    memory = Memory(total=total, available=min(available or 0, total), source="sysctl hw.memsize, vm_stat")
    return Mac(cpu=cpu, memory=memory, emulated="rosetta" if translated else None)
