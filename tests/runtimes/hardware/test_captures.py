"""What the probes make of captured machines (captures/README.md says where each is from)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource

from registry.errors import SlmctlError
from runtimes.hardware.document import from_json, to_json
from runtimes.hardware.machine import Hardware
from runtimes.hardware.probe import probe_system
from runtimes.hardware.tools import Answer
from tests.runtimes.hardware.captured import (
    NAMES,
    engine_folder,
    probed,
    read_capture,
    system_of,
    unpack,
)

MIB = 1 << 20
KIND = "; bandwidth: specifications of the kind"
SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.mark.parametrize("name", NAMES)
def test_every_machine_is_a_document_of_the_schema(name: str, root: Path) -> None:
    hardware = probed(name, root)
    document = json.loads(json.dumps(to_json(hardware)))
    assert from_json(document) == hardware
    schemas = [json.loads((SCHEMAS / each).read_text()) for each in ("hardware-1.json", "error-1.json")]
    registry = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in schemas)
    jsonschema.Draft202012Validator(schemas[0], registry=registry).validate(document)


# Memory and control groups


def limits(hardware: Hardware) -> list[tuple[int, int]]:
    return [(each.limit, each.usage) for each in hardware.memory.limits]


def test_a_private_namespace_shows_its_limits_at_the_mount(root: Path) -> None:
    """The path in /proc/self/cgroup is `/`, and the page cache that can go does not count as used."""
    hardware = probed("docker-v2", root)
    assert limits(hardware) == [(2048 * MIB, 60 * MIB)]
    assert hardware.memory.limits[0].source == "/sys/fs/cgroup/memory.max"
    assert (hardware.cpu.quota, hardware.cpu.threads, hardware.container) == (2.0, 2, "docker")
    assert hardware.memory.available == 61439904 * 1024


def test_all_groups_above_a_pod_count(root: Path) -> None:
    """The smallest limit is the pod's, not the container's; memory.high counts where it is below memory.max."""
    hardware = probed("kubernetes-v2", root)
    assert limits(hardware) == [
        (6442450944, 805306368),
        (4294967296, 1073741824 - 268435456),
        (31000000000, 6000000000),
    ]
    assert hardware.memory.limits[0].source.endswith("/cri-containerd-77aa.scope/memory.high")
    assert (hardware.cpu.quota, hardware.cpu.threads, hardware.container) == (3.5, 3, "kubernetes")


def test_a_v1_container_knows_of_a_limit_above_it_that_it_cannot_see(root: Path) -> None:
    """The mount's root is the container's own group, and its parent's limit is in memory.stat alone."""
    hardware = probed("docker-v1", root)
    assert limits(hardware) == [(2048 * MIB, 100 * MIB), (1024 * MIB, 100 * MIB)]
    assert hardware.memory.limits[1].source.endswith("hierarchical_memory_limit")
    assert (hardware.cpu.quota, hardware.cpu.threads) == (1.5, 1)
    assert (hardware.cpu.physical, hardware.cpu.logical) == (4, 8)


def test_no_limit_is_none_in_a_mixed_mount(root: Path) -> None:
    """The number that v1 shows for `no limit`, in the group and above it; v2 is mounted and has no memory."""
    hardware = probed("firecracker-hybrid", root)
    assert limits(hardware) == []
    assert hardware.cpu.quota is None
    assert hardware.cpu.physical == 2


def test_a_group_outside_of_the_mount_has_the_limits_of_the_mount(root: Path) -> None:
    hardware = probed("lxc-v2", root)
    assert limits(hardware) == [(3221225472, 104857600)]
    assert hardware.container == "lxc"


def test_a_limit_that_is_more_than_the_machine_has_is_none(root: Path) -> None:
    capture = read_capture("docker-v2")
    capture.files["sys/fs/cgroup/memory.max"] = b"99999999999999\n"
    unpack(capture, root)
    assert probe_system(system_of(capture, root), folders=[]).memory.limits == ()


