"""MLX folders: safetensors with a `quantization` in config.json.

Source: mlx-lm's `convert` and `save_config`: `"quantization": {"group_size": 64, "bits": 4, "mode":
"affine"}`, where a key that is the name of a module has a setting of its own, or false for a module that is
not quantized.
"""

from __future__ import annotations

from collections.abc import Mapping

_MODES = frozenset({"mxfp4", "mxfp8", "nvfp4"})


def mlx_quantization(config: Mapping[str, object]) -> str | None:
    """The label of the quantization, such as `q4-g64` or `mxfp4`; None where config.json names none."""
    setting = mlx_setting(config)
    return setting[1] if setting else None


def mlx_setting(config: Mapping[str, object]) -> tuple[int, str] | None:
    """The group size in elements and the label of what config.json says for all modules."""
    return _setting(config.get("quantization"))


def mlx_modules(config: Mapping[str, object]) -> dict[str, tuple[int, str]]:
    """The modules that have a setting of their own: group size and label by name."""
    quantization = config.get("quantization")
    if not isinstance(quantization, dict):
        return {}
    return {name: own for name, value in quantization.items() if (own := _setting(value)) is not None}


def _setting(value: object) -> tuple[int, str] | None:
    if not isinstance(value, dict):
        return None
    bits, group, mode = value.get("bits"), value.get("group_size"), value.get("mode")
    if type(bits) is not int or type(group) is not int or not 1 <= bits <= 32 or not 1 <= group <= 65_536:
        return None
    return group, mode if isinstance(mode, str) and mode in _MODES else f"q{bits}-g{group}"
