"""Reading llama.cpp's own figures, from lines as it writes them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtimes.planning.buffer_lines import compare, parse
from runtimes.planning.measured import measured_need
from runtimes.planning.values import Need, Part

MIB = 2**20

# fit.md 2.1: Qwen3-0.6B, Q4_K_M, on AVX2
CPU = """\
0.00.005.172 I print_info: file size   = 372.65 MiB (5.25 BPW)
0.00.006.664 I load_tensors:   CPU_Mapped model buffer size =   372.65 MiB
0.00.006.665 I load_tensors:   CPU_REPACK model buffer size =   204.75 MiB
0.00.006.844 I llama_context:        CPU  output buffer size =     0.58 MiB
0.00.006.959 I llama_kv_cache:        CPU KV buffer size =   448.00 MiB
0.00.008.714 I llama_kv_cache: size =  448.00 MiB (  4096 cells,  28 layers,  1/1 seqs), K (f16):  224.00 MiB, V (f16):  224.00 MiB
0.00.009.354 I sched_reserve:        CPU compute buffer size =    32.02 MiB
"""
GPU = """\
0.00.100.000 I llama_model_load_from_file_impl: using device CUDA0 (NVIDIA GeForce RTX 3060) (0000:01:00.0) - 11524 MiB free
0.00.105.172 I print_info: file size   = 1.20 GiB (5.25 BPW)
0.00.106.664 I load_tensors: offloaded 29/29 layers to GPU
0.00.106.664 I load_tensors:   CPU_Mapped model buffer size =   121.70 MiB
0.00.106.665 I load_tensors:        CUDA0 model buffer size =   372.65 MiB
0.00.106.844 I llama_context:  CUDA_Host  output buffer size =     0.58 MiB
0.00.106.959 I llama_kv_cache:      CUDA0 KV buffer size =    40.00 MiB
0.00.106.960 I llama_kv_cache:      CUDA0 KV buffer size =    14.00 MiB
0.00.106.961 I llama_memory_recurrent:      CUDA0 RS buffer size =     6.15 MiB
0.00.109.354 I sched_reserve:      CUDA0 compute buffer size =    32.02 MiB
0.00.109.355 I sched_reserve:  CUDA_Host compute buffer size =     8.00 MiB
"""
NOTHING_ALLOCATED = """\
0.00.005.172 I print_info: file size   = 2.00 GiB (5.25 BPW)
0.00.006.664 I load_tensors:          CPU model buffer size =     0.00 MiB
0.00.006.959 I llama_kv_cache:        CPU KV buffer size =     0.00 MiB
0.00.008.714 I llama_kv_cache: size =   40.00 MiB (  4096 cells,   4 layers,  1/1 seqs), K (f16):   20.00 MiB, V (f16):   20.00 MiB
0.00.008.715 I llama_kv_cache: size =   14.00 MiB (  1024 cells,  22 layers,  1/1 seqs), K (f16):    7.00 MiB, V (f16):    7.00 MiB
0.00.008.716 I llama_memory_recurrent: size =    6.15 MiB (     1 cells,   4 layers,  1 seqs  1 rs_seq), R (f32):    0.15 MiB, S (f32):    6.00 MiB
0.00.009.354 I sched_reserve:        CPU compute buffer size =    32.02 MiB
"""


def mib(size: float) -> int:
    return round(size * MIB)


def test_a_load_on_the_cpu() -> None:
    found = parse(CPU)
    assert found.weights == mib(372.65)  # the copies lie beside mapped pages, which the kernel takes back
    assert found.by_buffer["weights"] == {"CPU_Mapped": mib(372.65), "CPU_REPACK": mib(204.75)}
    assert (found.kv, found.state) == (448 * MIB, None)
    assert (found.total("compute"), found.total("output")) == (mib(32.02), mib(0.58))
    assert (found.offloaded, found.free, found.complete) == (None, {}, True)


def test_a_load_on_a_device() -> None:
    found = parse(GPU)
    assert found.offloaded == (29, 29)
    assert found.free == {"CUDA0": 11524 * MIB}
    assert found.weights == mib(121.70) + mib(372.65)  # a tied embedding is held twice
    assert (found.kv, found.state) == (54 * MIB, mib(6.15))  # one line for each cache: all count
    assert found.by_buffer["compute"] == {"CUDA0": mib(32.02), "CUDA_Host": 8 * MIB}


def test_a_load_that_allocates_nothing() -> None:
    found = parse(NOTHING_ALLOCATED)
    assert (found.weights, found.kv, found.state) == (2048 * MIB, 54 * MIB, mib(6.15))


def test_a_load_that_was_cut_short() -> None:
    assert not parse("".join(CPU.splitlines(keepends=True)[:-1])).complete
    assert parse("").total("kv") is None


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    parse(text)


def need(*parts: tuple[str, str, float]) -> Need:
    made = tuple(
        Part(
            name=name, pool=pool, bytes=mib(size), kind="anon" if pool == "host" else "device", source="test"
        )
        for name, pool, size in parts
    )
    return Need(parts=made, method="header", margin=1.03)


ESTIMATE = need(
    ("weights", "host", 167.9), ("weights, rearranged", "host", 204.75), ("kv", "host", 448), ("compute", "host", 33.621),
    ("process", "host", 112),
)  # fmt: skip


def test_errors_are_of_what_both_name() -> None:
    errors = {name: round(error, 3) for name, error in compare(ESTIMATE, parse(CPU)).items()}
    assert errors == {"weights": 0.0, "kv": 0.0, "compute": 0.05, "output": -1.0, "total": 0.001}
    assert compare(ESTIMATE, parse("")) == {}


def test_the_engines_figures_take_the_place_of_estimates() -> None:
    estimate = need(
        ("weights", "host", 122), ("weights on the device", "gpu0", 373), ("kv", "host", 10), ("kv", "gpu0", 30),
        ("compute", "gpu0", 30), ("process", "host", 112),
    )  # fmt: skip
    found = measured_need(estimate, parse(GPU))
    assert (found.method, found.margin) == ("oracle", 1.02)
    sizes = {(part.name, part.pool): part.bytes / MIB for part in found.parts}
    assert sizes[("kv", "host")] == 13.5  # 54 MiB, a quarter of which was taken to be there
    assert sizes[("kv", "gpu0")] == 40.5
    assert round(sizes[("compute", "gpu0")], 2) == 32.02
    assert round(sizes[("compute", "host")], 2) == 8.0
    assert round(sizes[("output", "host")], 2) == 0.58
    assert sizes[("process", "host")] == 112
    assert sizes[("weights on the device", "gpu0")] == 373