def test_where_the_kernel_does_not_say_what_is_available_it_is_counted(root: Path) -> None:
    capture = read_capture("docker-v2")
    capture.files["proc/meminfo"] = (
        b"MemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 300 kB\nShmem: 50 kB\n"
    )
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[])
    assert hardware.memory.available == 370 * 1024
    assert any("MemAvailable" in note for note in hardware.notes)


# Processors


def test_a_pi_has_dotprod_and_its_wheel_does_not_use_it(root: Path) -> None:
    hardware = probed("raspberry-pi-5", root)
    assert hardware.cpu.model == "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.1)"
    assert hardware.cpu.features == ("dotprod", "fp16", "neon")
    (engine,) = [each for each in hardware.engines if each.installed]
    assert engine.features == ("neon",)
    assert engine.note == (
        "it leaves dotprod unused, which costs about 35 % of decoding and about 70 % of reading prompts."
    )
    assert ("a build of llama.cpp for all of this CPU", XLLAMACPP_FROM_SOURCE) in hardware.missing


XLLAMACPP_FROM_SOURCE = "pip install xllamacpp --force-reinstall --no-binary xllamacpp"


def test_the_fast_cores_of_a_big_little_system_decode(root: Path) -> None:
    hardware = probed("rock-5b", root)
    assert (hardware.cpu.logical, hardware.cpu.performance, hardware.cpu.threads) == (8, 4, 4)


def test_the_performance_cores_of_an_intel_hybrid_decode(root: Path) -> None:
    hardware = probed("intel-core-ultra-258v", root)
    assert (hardware.cpu.physical, hardware.cpu.performance, hardware.cpu.threads) == (8, 4, 4)


def test_affinity_counts_in_cores(root: Path) -> None:
    """Four CPUs that are two cores decode with two threads."""
    capture = read_capture("docker-v1")
    capture.facts["affinity"] = "0-1,4-5"
    del capture.files["sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"]
    unpack(capture, root)
    cpu = probe_system(system_of(capture, root), folders=[]).cpu
    assert (cpu.logical, cpu.affinity, cpu.physical, cpu.threads) == (8, 4, 2, 2)


def test_two_sockets_are_two_nodes(root: Path) -> None:
    cpu = probed("nvidia-h100-mig", root).cpu
    assert (cpu.numa_nodes, cpu.logical) == (2, 224)
    assert {"amxint8", "avx512bf16", "avxvnni"} <= set(cpu.features)


def test_a_cpu_without_avx2_is_told_that_the_wheel_cannot_run(root: Path) -> None:
    hardware = probed("celeron-j4125", root)
    assert hardware.cpu.features == ("sse3", "sse41", "sse42", "ssse3")
    engine = hardware.engine("llama.cpp")
    assert engine is not None
    assert (engine.installed, engine.apis) == (True, ())
    assert engine.note == (
        "its build has instructions that this CPU does not have (avx, avx2, bmi2, f16c, fma), and cannot run."
    )
    assert hardware.missing == (("a build of llama.cpp that this CPU can run", XLLAMACPP_FROM_SOURCE),)


def test_a_wheel_that_was_never_asked_is_known_not_to_run_there(root: Path) -> None:
    capture = read_capture("celeron-j4125")
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[engine_folder(root)], ask=False)
    assert hardware.engines[0].apis == ()
    assert hardware.missing == (("a build of llama.cpp that this CPU can run", XLLAMACPP_FROM_SOURCE),)


def test_an_engine_that_does_not_answer_is_taken_for_its_wheel(root: Path) -> None:
    """A slow disk is no reason to run nothing."""
    capture = read_capture("firecracker-hybrid")
    capture.answers["inspect"] = ""
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[engine_folder(root)])
    engine = hardware.engines[0]
    assert engine.apis == ("cpu",)
    assert engine.features == ("avx", "avx2", "bmi2", "f16c", "fma", "sse3", "ssse3")
    assert any("llama.cpp: it could not be asked" in note for note in hardware.notes)


