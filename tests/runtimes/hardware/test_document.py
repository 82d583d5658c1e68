"""The document of a machine: written, read, and refused with the place that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedFile
from runtimes.hardware.document import SCHEMA, digest, from_json, to_json
from runtimes.hardware.machine import (
    Cpu,
    Device,
    EngineBuild,
    Hardware,
    Memory,
    MemoryLimit,
    SpeedFigure,
)

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
sizes = st.integers(0, 1 << 50)
counts = st.integers(1, 1000)
few_texts = st.lists(texts, max_size=3).map(tuple)
features = st.sets(texts, max_size=4).map(lambda found: tuple(sorted(found)))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


cpus = st.builds(
    Cpu,
    model=maybe(texts),
    architecture=texts,
    features=features,
    logical=counts,
    physical=maybe(counts),
    performance=maybe(counts),
    affinity=maybe(counts),
    quota=maybe(st.floats(0.01, 1000)),
    numa_nodes=counts,
    source=texts,
)
memories = st.tuples(sizes, sizes).flatmap(
    lambda pair: st.builds(
        Memory,
        total=st.just(max(pair)),
        available=st.just(min(pair)),
        limits=st.lists(st.builds(MemoryLimit, limit=sizes, usage=sizes, source=texts), max_size=2).map(
            tuple
        ),
        swap=sizes,
        bandwidth=maybe(st.integers(1, 1 << 50)),
        bandwidth_measured=st.booleans(),
        source=texts,
    )
)
devices = st.builds(
    Device,
    id=st.from_regex(r"gpu[0-9]", fullmatch=True),
    kind=st.sampled_from(["gpu", "npu"]),
    vendor=texts,
    name=texts,
    apis=few_texts,
    total=maybe(sizes),
    free=maybe(sizes),
    unified=st.booleans(),
    working_set=maybe(sizes),
    bandwidth=maybe(st.integers(1, 1 << 50)),
    capability=maybe(texts),
    driver=maybe(texts),
    uuid=maybe(texts),
    address=maybe(texts),
    note=maybe(texts),
    source=texts,
)
engines = st.builds(
    EngineBuild,
    name=texts,
    installed=st.booleans(),
    version=maybe(texts),
    apis=few_texts,
    features=maybe(features),
    devices=maybe(few_texts),
    install=maybe(texts),
    note=maybe(texts),
    source=texts,
)
speeds = st.builds(
    SpeedFigure,
    engine=maybe(texts),
    place=texts,
    overhead=st.floats(0, 1),
    efficiency=st.floats(0.001, 2),
    basis=st.sampled_from(["measured", "same-device", "prior"]),
    source=texts,
)
machines = st.builds(
    Hardware,
    name=maybe(texts),
    system=texts,
    cpu=cpus,
    memory=memories,
    devices=st.lists(devices, max_size=3, unique_by=lambda device: device.id).map(tuple),
    engines=st.lists(engines, max_size=2).map(tuple),
    speeds=st.lists(speeds, max_size=2).map(tuple),
    container=maybe(texts),
    emulated=maybe(texts),
    disk_free=maybe(sizes),
    missing=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    sources=few_texts,
    notes=few_texts,
)


@given(machines)
def test_what_was_written_is_read_back(machine: Hardware) -> None:
    document = json.loads(json.dumps(to_json(machine)))
    assert next(iter(document)) == "schema"
    assert from_json(document) == machine
    assert digest(from_json(document)) == digest(machine)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(machines, st.data())
def test_whatever_is_put_into_it_is_read_or_refused(machine: Hardware, data: st.DataObject) -> None:
    """Any value at any place: never another exception than ours, and what is read can be written."""
    document = json.loads(json.dumps(to_json(machine)))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(json_values)
        break
    refusal = None
    try:
        found = from_json(document)
    except MalformedFile as error:
        refusal = error.message
    if refusal is None:
        assert from_json(to_json(found)) == found
    else:
        assert refusal.endswith(".")
        assert "\n" not in refusal


def least() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "system": "linux",
        "cpu": {"architecture": "x86_64", "logical": 4},
        "memory": {"total": 100, "available": 50},
    }


def test_who_writes_by_hand_may_leave_out_what_has_a_default() -> None:
    machine = from_json(least())
    assert (machine.cpu.threads, machine.memory.limits, machine.devices) == (4, (), ())
    assert machine.cpu.source == "given"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "slmctl.plan/1"}, "of another schema than slmctl.hardware/1"),
        ({"system": None}, "system is missing"),
        ({"cpu": {"architecture": "x86_64"}}, "cpu.logical is missing"),
        ({"cpu": {"architecture": "x86_64", "logical": 0}}, "cpu.logical is less than 1"),
        ({"cpu": {"architecture": "x86_64", "logical": True}}, "cpu.logical is no whole number"),
        ({"cpu": {"architecture": "x86_64", "logical": 4, "quota": 0}}, "cpu.quota is not above 0"),
        ({"cpu": {"architecture": "x86_64", "logical": 4, "cores": 4}}, "cpu.cores is no field"),
        ({"memory": {"total": 10, "available": 11}}, "memory.available is more than memory.total"),
        ({"memory": {"total": 1.5, "available": 1}}, "memory.total is no whole number"),
        ({"devices": [{"id": "gpu0"}]}, "devices[0].kind is missing"),
        ({"devices": {}}, "devices is no list"),
        ({"colour": "red"}, "colour is no field"),
        (
            {"speeds": [{"place": "cpu", "overhead": 0, "efficiency": 3, "basis": "prior"}]},
            "efficiency is not",
        ),
        ({"speeds": [{"place": "cpu", "overhead": 0, "efficiency": 1, "basis": "luck"}]}, "basis is none of"),
        (
            {"speeds": [{"place": "cpu", "overhead": -1e-13, "efficiency": 1, "basis": "prior"}]},
            "overhead is less than 0",
        ),
        (
            {"cpu": {"architecture": "x86_64", "logical": 4, "quota": 10**400}},
            "cpu.quota is not above 0 and at most 100000",
        ),
        ({"cpu": {"architecture": "x86_64", "logical": 4, "quota": float("nan")}}, "cpu.quota is no number"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(change: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedFile) as caught:
        from_json(least() | change)
    assert said in caught.value.message


@pytest.mark.parametrize("ids", [("gpu0", "gpu0"), ("host", "gpu0"), ("cpu", "gpu0")])
def test_ids_of_devices_are_pools_and_each_is_one(ids: tuple[str, ...]) -> None:
    devices = [{"id": each, "kind": "gpu", "vendor": "x", "name": "x"} for each in ids]
    with pytest.raises(MalformedFile, match="id of a device"):
        from_json(least() | {"devices": devices})
