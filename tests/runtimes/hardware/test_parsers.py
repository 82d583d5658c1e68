"""Laws of the pure parsers: whatever the text, they give a value; and what they are for."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.hardware import (
    bandwidths,
    parse_apple,
    parse_container,
    parse_cpu,
    parse_drm,
    parse_llamacpp,
    parse_memory,
    parse_nvidia,
)
from runtimes.hardware.parse_memory import Hierarchy
from runtimes.hardware.parse_nvidia import NvidiaGpu

anything = st.text(max_size=200)
lines = st.lists(
    st.sampled_from(
        [
            "MemTotal:  100 kB",
            "MemAvailable: x kB",
            "0::/a/b",
            "4:memory:/x",
            "::",
            "1 2 0:3 / /sys/fs/cgroup rw - cgroup2 c rw",
            "1 2 0:3 /r /m rw shared:1 - cgroup cgroup rw,memory",
            "1 2 - cgroup",
            "inactive_file 12",
            "processor : 0",
            "CPU part : 0xd0b",
            "CPU implementer : zz",
            "flags : avx2 fma",
            "GPU 0: X (UUID: GPU-1)",
            "  MIG 1g.10gb     Device  0: (UUID: MIG-1)",
            "GPU-1, X, 10, 5, 570, 00000000:01:00.0, 8.6, Enabled",
            "GPU-1, X, [N/A], , 570, 0000",
            "0x1 0x2 0x3",
            "gfx_target_version 110000",
            "location_id 768",
            "hw.memsize: 8589934592",
            "Pages free: 12.",
            "(page size of 16384 bytes)",
            "CPU : AVX = 1 | AVX2 = 0 |",
            "  CUDA0: X (10 MiB, 5 MiB free)",
            "",
        ]
    )
    | anything,
    max_size=12,
).map("\n".join)


@given(lines)
def test_any_text_has_a_value(text: str) -> None:
    memory = parse_memory.meminfo(text)
    parse_memory.available(memory)
    members = parse_memory.memberships(text)
    for hierarchy in parse_memory.hierarchies(text):
        for group in (*members.values(), text):
            assert parse_memory.ancestry(hierarchy, group)
    parse_memory.stat(text)
    for value in (parse_memory.limit(text), parse_memory.quota(text), parse_memory.cpus(text, text)):
        assert value is None or value >= 0
    first = parse_cpu.first_processor(text)
    parse_cpu.model(text, text or None)
    parse_cpu.x86_features(first.get("flags", text))
    parse_cpu.arm_features(text)
    assert len(parse_cpu.cpu_list(text)) < 1 << 15
    parse_cpu.cores_of_cpuinfo(text)
    parse_nvidia.nvml(text)
    parse_nvidia.smi(text, text)
    parse_nvidia.tegra_release(text)
    parse_nvidia.pci_address(text)
    parse_drm.kfd_node(text)
    parse_drm.intel_memory(text)
    parse_drm.cards(text.splitlines())
    values = parse_apple.sysctl(text)
    parse_apple.features(values, arm=False)
    parse_apple.available(text)
    parse_llamacpp.inspected(text)
    parse_llamacpp.system_info(text)
    parse_llamacpp.listed_devices(text)
    parse_llamacpp.version(text)
    parse_container.container(
        environment_has_kubernetes=False,
        has_dockerenv=False,
        has_containerenv=False,
        systemd=text,
        groups=text,
        kernel=text,
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["devices", "name", "mig", "problem", "driver", "total", "capability", "kind"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_answer_of_a_child_has_a_value(value: object) -> None:
    parse_nvidia.nvml(json.dumps(value))
    parse_llamacpp.inspected(json.dumps(value))


@given(st.binary(max_size=100))
def test_any_auxiliary_vector_has_a_value(data: bytes) -> None:
    parse_cpu.hwcap_features(data)


# Control groups


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=4), st.integers(0, 4))
def test_all_groups_up_to_the_mount_are_named_innermost_first(parts: list[str], depth: int) -> None:
    root = "/" + "/".join(parts[:depth])
    hierarchy = Hierarchy(version=2, controllers=frozenset(), root=root, point="/m")
    folders = parse_memory.ancestry(hierarchy, "/" + "/".join(parts))
    below = parts[depth:]
    assert folders == tuple("/".join(["/m", *below[:end]]) for end in range(len(below), -1, -1))


@pytest.mark.parametrize(
    ("root", "group"),
    [("/", "/../x"), ("/docker/a", "/docker/ab"), ("/docker/a", "/"), ("/a", "/b/a"), ("/", "/")],
)
def test_a_group_that_the_mount_does_not_show_has_the_mount_alone(root: str, group: str) -> None:
    hierarchy = Hierarchy(version=1, controllers=frozenset({"memory"}), root=root, point="/m")
    assert parse_memory.ancestry(hierarchy, group) == ("/m",)


def test_blanks_in_a_mount_point() -> None:
    text = r"1 2 0:3 / /my\040groups\134x rw - cgroup2 c rw"
    (found,) = parse_memory.hierarchies(text)
    assert found.point == "/my groups\\x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max", None),
        ("1073741824\n", 1 << 30),
        ("9223372036854771712", None),  # v1, pages of 4 KiB
        ("9223372036854710272", None),  # v1, pages of 64 KiB
        ("-1", None),
        ("", None),
    ],
)
def test_limits(text: str, expected: int | None) -> None:
    assert parse_memory.limit(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", None), ("150000 100000", 1.5), ("50000", 0.5), ("100000 0", None), ("", None)],
)
def test_quotas(text: str, expected: float | None) -> None:
    assert parse_memory.quota(text) == expected


# Processors


@given(st.frozensets(st.integers(0, 300)))
def test_a_list_of_cpus_is_read_as_the_kernel_writes_it(cpus: frozenset[int]) -> None:
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    text = ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    assert parse_cpu.cpu_list(f"{text}\n") == cpus


def test_hwcap_bits_of_a_snapdragon() -> None:
    """AT_HWCAP with ASIMD, ASIMDHP and ASIMDDP, AT_HWCAP2 with I8MM and BF16."""
    words = [(16, 1 << 1 | 1 << 10 | 1 << 20), (26, 1 << 13 | 1 << 14), (0, 0)]
    data = b"".join(struct.pack("<QQ", *pair) for pair in words)
    assert parse_cpu.hwcap_features(data) == ("bf16", "dotprod", "fp16", "i8mm", "neon")


def test_cores_of_two_threads() -> None:
    siblings = {cpu: frozenset({cpu % 4, cpu % 4 + 4}) for cpu in range(8)}
    assert parse_cpu.cores(siblings, range(8)) == 4
    assert parse_cpu.cores(siblings, {0, 4}) == 1


def test_prime_and_big_cores_are_fast_and_little_ones_are_not() -> None:
    assert parse_cpu.fast({0: 300, 1: 300, 2: 870, 3: 870, 4: 1024}) == {2, 3, 4}
    assert parse_cpu.fast({0: 1024, 1: 1024}) == frozenset()


def test_a_system_of_several_kinds_of_cores_is_called_by_the_fast_ones_first() -> None:
    kinds = [0xD05, 0xD05, 0xD0B]
    text = "\n".join(
        f"processor: {n}\nCPU implementer: 0x41\nCPU part: {part:#x}\n" for n, part in enumerate(kinds)
    )
    assert parse_cpu.model(text) == "Cortex-A76 and Cortex-A55"


# NVIDIA


def gpu(uuid: str, name: str = "A") -> NvidiaGpu:
    return NvidiaGpu(name=name, uuid=uuid, address=None, total=1, free=1, capability=None)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, ["GPU-a", "GPU-b", "GPU-c"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["GPU-c", "GPU-a"]),
        ("1,7,0", ["GPU-b"]),
        ("GPU-c", ["GPU-c"]),
        ("GPU-", []),
        ("0,0", ["GPU-a"]),
    ],
)
def test_visible_devices(setting: str | None, expected: list[str]) -> None:
    gpus = [gpu("GPU-a"), gpu("GPU-b"), gpu("GPU-c")]
    found = parse_nvidia.visible(gpus, setting, None)
    assert found is not None
    assert [each.uuid for each in found] == expected


def test_numbers_among_unlike_gpus_are_cudas_own() -> None:
    gpus = [gpu("GPU-a"), gpu("GPU-b", "B")]
    assert parse_nvidia.visible(gpus, "1", None) is None
    found = parse_nvidia.visible(gpus, "1", "PCI_BUS_ID")
    assert found is not None
    assert [each.uuid for each in found] == ["GPU-b"]


def test_an_old_nvidia_smi_knows_fewer_fields() -> None:
    answer = parse_nvidia.smi("GPU-1, Tesla K80, 11441, 11000, 470.82.01, 00000000:05:00.0\n", "")
    (found,) = answer.gpus
    assert (found.total, found.free, found.capability) == (11441 << 20, 11000 << 20, None)
    assert (answer.driver, found.address) == ("470.82.01", "0000:05:00.0")


# AMD


@pytest.mark.parametrize(
    ("version", "target"),
    [(110000, "gfx1100"), (90010, "gfx90a"), (90402, "gfx942"), (110501, "gfx1151"), (100306, "gfx1036")],
)
def test_targets(version: int, target: str) -> None:
    text = f"gfx_target_version {version}\nlocation_id 50688\ndomain 0\n"
    assert parse_drm.kfd_node(text) == ("0000:c6:00.0", target)


@pytest.mark.parametrize(
    ("bank", "target", "gigabytes"),
    [
        ("width 256\nmem_clk_max 1000\n", "gfx1030", 512),  # RX 6800 XT
        ("width 4096\nmem_clk_max 1600\n", "gfx90a", 1638),  # Instinct MI210
        ("width 4096\nmem_clk_max 1000\n", "gfx906", 1024),  # Radeon VII
        ("width 64\n", "gfx1100", None),
        ("width 256\nmem_clk_max 1000\n", None, None),
    ],
)
def test_bandwidths_of_radeons(bank: str, target: str | None, gigabytes: int | None) -> None:
    found = parse_drm.amd_bandwidth(bank, target)
    assert (None if found is None else found // 10**9) == gigabytes


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("NVIDIA GeForce RTX 4070 Laptop GPU", 256),
        ("NVIDIA GeForce RTX 4070 SUPER", 504),
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A10", 600),
        ("NVIDIA L4", 300),
        ("Apple M3 Max, 14 cores", 300),
        ("Apple M3 Max, 16 cores", 400),
        ("Apple M4", 120),
        ("AMD GPU 0x15bf gfx1103", 89.6),
        ("Mali-G610", None),
    ],
)
def test_bandwidths_by_name(name: str, gigabytes: float | None) -> None:
    assert bandwidths.known_bandwidth(name) == (None if gigabytes is None else round(gigabytes * 1e9))


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_memory_of_its_own_is_never_more_than_its_vram(vram: int, used: int, gtt: int) -> None:
    for target in (None, "gfx1100", "gfx1151"):
        found = parse_drm.amd_memory(target=target, vram=vram, vram_used=used, gtt=gtt)
        assert found is not None
        if found.unified:
            assert (found.total, found.free) == (None, None)
            assert found.working_set == gtt
        else:
            assert found.total == vram
            assert found.free is not None
            assert 0 <= found.free <= vram


# llama.cpp


def test_what_builds_say() -> None:
    apis, features = parse_llamacpp.system_info(
        "system_info: n_threads = 4 (n_threads_batch = 4) / 24 | CPU : SSE3 = 1 | AVX = 1 | AVX_VNNI = 1 | AVX2 = 1 |"
        " F16C = 1 | FMA = 0 | LLAMAFILE = 1 | REPACK = 1 | CUDA : ARCHS = 750,800 | USE_GRAPHS = 1 |"
    )
    assert apis == ("cpu", "cuda")
    assert features == ("avx", "avx2", "avxvnni", "f16c", "sse3")


def test_devices_that_llama_server_lists() -> None:
    text = (
        "ggml_cuda_init: found 1 CUDA devices:\n"
        "  Device 0: NVIDIA GeForce RTX 3080 Ti, compute capability 8.6, VMM: yes\n"
        "Available devices:\n"
        "  CUDA0: NVIDIA GeForce RTX 3080 Ti (11909 MiB, 11650 MiB free)\n"
        "  Vulkan1: AMD Radeon 780M (RADV PHOENIX) (15750 MiB, 15000 MiB free)\n"
    )
    first, second = parse_llamacpp.listed_devices(text)
    assert (first.name, first.api, first.total) == ("CUDA0", "cuda", 11909 << 20)
    assert (second.api, second.description) == ("vulkan", "AMD Radeon 780M (RADV PHOENIX)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load_backend: x\nversion: 9128 (856c3adac)\nbuilt with GNU 14.2.0 for Linux x86_64\n", "b9128"),
        ("version: 0 (unknown)", "b0"),
        ("llama-server 1.2", None),
    ],
)
def test_versions_of_llama_server(text: str, expected: str | None) -> None:
    assert parse_llamacpp.version(text) == expected


# Containers


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"environment_has_kubernetes": True, "has_dockerenv": True}, "kubernetes"),
        ({"has_dockerenv": True, "kernel": "Linux 6.6-microsoft-standard-WSL2"}, "docker"),
        ({"has_containerenv": True, "systemd": "podman"}, "podman"),
        ({"systemd": "lxc"}, "lxc"),
        ({"groups": "0::/lxc.payload.web/x"}, "lxc"),
        ({"groups": "0::/system.slice/docker-12ab.scope"}, "docker"),
        ({"kernel": "Linux version 4.4.0-19041-Microsoft"}, "wsl1"),
        ({"kernel": "Linux version 6.8"}, None),
    ],
)
def test_containers(given: dict[str, object], expected: str | None) -> None:
    signs: dict[str, object] = {
        "environment_has_kubernetes": False,
        "has_dockerenv": False,
        "has_containerenv": False,
        "systemd": None,
        "groups": "0::/\n",
        "kernel": "",
    }
    assert parse_container.container(**(signs | given)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("x86_64", {"vendor_id": "GenuineIntel"}, None),
        ("x86_64", {"CPU implementer": "0x41"}, "qemu"),
        ("aarch64", {"vendor_id": "AuthenticAMD"}, "qemu"),
        ("aarch64", {"CPU implementer": "0x41"}, None),
        ("x86_64", {"vendor_id": "VirtualApple"}, "rosetta"),
    ],
)
def test_emulators(machine: str, cpuinfo: dict[str, str], expected: str | None) -> None:
    assert parse_container.emulator(machine=machine, cpuinfo=cpuinfo) == expected


# Macs


@pytest.mark.parametrize(
    ("gigabytes", "mib"),
    [(8, 5461), (16, 10923), (24, 16384), (32, 21845), (36, 24576), (64, 49152), (96, 73728), (128, 98304)],
)
def test_working_sets(gigabytes: int, mib: int) -> None:
    assert parse_apple.working_set(gigabytes << 30, 0) >> 20 == mib
    assert parse_apple.working_set(gigabytes << 30, 1 << 30) == gigabytes << 30
