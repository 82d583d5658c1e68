"""Random builds hold the types that llama-quantize gives, whole and loadable."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from runtimes.planning.mix import quantized
from tests.slmctl.cli.program import Program
from tools.random_build import make_random_build
from tools.random_model import WORDS, Shape

SHAPE = Shape(layers=8, hidden=256, heads=4, kv_heads=2, head_size=64, feed_forward=768, vocabulary=4096)


@pytest.mark.parametrize("quantization", ["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"])
def test_a_build_says_words_and_has_the_recipe(tmp_path: Path, slmctl: Program, quantization: str) -> None:
    path = tmp_path / "m.gguf"
    make_random_build(path, SHAPE, quantization)
    with path.open("rb") as stream:
        header = read_header(stream)
    facts = facts_from_gguf([header])
    assert facts.quantization == quantization
    assert facts == quantized(facts, quantization, importance_matrix=False)
    assert slmctl("create", "m", "--from", str(path)).code == 0
    done = slmctl("run", "m", "--raw", "--max-tokens", "20", "a")
    said = done.out.split()
    assert done.code == 0
    assert set(said) <= WORDS
    assert len(set(said)) > 5


def test_all_its_bytes_are_there(tmp_path: Path) -> None:
    """Repeated rows are written, so that memory and disk hold as much as of any model of that size."""
    path = tmp_path / "m.gguf"
    make_random_build(path, SHAPE, "Q8_0")
    blocks = Counter(
        path.read_bytes()[at : at + 4096].count(0) > 2048 for at in range(0, path.stat().st_size, 4096)
    )
    assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert blocks[True] < 0.1 * blocks[False]
