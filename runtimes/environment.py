"""The environment of a worker."""

from __future__ import annotations

from collections.abc import Mapping

_KEPT_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH"})
_KEPT_PREFIXES = ("LC_", "DYLD_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "GGML_", "OMP_", "VK_")


def worker_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of `environ` a worker gets: finding libraries and devices, the locale, and nothing else.

    Above all no LLAMA_ARG_* (a way around the allow-list of flags), no tokens, no proxies, no PYTHON*.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    }