def test_a_translated_process_has_no_instruction_sets_of_its_own(root: Path) -> None:
    hardware = probed("docker-amd64-on-apple", root)
    assert (hardware.emulated, hardware.cpu.features) == ("rosetta", ())
    assert any("rosetta" in note for note in hardware.notes)


# GPUs


def test_an_nvidia_gpu_that_the_engine_sees(root: Path) -> None:
    hardware = probed("nvidia-rtx-3060", root)
    (gpu,) = hardware.devices
    assert (gpu.id, gpu.name, gpu.capability) == ("gpu0", "NVIDIA GeForce RTX 3060", "8.6")
    assert (gpu.total, gpu.free, gpu.unified) == (12288 * MIB, 11524 * MIB, False)
    engine = hardware.engine("llama.cpp")
    assert engine is not None
    assert (engine.apis, engine.devices) == (("cpu", "cuda"), ("gpu0",))
    assert hardware.missing == ()


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ('{"problem": "Driver/library version mismatch"}', None),
        ("Traceback (most recent call last):", None),
        ("", None),
    ],
)
def test_nvidia_smi_stands_in_for_nvml(root: Path, answer: str, note: str | None) -> None:
    capture = read_capture("nvidia-rtx-3060")
    capture.answers["nvml"] = answer
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[engine_folder(root)])
    expected = probed("nvidia-rtx-3060", root.parent / "other").devices
    source = "nvidia-smi; bandwidth: specifications of the kind"
    assert hardware.devices == tuple(replace(each, source=source, bandwidth=360 * 10**9) for each in expected)
    assert hardware.notes == ()


def test_where_neither_answers_there_is_a_note(root: Path) -> None:
    capture = read_capture("nvidia-rtx-3060")
    capture.answers.clear()
    unpack(capture, root)
    asked: list[str] = []

    def hang(argv: Sequence[str], *, seconds: float = 3.0, with_errors: bool = False) -> Answer:
        asked.append(argv[0])
        return Answer(problem="python did not answer within 5 s", hangs=True)

    hanging = replace(
        system_of(capture, root),
        run=hang,
    )
    hardware = probe_system(hanging, folders=[])
    assert hardware.devices == ()
    assert "nvidia-smi" not in asked, "it would hang in the same driver, for as long again"
    assert hardware.notes == (
        "NVIDIA's driver did not say which GPUs it has (python did not answer within 5 s), nor did nvidia-smi.",
    )


def test_a_card_in_slices_is_its_slices(root: Path) -> None:
    hardware = probed("nvidia-h100-mig", root)
    assert [(each.id, each.name, each.total) for each in hardware.devices] == [
        ("gpu0", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10334765056),
        ("gpu1", "NVIDIA H100 80GB HBM3 MIG 3g.40gb", 42143318016),
    ]
    assert all(each.uuid and each.uuid.startswith("MIG-") for each in hardware.devices)


def test_bandwidths_of_cards_are_those_of_their_data_sheets(root: Path) -> None:
    """Computed of the memory's width and clock; a slice has its share."""
    (card,) = probed("nvidia-rtx-3060", root).devices
    assert card.bandwidth == 360_048_000_000
    slices = probed("nvidia-h100-mig", root.parent / "mig").devices
    assert [round((each.bandwidth or 0) / 1e9) for each in slices] == [405, 1652]
    (radeon,) = probed("amd-rx-7900-xt", root.parent / "radeon").devices
    assert radeon.bandwidth == 799_360_000_000


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("wsl2-rtx-4090", 1008),
        ("jetson-orin-nano", 102),
        ("amd-strix-halo", 256),
        ("intel-core-ultra-258v", 136.5),
        ("intel-arc-b580", 456),
        ("apple-m1", 68.3),
        ("snapdragon-x-elite", 135),
    ],
)
def test_bandwidths_that_nobody_says_are_of_the_kind(name: str, gigabytes: float, root: Path) -> None:
    gpu = probed(name, root).devices[0]
    assert gpu.bandwidth == round(gigabytes * 1e9)
    assert gpu.source.endswith("; bandwidth: specifications of the kind")


