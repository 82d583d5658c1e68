"""The machines that ship: all there, each figure with a source, and the budgets of fit.md 6.8."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from registry.errors import MalformedFile, UsageError
from runtimes.hardware.document import to_json
from runtimes.hardware.profiles import profile, profile_names
from runtimes.hardware.unused import what_is_unused
from runtimes.planning.budget import device_budget, host_budget

MIB = 1 << 20

EXPECTED = [
    "raspberry-pi-5-8gb",
    "vps-2cpu-4gb",
    "container-2gb",
    "container-v1-1gb",
    "ryzen-7950x-64gb",
    "epyc-2s-256gb",
    "celeron-sse42",
    "board-512mb",
    "jetson-orin-nano-8gb",
    "rtx-3060-12gb",
    "rtx-4090-24gb",
    "h100-80gb",
    "h100-mig-1g10gb",
    "laptop-rtx-3050-4gb",
    "gtx-1050ti-4gb",
    "macbook-air-m1-8gb",
    "macbook-pro-m3-max-64gb",
    "snapdragon-x-elite-16gb",
    "core-ultra-258v-32gb",
    "core-ultra-155h-16gb",
    "strix-halo-128gb",
    "rx-7900xt-20gb",
    "server-cpu-4c-8gb",
]


def test_all_are_there() -> None:
    assert profile_names() == tuple(sorted(EXPECTED))


@pytest.mark.parametrize("name", EXPECTED)
def test_each_says_where_its_figures_are_from(name: str) -> None:
    machine = profile(name)
    assert machine.name == name
    assert len(machine.sources) >= 2
    sources = [machine.cpu.source, machine.memory.source]
    sources += [each.source for each in machine.devices]
    sources += [each.source for each in machine.engines]
    sources += [each.source for each in machine.speeds]
    assert "given" not in sources
    assert machine.disk_free is None
    assert machine.memory.bandwidth is not None
    assert not machine.memory.bandwidth_measured


@pytest.mark.parametrize("name", EXPECTED)
def test_each_has_an_engine_that_says_what_it_leaves_unused(name: str) -> None:
    machine = profile(name)
    engine = machine.engine("llama.cpp")
    assert engine is not None
    assert engine.installed
    assert engine.features is not None
    assert set(engine.features) <= set(machine.cpu.features), "a build that the CPU cannot run"
    unused = what_is_unused(machine.cpu, engine.features)
    assert engine.note == (unused.sentence if unused else None)
    assert set(engine.devices or ()) <= {device.id for device in machine.devices}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_engine_uses_the_gpu_and_its_speed_is_known(name: str) -> None:
    """fit.md 6.8 presumes builds for the GPU; 4.1 wants overhead and efficiency for each place."""
    machine = profile(name)
    places = {speed.place for speed in machine.speeds if speed.engine == "llama.cpp"}
    assert "cpu" in places or machine.system == "darwin"
    for device in machine.devices:
        if device.kind == "gpu" and device.vendor != "qualcomm":
            engine = machine.engine("llama.cpp")
            assert engine is not None
            assert device.id in (engine.devices or ())
            assert set(device.apis) & set(engine.apis)
            assert device.id in places
            assert device.bandwidth is not None


HOST_BUDGETS = [
    ("raspberry-pi-5-8gb", 6294, 4),
    ("vps-2cpu-4gb", 2900, 2),
    ("container-2gb", 1783, 2),
    ("container-v1-1gb", 896, 1),
    ("jetson-orin-nano-8gb", 4563, 6),
    ("macbook-air-m1-8gb", 4301, 4),
    ("snapdragon-x-elite-16gb", 8962, 12),
    ("core-ultra-258v-32gb", 12000, 4),
]


@pytest.mark.parametrize(("name", "mib", "threads"), HOST_BUDGETS)
def test_budgets_of_hosts_are_those_of_the_scenarios(name: str, mib: int, threads: int) -> None:
    """fit.md 6.8, which computes in whole MiB: a reserve of 819.2 MiB is 819 there."""
    machine = profile(name)
    assert abs(host_budget(machine).bytes - mib * MIB) < MIB
    assert machine.cpu.threads == threads


DEVICE_BUDGETS = [
    ("rtx-3060-12gb", 10500),
    ("rtx-4090-24gb", 22500),
    ("laptop-rtx-3050-4gb", 3300),
    ("rx-7900xt-20gb", 18500),
    ("jetson-orin-nano-8gb", 4563),
    ("macbook-air-m1-8gb", 4301),
]


@pytest.mark.parametrize(("name", "mib"), DEVICE_BUDGETS)
def test_budgets_of_devices_are_those_of_the_scenarios(name: str, mib: int) -> None:
    machine = profile(name)
    assert abs(device_budget(machine.devices[0], machine).bytes - mib * MIB) < MIB


def test_a_file_is_a_profile_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    document = to_json(profile("vps-2cpu-4gb")) | {"name": None}
    path.write_text(json.dumps(document))
    assert profile(str(path)).name == "mine"
    assert profile(str(path)).memory == profile("vps-2cpu-4gb").memory


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("rtx-4090", "rtx-4090-24gb"),
        ("raspbery-pi-5-8gb", "raspberry-pi-5-8gb"),
        ("M1", "macbook-air-m1-8gb"),
    ],
)
def test_a_wrong_name_has_a_near_one(given: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        profile(given)
    assert caught.value.hint is not None
    assert repr(near) in caught.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'"x"', b"\xff", b"[" * 100_000, b'{"schema": 1}']
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(MalformedFile) as caught:
        profile(str(path))
    assert caught.value.hint
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("given", ["./nowhere.json", "/", "a\0.json"])
def test_a_file_that_cannot_be_read_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        profile(given)


def test_a_file_is_not_read_beyond_what_a_profile_may_have(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    path.write_bytes(b" " * (1 << 21))
    with pytest.raises(MalformedFile, match="longer than 1 MiB"):
        profile(str(path))


def test_nobody_waits_for_a_pipe_or_a_device(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    for given in (str(pipe), "/dev/zero"):
        with pytest.raises(UsageError, match="no regular file"):
            profile(given)
