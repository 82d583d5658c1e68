"""The tables of types, against the `gguf` package where it has them."""

from __future__ import annotations

import gguf
import pytest

from registry.formats.ggml_types import GGML_TYPES, fallback_type, file_type, why_unusable

KNOWN_DIFFERENCE = "Q8_1"  # gguf-py says 40 bytes, ggml 36; no file has it


def test_the_same_as_the_gguf_package() -> None:
    for kind in gguf.GGMLQuantizationType:
        entry = GGML_TYPES[kind.value]
        assert entry.name == kind.name
        if kind.name != KNOWN_DIFFERENCE:
            assert (entry.block_size, entry.block_bytes) == gguf.GGML_QUANT_SIZES[kind]


def test_file_types_are_the_same_as_the_gguf_packages() -> None:
    for kind in gguf.LlamaFileType:
        if kind is not gguf.LlamaFileType.GUESSED:
            found = file_type(kind.value)
            assert found is not None
            assert found.label == kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
            assert file_type(kind.value + 1024) == found
    assert file_type(33) is None
    assert file_type(5) is None
    assert file_type(1024 + 999) is None


def test_39_is_two_types() -> None:
    assert why_unusable(39, "gpt-oss") is None
    assert why_unusable(39, None) is None
    assert "TL2" in str(why_unusable(39, "bitnet-25"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Q4_K", "Q5_0"),
        ("IQ2_S", "IQ4_NL"),
        ("IQ4_NL", "F16"),
        ("Q8_0", "F16"),
        ("F16", None),
        ("TQ2_0", "Q4_0"),
    ],
)
def test_fallbacks(name: str, expected: str | None) -> None:
    assert fallback_type(name) == expected