def test_slices_by_nvidia_smi_have_about_their_size(root: Path) -> None:
    capture = read_capture("nvidia-h100-mig")
    del capture.answers["nvml"]
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[])
    assert [(each.total, each.free) for each in hardware.devices] == [(10**10, None), (4 * 10**10, None)]
    assert [each.uuid for each in hardware.devices] == [
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
    ]


def test_one_slice_may_be_all_that_is_visible(root: Path) -> None:
    capture = read_capture("nvidia-h100-mig")
    capture.facts["environment"] = "CUDA_VISIBLE_DEVICES=MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb"
    unpack(capture, root)
    (device,) = probe_system(system_of(capture, root), folders=[]).devices
    assert device.total == 42143318016


def test_a_driver_without_its_devices_in_a_container(root: Path) -> None:
    hardware = probed("nvidia-container-without-devices", root)
    assert hardware.devices == ()
    assert hardware.missing[0][1].startswith("docker run --gpus all")
    assert hardware.notes == ("NVIDIA's driver is loaded, but this container has no /dev/nvidiactl.",)


def test_wsl2_has_cuda_and_no_vulkan(root: Path) -> None:
    hardware = probed("wsl2-rtx-4090", root)
    assert hardware.container == "wsl2"
    assert [(each.apis, each.driver) for each in hardware.devices] == [(("cuda",), "572.83")]


def test_a_jetson_shares_its_memory(root: Path) -> None:
    hardware = probed("jetson-orin-nano", root)
    (gpu,) = hardware.devices
    assert (gpu.unified, gpu.total, gpu.free, gpu.capability) == (True, None, None, "8.7")
    assert (gpu.apis, gpu.driver) == (("cuda",), "Jetson Linux 36.4.3")
    assert hardware.memory.available == 5325 * MIB
    assert hardware.missing[0][1].startswith("CMAKE_ARGS=-DGGML_CUDA=ON ")


def test_an_amd_card_has_memory_of_its_own_and_the_processors_gpu_is_left_out(root: Path) -> None:
    hardware = probed("amd-rx-7900-xt", root)
    (gpu,) = hardware.devices
    assert (gpu.capability, gpu.apis, gpu.address) == ("gfx1100", ("rocm", "vulkan"), "0000:03:00.0")
    assert (gpu.total, gpu.free) == (20464 * MIB, 20464 * MIB - 985661440)
    assert any("gfx1036" in note for note in hardware.notes)


def test_the_gpu_in_a_processor_of_amds_never_adds_to_the_memory(root: Path) -> None:
    hardware = probed("amd-strix-halo", root)
    gpu, npu = hardware.devices
    assert (gpu.unified, gpu.total, gpu.free, gpu.working_set) == (True, None, None, 63750 * MIB)
    assert (gpu.capability, gpu.apis[0]) == ("gfx1151", "vulkan")
    assert (npu.id, npu.kind, npu.vendor) == ("npu0", "npu", "amd")


def test_a_large_carved_out_piece_is_the_gpus_own(root: Path) -> None:
    """96 GiB for the GPU, set in the firmware: the host's total is without it."""
    capture = read_capture("amd-strix-halo")
    folder = "sys/devices/pci0000:00/0000:c6:00.0"
    capture.files[f"{folder}/mem_info_vram_total"] = b"103079215104\n"
    capture.files[f"{folder}/mem_info_gtt_total"] = b"16106127360\n"
    unpack(capture, root)
    gpu = probe_system(system_of(capture, root), folders=[]).devices[0]
    assert (gpu.unified, gpu.total, gpu.free) == (False, 103079215104, 103079215104 - 180355072)


