"""A machine as JSON: the schema `slmctl.hardware/1` (docs/schemas/hardware-1.json), written and read.

What is written has every field; who writes a profile by hand may leave out all that has a default in
`runtimes.hardware.machine`, and the sources.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from registry.errors import MalformedFile
from runtimes.hardware.machine import (
    Cpu,
    Device,
    EngineBuild,
    Hardware,
    Memory,
    MemoryLimit,
    SpeedFigure,
)
from runtimes.hardware.reader import Reader

SCHEMA = "slmctl.hardware/1"

_GIVEN = "given"
"""The source of a figure that came without one."""


def to_json(hardware: Hardware) -> dict[str, object]:
    """The document, `schema` first; `from_json` of it is equal to `hardware`."""
    fields = _plain(dataclasses.asdict(hardware))
    assert isinstance(fields, dict)
    fields["missing"] = [{"what": what, "command": command} for what, command in hardware.missing]
    return {"schema": SCHEMA, **fields}


def digest(hardware: Hardware) -> str:
    """`sha256:` and the hash of the canonical document: equal machines have equal digests, anywhere."""
    text = json.dumps(to_json(hardware), sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def from_json(value: object) -> Hardware:
    """The machine that a document describes. Raises MalformedFile for any other document."""
    top = Reader(value, "")
    if top.text("schema") != SCHEMA:
        raise MalformedFile(
            f"The description of a machine is of another schema than {SCHEMA}.",
            hint="'slmctl hardware --save FILE' writes one.",
        )
    hardware = Hardware(
        name=top.text_or_none("name", most=100),
        system=top.text("system", most=100),
        cpu=_cpu(top.below("cpu")),
        memory=_memory(top.below("memory")),
        devices=tuple(_device(each) for each in top.each("devices")),
        engines=tuple(_engine(each) for each in top.each("engines")),
        speeds=tuple(_speed(each) for each in top.each("speeds")),
        container=top.text_or_none("container", most=100),
        emulated=top.text_or_none("emulated", most=100),
        disk_free=top.whole_or_none("disk_free"),
        missing=tuple(_missing(each) for each in top.each("missing")),
        sources=top.texts("sources"),
        notes=top.texts("notes"),
    )
    top.below("calibration")  # how the speeds were found: of no use to a plan
    top.done()
    ids = [each.id for each in hardware.devices]
    if len(set(ids)) < len(ids) or {"host", "cpu"} & set(ids):
        raise MalformedFile(
            "The description of a machine is wrong: the id of a device is another's, or 'host' or 'cpu'."
        )
    return hardware


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _cpu(fields: Reader) -> Cpu:
    cpu = Cpu(
        model=fields.text_or_none("model"),
        architecture=fields.text("architecture", most=40),
        features=tuple(sorted(set(fields.texts("features")))),
        logical=fields.whole("logical", least=1),
        physical=fields.whole_or_none("physical", least=1),
        performance=fields.whole_or_none("performance", least=1),
        affinity=fields.whole_or_none("affinity", least=1),
        quota=fields.number_or_none("quota", above=0, most=100_000),
        numa_nodes=fields.whole_or_none("numa_nodes", least=1) or 1,
        source=fields.text_or_none("source") or _GIVEN,
    )
    fields.done()
    return cpu


def _memory(fields: Reader) -> Memory:
    memory = Memory(
        total=fields.whole("total"),
        available=fields.whole("available"),
        limits=tuple(_limit(each) for each in fields.each("limits")),
        swap=fields.whole_or_none("swap") or 0,
        bandwidth=fields.whole_or_none("bandwidth", least=1),
        bandwidth_measured=fields.flag("bandwidth_measured"),
        source=fields.text_or_none("source") or _GIVEN,
    )
    if memory.available > memory.total:
        fields.refuse("memory.available", "is more than memory.total")
    fields.done()
    return memory


def _limit(fields: Reader) -> MemoryLimit:
    limit = MemoryLimit(
        limit=fields.whole("limit"),
        usage=fields.whole_or_none("usage") or 0,
        source=fields.text_or_none("source") or _GIVEN,
    )
    fields.done()
    return limit


def _device(fields: Reader) -> Device:
    device = Device(
        id=fields.text("id", most=100),
        kind=fields.text("kind", most=40),
        vendor=fields.text("vendor", most=40),
        name=fields.text("name", most=200),
        apis=fields.texts("apis"),
        total=fields.whole_or_none("total"),
        free=fields.whole_or_none("free"),
        unified=fields.flag("unified"),
        working_set=fields.whole_or_none("working_set"),
        bandwidth=fields.whole_or_none("bandwidth", least=1),
        capability=fields.text_or_none("capability", most=40),
        driver=fields.text_or_none("driver", most=100),
        uuid=fields.text_or_none("uuid", most=200),
        address=fields.text_or_none("address", most=100),
        note=fields.text_or_none("note"),
        source=fields.text_or_none("source") or _GIVEN,
    )
    fields.done()
    return device


def _engine(fields: Reader) -> EngineBuild:
    features = fields.texts_or_none("features")
    engine = EngineBuild(
        name=fields.text("name", most=40),
        installed=fields.flag("installed"),
        version=fields.text_or_none("version", most=100),
        apis=fields.texts("apis"),
        features=None if features is None else tuple(sorted(set(features))),
        devices=fields.texts_or_none("devices"),
        install=fields.text_or_none("install"),
        note=fields.text_or_none("note"),
        source=fields.text_or_none("source") or _GIVEN,
    )
    fields.done()
    return engine


def _speed(fields: Reader) -> SpeedFigure:
    speed = SpeedFigure(
        engine=fields.text_or_none("engine", most=40),
        place=fields.text("place", most=100),
        overhead=fields.number("overhead", above=-1e-12, most=1),
        efficiency=fields.number("efficiency", above=0, most=2),
        basis=fields.text("basis", most=40),
        source=fields.text_or_none("source") or _GIVEN,
    )
    if speed.overhead < 0:
        fields.refuse("speeds.overhead", "is less than 0")
    if speed.basis not in {"measured", "same-device", "prior"}:
        fields.refuse("speeds.basis", "is none of measured, same-device and prior")
    fields.done()
    return speed


def _missing(fields: Reader) -> tuple[str, str]:
    missing = (fields.text("what"), fields.text("command"))
    fields.done()
    return missing
