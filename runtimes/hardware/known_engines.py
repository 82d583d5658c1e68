"""The engines that a machine may have, and the commands that bring them. Pure.

The commands are those that work without `slmctl engine install`. xllamacpp's indexes for CUDA, ROCm and
Vulkan are named in its README ("Installation"), with the GPUs that each build has code for.
"""

from __future__ import annotations

LLAMA_CPP = "llama.cpp"
LLAMA_SERVER = "llama-server"
BITNET = "bitnet.cpp"

_INDEX = "https://xorbitsai.github.io/xllamacpp/whl"
_FROM_INDEX = "pip install xllamacpp --force-reinstall --index-url"

XLLAMACPP = "pip install xllamacpp"
XLLAMACPP_FROM_SOURCE = "pip install xllamacpp --force-reinstall --no-binary xllamacpp"
"""Compiles for the CPU at hand (README, "Build from Source": native optimizations are then on)."""

SERVER_RELEASES = "https://github.com/ggml-org/llama.cpp/releases"

WHEEL_FEATURES = {
    "x86_64": ("avx", "avx2", "bmi2", "f16c", "fma", "sse3", "ssse3"),
    "aarch64": ("neon",),
}
"""What xllamacpp's wheels for Linux on the package index are made for: the first by its own words, the second
by its README ("baseline armv8-a"). What a build says of itself counts; this is for before it is asked."""

PACKAGES: dict[str, tuple[str, ...]] = {
    LLAMA_CPP: ("xllamacpp",),
    "mlx": ("mlx_lm", "mlx"),
    "onnxruntime-genai": ("onnxruntime_genai", "onnxruntime_genai_cuda", "onnxruntime_genai_directml"),
    "vllm": ("vllm",),
}
"""The distributions that an engine comes in, as their folders are called; the first has the version."""


def xllamacpp_for(api: str) -> str:
    """The command for the build of xllamacpp that drives such devices."""
    folder = {"cuda": "cu128", "rocm": "rocm-7.2.4", "vulkan": "vulkan"}.get(api)
    return f"{_FROM_INDEX} {_INDEX}/{folder}" if folder else XLLAMACPP


def install_command(name: str, *, platform: str, architecture: str, has_cuda: bool) -> str | None:
    """What brings an engine to such a machine; None where there is no build for it."""
    linux, apple = platform == "linux", platform == "darwin" and architecture in {"arm64", "aarch64"}
    if name == LLAMA_CPP:
        return xllamacpp_for("cuda") if has_cuda and linux else XLLAMACPP
    if name == "mlx":
        if apple:
            return "pip install mlx-lm"
        return f"pip install 'mlx[{'cuda12' if has_cuda else 'cpu'}]' mlx-lm" if linux else None
    if name == "onnxruntime-genai":
        return f"pip install onnxruntime-genai{'-cuda' if has_cuda else ''}"
    if name == "vllm":
        return "pip install vllm" if linux and has_cuda else None
    if name == LLAMA_SERVER:
        return "brew install llama.cpp" if platform == "darwin" else f"unpack one of {SERVER_RELEASES}"
    if name == BITNET:
        return "git clone --recursive https://github.com/microsoft/BitNet, and follow its README"
    return None