def test_without_render_nodes_there_is_no_gpu_here(root: Path) -> None:
    capture = read_capture("amd-rx-7900-xt")
    capture.files = {path: data for path, data in capture.files.items() if not path.startswith("dev/dri/")}
    unpack(capture, root)
    hardware = probe_system(system_of(capture, root), folders=[])
    assert hardware.devices == ()
    assert any(command == "docker run --device /dev/dri" for _, command in hardware.missing)


def test_an_intel_laptop_has_a_gpu_and_an_npu_without_memory(root: Path) -> None:
    gpu, npu = probed("intel-core-ultra-258v", root).devices
    assert (gpu.name, gpu.unified, gpu.total, gpu.driver) == ("Intel Arc 140V", True, None, "xe")
    assert (npu.id, npu.kind, npu.apis, npu.driver) == ("npu0", "npu", ("openvino",), "intel_vpu")


def test_a_card_of_intels_is_measured_by_its_window_and_the_engine_says_what_is_free(root: Path) -> None:
    hardware = probed("intel-arc-b580", root)
    (gpu,) = hardware.devices
    assert (gpu.name, gpu.unified, gpu.total, gpu.free) == ("Intel Arc B580", False, 12 << 30, 11596201984)
    engine = hardware.engine("llama.cpp")
    assert engine is not None
    assert (engine.apis, engine.devices) == (("cpu", "vulkan"), ("gpu0",))


def test_without_resizable_bar_a_cards_memory_is_not_known(root: Path) -> None:
    capture = read_capture("intel-arc-b580")
    capture.files["sys/devices/pci0000:00/0000:03:00.0/resource"] = (
        b"0x83000000 0x83ffffff 0x140204\n0x0 0x0 0x0\n0x4000000000 0x400fffffff 0x14220c\n"
    )
    unpack(capture, root)
    (gpu,) = probe_system(system_of(capture, root), folders=[]).devices
    assert (gpu.total, gpu.free) == (None, None)
    assert gpu.note is not None
    assert "Resizable BAR" in gpu.note


def test_a_snapdragon_has_a_gpu_and_an_npu(root: Path) -> None:
    hardware = probed("snapdragon-x-elite", root)
    assert hardware.cpu.features == ("bf16", "dotprod", "fp16", "i8mm", "neon")
    assert [(each.name, each.apis) for each in hardware.devices] == [
        ("Adreno", ("vulkan", "opencl")),
        ("Hexagon NPU", ("qnn",)),
    ]


# Macs


def test_metal_says_how_much_of_the_memory_it_may_use(root: Path) -> None:
    hardware = probed("apple-m1", root)
    (gpu,) = hardware.devices
    assert (gpu.apis, gpu.unified, gpu.working_set) == (("metal",), True, 5726633984)
    assert "llama.cpp's MTL0" in gpu.source
    assert (hardware.system, hardware.cpu.architecture, hardware.cpu.threads) == ("darwin", "aarch64", 4)
    assert hardware.cpu.features == ("dotprod", "fp16", "neon")
    assert hardware.memory.available == (41234 + 148000 + 2000) * 16384


def test_without_the_engine_a_table_does(root: Path) -> None:
    capture = read_capture("apple-m1")
    unpack(capture, root)
    (gpu,) = probe_system(system_of(capture, root), folders=[]).devices
    assert gpu.working_set == 5461 * MIB


def test_a_raised_limit_of_wired_memory_counts(root: Path) -> None:
    capture = read_capture("apple-m1")
    capture.answers["sysctl"] = capture.answers["sysctl"].replace("limit_mb: 0", "limit_mb: 7000")
    unpack(capture, root)
    (gpu,) = probe_system(system_of(capture, root), folders=[]).devices
    assert (gpu.working_set, gpu.source) == (7000 * MIB, f"iogpu.wired_limit_mb{KIND}")


def test_under_rosetta_there_is_neither_metal_nor_avx(root: Path) -> None:
    hardware = probed("apple-m3-max-rosetta", root)
    assert (hardware.emulated, hardware.devices, hardware.cpu.features) == ("rosetta", (), ())
    assert hardware.missing[0][0].startswith("Metal")


