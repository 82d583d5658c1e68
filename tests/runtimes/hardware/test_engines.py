"""What is known of engines: the real one's own words, its cache, and devices that it sees."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from runtimes.hardware.cache import Cache
from runtimes.hardware.findings import Findings
from runtimes.hardware.known_engines import WHEEL_FEATURES
from runtimes.hardware.machine import Cpu, Device, EngineBuild
from runtimes.hardware.matching import matched
from runtimes.hardware.parse_llamacpp import SeenDevice
from runtimes.hardware.probe import probe
from runtimes.hardware.probe_engines import probe_engines
from runtimes.hardware.system import System, this_system
from runtimes.hardware.tools import TOOL_SECONDS, Answer
from runtimes.hardware.unused import counted, what_is_unused

MACHINE = os.uname().machine
CPU = Cpu(
    model="x", architecture=MACHINE, features=WHEEL_FEATURES.get(MACHINE, ()), logical=1, source="a test"
)
GIB = 1 << 30


class Counting:
    """This machine, which counts what is started."""

    def __init__(self) -> None:
        self.system = this_system(os.environ)
        self.started: list[str] = []

    def looked_at(self) -> System:
        return replace(self.system, run=self._run)

    def _run(
        self, argv: Sequence[str], *, seconds: float = TOOL_SECONDS, with_errors: bool = False
    ) -> Answer:
        self.started.append(argv[-1])
        return self.system.run(argv, seconds=seconds, with_errors=with_errors)


def llama_cpp(engines: Sequence[EngineBuild]) -> EngineBuild:
    return next(each for each in engines if each.name == "llama.cpp")


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels for macOS are made for each Mac's own CPU")
def test_the_wheel_says_what_it_was_made_for(tmp_path: Path) -> None:
    """The real engine, asked in a child; what `run` presumes before it was asked is what it says."""
    cache = Cache(folder=tmp_path / "cache", machine="m")
    counting = Counting()
    engine = llama_cpp(probe_engines(counting.looked_at(), CPU, Findings(), cache=cache))
    assert (engine.installed, engine.version) == (True, metadata.version("xllamacpp"))
    assert "cpu" in engine.apis
    machine = counting.system.machine
    assert engine.features is not None
    if engine.apis == ("cpu",):
        assert set(engine.features) == set(WHEEL_FEATURES[machine])
    assert [Path(each).name for each in counting.started].count("llamacpp_inspect.py") == 1


def test_it_is_asked_once(tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path / "cache", machine="m")
    counting = Counting()
    first = probe_engines(counting.looked_at(), CPU, Findings(), cache=cache)
    before = len(counting.started)
    assert probe_engines(counting.looked_at(), CPU, Findings(), cache=cache) == first
    assert len(counting.started) == before


def test_another_gpu_another_driver_or_another_cpu_is_asked_about(tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path / "cache", machine="m")
    counting = Counting()
    card = Device(
        id="gpu0",
        kind="gpu",
        vendor="nvidia",
        name="A",
        apis=("cuda",),
        total=GIB,
        free=GIB,
        driver="1",
        source="t",
    )
    for devices in ([], [card], [replace(card, driver="2")]):
        before = len(counting.started)
        probe_engines(counting.looked_at(), CPU, Findings(devices=list(devices)), cache=cache)
        assert len(counting.started) > before
    before = len(counting.started)
    probe_engines(counting.looked_at(), replace(CPU, model="y"), Findings(), cache=cache)
    assert len(counting.started) > before


def test_without_asking_nothing_is_started(tmp_path: Path) -> None:
    counting = Counting()
    cache = Cache(folder=tmp_path, machine="m")
    engine = llama_cpp(probe_engines(counting.looked_at(), CPU, Findings(), cache=cache, ask=False))
    assert counting.started == []
    assert engine.installed
    assert "cpu" in engine.apis


def test_a_cache_of_rubbish_is_none(tmp_path: Path) -> None:
    cache = Cache(folder=tmp_path, machine="m")
    for content in (b"", b"{", b"[]", b'{"key": 1, "text": 2}', b'{"key": [], "text": null}', b"\xff"):
        (tmp_path / "m-x.json").write_bytes(content)
        assert cache.text("x", ["k"]) is None
    cache.keep("x", ["k", "l"], "t")
    assert cache.text("x", ["k", "l"]) == "t"
    assert cache.text("x", ["k"]) is None
    assert cache.text_beginning("x", ["k"]) == "t"
    assert [path.name for path in tmp_path.iterdir()] == ["m-x.json"]


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(folder=tmp_path / "file" / "cache", machine="m")
    cache.keep("x", ["k"], "t")
    assert cache.text("x", ["k"]) is None


def test_this_machine_twice_is_the_same_but_for_what_is_free(tmp_path: Path) -> None:
    first = probe(environment=os.environ, cache_folder=tmp_path, store=tmp_path / "not" / "there")
    second = probe(environment=os.environ, cache_folder=tmp_path, store=tmp_path, quick=True)
    assert second.cpu == first.cpu
    assert second.engines == first.engines
    assert second.memory.total == first.memory.total
    assert second.memory.bandwidth == first.memory.bandwidth
    assert first.disk_free
    assert first.memory.available <= first.memory.total


def test_a_llama_server_on_the_path_is_asked(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "--version) echo 'version: 9128 (856c3adac)' >&2 ;;\n"
        "--list-devices) echo 'Available devices:'; echo '  Vulkan0: Some GPU (8192 MiB, 8000 MiB free)' ;;\n"
        "esac\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    system = this_system({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    findings = Findings()
    cache = Cache(folder=None, machine="m")
    engines = probe_engines(system, CPU, findings, cache=cache, folders=[])
    server = next(each for each in engines if each.name == "llama-server")
    assert (server.version, server.apis, server.devices) == ("b9128", ("cpu", "vulkan"), ("gpu0",))
    (device,) = findings.devices
    assert (device.name, device.total, device.free) == ("Some GPU", 8192 << 20, 8000 << 20)


def test_packages_are_seen_without_being_imported(tmp_path: Path) -> None:
    for name in ("mlx_lm-0.30.0", "mlx-0.30.1", "onnxruntime_genai_cuda-0.11.2", "vllm-0.14.0+cpu"):
        (tmp_path / f"{name}.dist-info").mkdir()
    engines = {
        each.name: each
        for each in probe_engines(
            this_system(os.environ),
            CPU,
            Findings(),
            cache=Cache(folder=None, machine="m"),
            folders=[str(tmp_path)],
        )
    }
    assert (engines["mlx"].installed, engines["mlx"].version) == (True, "0.30.0")
    assert engines["onnxruntime-genai"].apis == ("cpu", "cuda")
    assert engines["vllm"].apis == ("cpu",)
    assert not engines["llama.cpp"].installed
    assert engines["llama.cpp"].install == "pip install xllamacpp"
    assert not {"mlx", "vllm", "xllamacpp", "pynvml"} & sys.modules.keys()


# Which device is which


def device(number: int, **fields: object) -> Device:
    values: dict[str, object] = {
        "id": f"gpu{number}",
        "kind": "gpu",
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 3060",
        "apis": ("cuda", "vulkan"),
        "total": 12 * GIB,
        "free": 11 * GIB,
        "source": "a test",
    }
    return Device(**(values | fields))  # type: ignore[arg-type]


def seen(name: str, **fields: object) -> SeenDevice:
    values: dict[str, object] = {
        "name": name,
        "api": "cuda",
        "description": "NVIDIA GeForce RTX 3060",
        "total": 12 * GIB,
        "free": 11 * GIB,
        "kind": 1,
    }
    return SeenDevice(**(values | fields))  # type: ignore[arg-type]


def test_the_engines_order_counts() -> None:
    """CUDA numbers from the fastest GPU, PCI by slots."""
    slow, fast = (
        device(0, name="NVIDIA T400", total=4 * GIB, address="0000:01:00.0"),
        device(1, address="0000:02:00.0"),
    )
    found = matched(
        [slow, fast],
        [
            seen("CUDA0", address="00000000:02:00.0"),
            seen("CUDA1", description="NVIDIA T400", total=4 * GIB, address="0000:01:00.0"),
        ],
    )
    assert found.ids == ("gpu1", "gpu0")
    assert found.devices == (slow, fast)


def test_without_addresses_name_and_size_tell() -> None:
    devices = [device(0, name="NVIDIA T400", total=4 * GIB), device(1)]
    assert matched(devices, [seen("CUDA0"), seen("CUDA1", description="NVIDIA T400", total=4 * GIB)]).ids == (
        "gpu1",
        "gpu0",
    )


def test_two_alike_are_two() -> None:
    assert matched([device(0), device(1)], [seen("CUDA0"), seen("CUDA1")]).ids == ("gpu0", "gpu1")


def test_slices_of_one_card_are_told_by_their_size() -> None:
    slices = [
        device(0, total=10 * GIB, address="0000:18:00.0"),
        device(1, total=40 * GIB, address="0000:18:00.0"),
    ]
    assert matched(slices, [seen("CUDA0", total=40 * GIB, address="0000:18:00.0")]).ids == ("gpu1",)


def test_what_only_the_engine_sees_is_added_and_a_software_renderer_is_none() -> None:
    found = matched(
        [],
        [
            seen("Vulkan0", api="vulkan", description="llvmpipe (LLVM 19.1.1, 256 bits)", kind=2),
            seen("Vulkan1", api="vulkan", description="Mali-G610 (Panfrost)", kind=2),
            seen("RPC0", api=None, description="10.0.0.7:50052"),
        ],
    )
    assert found.ids == ("gpu0",)
    (mali,) = found.devices
    assert (mali.name, mali.unified, mali.free) == ("Mali-G610 (Panfrost)", True, None)


# What a build leaves unused


def cpu(*features: str) -> Cpu:
    return replace(CPU, features=tuple(sorted(features)))


def test_a_build_that_uses_all_costs_nothing() -> None:
    assert what_is_unused(cpu("avx2", "fma"), ("avx2", "fma")) is None
    assert what_is_unused(cpu("avx512f"), None) is None, "it picks by itself"
    assert what_is_unused(cpu("neon", "fp16"), ("neon",)) is None, "ggml has no kernels that would gain"


def test_the_worst_of_several_counts() -> None:
    found = what_is_unused(cpu("neon", "dotprod", "i8mm"), ("neon",))
    assert found is not None
    assert found.features == ("dotprod", "i8mm")
    assert (found.decode, found.prefill) == (0.65, 0.30)
    assert "23358" in found.source


def test_a_rule_that_the_build_meets_in_part_is_met() -> None:
    assert what_is_unused(cpu("avx512f", "avx512vnni"), ("avx512f", "avx512vnni")) is None


def test_what_counts_is_in_the_build_and_in_the_cpu() -> None:
    engine = EngineBuild(name="llama.cpp", installed=True, features=("avx2", "fma"), source="a test")
    assert counted(cpu("avx2", "avx512f"), engine) == {"avx2"}
    assert counted(cpu("avx2", "avx512f"), replace(engine, features=None)) == {"avx2", "avx512f"}
