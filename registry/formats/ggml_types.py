"""ggml's tensor types and llama.cpp's file types, as GGUF files name them by number.

Sources: `enum ggml_type` in ggml/include/ggml.h, the block structures in ggml/src/ggml-common.h, and `enum
llama_ftype` in llama.cpp's include/llama.h. Numbers that microsoft/BitNet's fork gave to types of its own
collide with upstream's; `why_unusable` tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class GgmlType:
    """A tensor type: `block_size` elements of a row are stored together in `block_bytes` bytes."""

    id: int
    name: str
    block_size: int
    block_bytes: int

    @property
    def quantized(self) -> bool:
        """Whether elements share a block, so that a row must be a multiple of it."""
        return self.block_size > 1


_TYPES = (
    GgmlType(0, "F32", 1, 4),
    GgmlType(1, "F16", 1, 2),
    GgmlType(2, "Q4_0", 32, 18),
    GgmlType(3, "Q4_1", 32, 20),
    GgmlType(6, "Q5_0", 32, 22),
    GgmlType(7, "Q5_1", 32, 24),
    GgmlType(8, "Q8_0", 32, 34),
    GgmlType(9, "Q8_1", 32, 36),
    GgmlType(10, "Q2_K", 256, 84),
    GgmlType(11, "Q3_K", 256, 110),
    GgmlType(12, "Q4_K", 256, 144),
    GgmlType(13, "Q5_K", 256, 176),
    GgmlType(14, "Q6_K", 256, 210),
    GgmlType(15, "Q8_K", 256, 292),
    GgmlType(16, "IQ2_XXS", 256, 66),
    GgmlType(17, "IQ2_XS", 256, 74),
    GgmlType(18, "IQ3_XXS", 256, 98),
    GgmlType(19, "IQ1_S", 256, 50),
    GgmlType(20, "IQ4_NL", 32, 18),
    GgmlType(21, "IQ3_S", 256, 110),
    GgmlType(22, "IQ2_S", 256, 82),
    GgmlType(23, "IQ4_XS", 256, 136),
    GgmlType(24, "I8", 1, 1),
    GgmlType(25, "I16", 1, 2),
    GgmlType(26, "I32", 1, 4),
    GgmlType(27, "I64", 1, 8),
    GgmlType(28, "F64", 1, 8),
    GgmlType(29, "IQ1_M", 256, 56),
    GgmlType(30, "BF16", 1, 2),
    GgmlType(34, "TQ1_0", 256, 54),
    GgmlType(35, "TQ2_0", 256, 66),
    GgmlType(39, "MXFP4", 32, 17),
    GgmlType(40, "NVFP4", 64, 36),
    GgmlType(41, "Q1_0", 128, 18),
    GgmlType(42, "Q2_0", 64, 18),
)

GGML_TYPES: Mapping[int, GgmlType] = MappingProxyType({entry.id: entry for entry in _TYPES})
"""Every type that a file may hold, by its number."""

GGML_TYPES_BY_NAME: Mapping[str, GgmlType] = MappingProxyType({entry.name: entry for entry in _TYPES})

_REPACKED = (
    "was removed from ggml: engines now make this layout themselves when they load {}; convert it again"
)
_REMOVED: Mapping[int, str] = MappingProxyType(
    {
        4: "Q4_2 was removed from ggml in 2023; convert the model again",
        5: "Q4_3 was removed from ggml in 2023; convert the model again",
        31: "Q4_0_4_4 " + _REPACKED.format("Q4_0"),
        32: "Q4_0_4_8 " + _REPACKED.format("Q4_0"),
        33: "Q4_0_8_8 " + _REPACKED.format("Q4_0"),
        36: "I2_S is microsoft/BitNet's own type (upstream's IQ4_NL_4_4 of that number was removed); "
        "only bitnet.cpp runs it",
        37: "I8_S is microsoft/BitNet's own type (upstream's IQ4_NL_4_8 of that number was removed); "
        "only bitnet.cpp runs it",
        38: "TL1 is microsoft/BitNet's own type (upstream's IQ4_NL_8_8 of that number was removed); "
        "only bitnet.cpp runs it",
    }
)
_BITNET_FORK = frozenset({"bitnet-25", "bitnet-b1.58"})


def why_unusable(type_id: int, architecture: str | None) -> str | None:
    """Why a tensor of this type cannot be used, as a clause; None where nothing is wrong with it.

    `architecture` is the file's `general.architecture`: number 39 is MXFP4, except in files that
    microsoft/BitNet wrote, where it is TL2.
    """
    if type_id == 39 and architecture in _BITNET_FORK:
        return "TL2 is microsoft/BitNet's own type; only bitnet.cpp runs it"
    if type_id in _REMOVED:
        return _REMOVED[type_id]
    return None if type_id in GGML_TYPES else "no such type is known"


@dataclass(frozen=True, slots=True)
class FileType:
    """A recipe for a whole file: its label, and the type that most of its matrices get."""

    label: str
    base: str


_GUESSED = 1024  # added by writers that inferred the number from the tensors

_FILE_TYPES: Mapping[int, FileType] = MappingProxyType(
    {
        0: FileType("F32", "F32"),
        1: FileType("F16", "F16"),
        2: FileType("Q4_0", "Q4_0"),
        3: FileType("Q4_1", "Q4_1"),
        7: FileType("Q8_0", "Q8_0"),
        8: FileType("Q5_0", "Q5_0"),
        9: FileType("Q5_1", "Q5_1"),
        10: FileType("Q2_K", "Q2_K"),
        11: FileType("Q3_K_S", "Q3_K"),
        12: FileType("Q3_K_M", "Q3_K"),
        13: FileType("Q3_K_L", "Q3_K"),
        14: FileType("Q4_K_S", "Q4_K"),
        15: FileType("Q4_K_M", "Q4_K"),
        16: FileType("Q5_K_S", "Q5_K"),
        17: FileType("Q5_K_M", "Q5_K"),
        18: FileType("Q6_K", "Q6_K"),
        19: FileType("IQ2_XXS", "IQ2_XXS"),
        20: FileType("IQ2_XS", "IQ2_XS"),
        21: FileType("Q2_K_S", "Q2_K"),
        22: FileType("IQ3_XS", "IQ3_S"),
        23: FileType("IQ3_XXS", "IQ3_XXS"),
        24: FileType("IQ1_S", "IQ1_S"),
        25: FileType("IQ4_NL", "IQ4_NL"),
        26: FileType("IQ3_S", "IQ3_S"),
        27: FileType("IQ3_M", "IQ3_S"),
        28: FileType("IQ2_S", "IQ2_XS"),
        29: FileType("IQ2_M", "IQ2_S"),
        30: FileType("IQ4_XS", "IQ4_XS"),
        31: FileType("IQ1_M", "IQ1_M"),
        32: FileType("BF16", "BF16"),
        36: FileType("TQ1_0", "TQ1_0"),
        37: FileType("TQ2_0", "TQ2_0"),
        38: FileType("MXFP4_MOE", "MXFP4"),
        39: FileType("NVFP4", "NVFP4"),
        40: FileType("Q1_0", "Q1_0"),
        41: FileType("Q2_0", "Q2_0"),
    }
)

BASE_TYPES: Mapping[str, str] = MappingProxyType({kind.label: kind.base for kind in _FILE_TYPES.values()})
"""For each label that a file type has, the type that most of its matrices get."""

_FALLBACKS: Mapping[str, str] = MappingProxyType(
    {
        "Q2_K": "Q4_0",
        "Q2_0": "Q4_0",
        "Q3_K": "Q4_0",
        "TQ1_0": "Q4_0",
        "TQ2_0": "Q4_0",
        "Q4_K": "Q5_0",
        "Q5_K": "Q5_1",
        "Q6_K": "Q8_0",
    }
)


def file_type(number: int) -> FileType | None:
    """The file type of a `general.file_type` value, guessed or not; None for an unknown number."""
    return _FILE_TYPES.get(number - _GUESSED if number >= _GUESSED else number)


def file_type_number(label: str) -> int | None:
    """The number that `general.file_type` has for a label; None for one that is none."""
    return next((number for number, kind in _FILE_TYPES.items() if kind.label == label), None)


def fallback_type(name: str) -> str | None:
    """What llama.cpp uses where a row is no multiple of this type's block; None for unquantized types."""
    entry = GGML_TYPES_BY_NAME[name]
    if not entry.quantized:
        return None
    if name.startswith("IQ") and entry.block_size == 256:
        return "IQ4_NL"
    return _FALLBACKS.get(name, "F16")