def test_a_mac_of_intels_has_no_metal(root: Path) -> None:
    hardware = probed("apple-intel-mac", root)
    assert (hardware.devices, hardware.cpu.architecture) == ((), "x86_64")
    assert {"avx2", "fma", "f16c", "bmi2"} <= set(hardware.cpu.features)


# Whatever they say


def test_a_machine_that_says_nothing_is_a_machine(root: Path) -> None:
    root.mkdir()
    for platform, machine in (("linux", "x86_64"), ("linux", "riscv64"), ("darwin", "arm64")):
        system = replace(
            system_of(read_capture("docker-v2"), root), platform=platform, machine=machine, affinity=None
        )
        hardware = probe_system(system, folders=[])
        assert hardware.memory.total == 0
        assert hardware.cpu.threads == 1
        assert hardware.notes
        assert from_json(to_json(hardware)) == hardware


@pytest.mark.parametrize("name", NAMES)
def test_cut_anywhere_it_is_still_a_machine(name: str, tmp_path: Path) -> None:
    """Every file and every answer of every machine, cut after each of its lines and in the middle of one."""
    capture = read_capture(name)
    root = tmp_path / "root"
    unpack(capture, root)
    folders = [engine_folder(root)] if "inspect" in capture.answers else []
    cuts = 0
    for path, data in capture.files.items():
        for end in _cuts(data):
            (root / path).write_bytes(data[:end])
            _check(probe_system(system_of(capture, root), folders=folders), f"{path} cut at {end}")
            cuts += 1
        (root / path).write_bytes(data)
    for command, text in list(capture.answers.items()):
        for end in _cuts(text.encode()):
            capture.answers[command] = text.encode()[:end].decode()
            _check(probe_system(system_of(capture, root), folders=folders), f"{command} cut at {end}")
            cuts += 1
        capture.answers[command] = text
    assert cuts > len(capture.files)


def _longer(data: bytes) -> bytes:
    return data.replace(b"\n", b"x" * 3000 + b"\n")


def _larger(data: bytes) -> bytes:
    return re.sub(rb"[0-9]+", b"9" * 40, data)


def _negative(data: bytes) -> bytes:
    return re.sub(rb"[0-9]+", b"-1", data)


def _binary(data: bytes) -> bytes:
    return bytes(byte ^ 0x80 for byte in data)


@pytest.mark.parametrize("change", [_longer, _larger, _negative, _binary])
@pytest.mark.parametrize("name", NAMES)
def test_of_odd_content_it_is_still_a_machine(
    name: str, change: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Every file and every answer by itself: long lines, numbers that no machine has, bytes that are no text."""
    capture = read_capture(name)
    root = tmp_path / "root"
    unpack(capture, root)
    folders = [engine_folder(root)] if "inspect" in capture.answers else []
    for path, data in capture.files.items():
        (root / path).write_bytes(change(data))
        _check(probe_system(system_of(capture, root), folders=folders), path)
        (root / path).write_bytes(data)
    for command, text in list(capture.answers.items()):
        capture.answers[command] = change(text.encode()).decode(errors="replace")
        _check(probe_system(system_of(capture, root), folders=folders), command)
        capture.answers[command] = text


def _cuts(data: bytes) -> list[int]:
    """After each line, before its last byte, and in its middle."""
    ends, start = {0}, 0
    for line in data.splitlines(keepends=True):
        ends |= {start + len(line) // 2, start + len(line) - 1, start + len(line)}
        start += len(line)
    return sorted(end for end in ends if end >= 0)


def _check(hardware: Hardware, what: str) -> None:
    try:
        assert from_json(to_json(hardware)) == hardware, what
    except SlmctlError as error:
        raise AssertionError(f"{what}: {error.message}") from None
    assert hardware.cpu.threads >= 1, what
