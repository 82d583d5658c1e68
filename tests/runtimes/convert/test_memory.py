"""A conversion holds a few megabytes of the weights at a time, however large they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.runtimes.convert.folders import CONFIG, HIDDEN, decoder_shapes, random_tensors, write_folder

REPOSITORY = Path(__file__).parents[3]
LARGEST = 32 << 20
_CONVERT = """
import resource, sys
from pathlib import Path
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

source, to, small, kind = sys.argv[1:]
write(convert(SourceFiles.of_folder(Path(small)), kind), Path(to), lambda count: None)
before = peak()
write(convert(SourceFiles.of_folder(Path(source)), kind), Path(to), lambda count: None)
print(peak() - before)
"""


def folder_of(path: Path, ffn: int) -> Path:
    """One layer, with three matrices of so many rows or columns of zeros."""
    tensors = {name: values for name, values in random_tensors(decoder_shapes()).items() if ".1." not in name}
    for part, shape in (("gate", (ffn, HIDDEN)), ("up", (ffn, HIDDEN)), ("down", (HIDDEN, ffn))):
        tensors[f"model.layers.0.mlp.{part}_proj.weight"] = np.zeros(shape, "<u2")
    own = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1, "intermediate_size": ffn}
    return write_folder(path, CONFIG | own, tensors)


@pytest.mark.parametrize("kind", ["F16", "Q8_0"])
def test_memory_does_not_grow_with_the_largest_tensor(kind: str, tmp_path: Path) -> None:
    """The bound is twice the largest tensor and 300 MB; this is far below."""
    small = folder_of(tmp_path / "small", 1024)
    large = folder_of(tmp_path / "large", LARGEST // HIDDEN // 2)
    arguments = [str(large), str(tmp_path / "made.gguf"), str(small), kind]
    grown = subprocess.run(
        [
            sys.executable,
            "-P",
            "-c",
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}){_CONVERT}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(grown.stdout) < LARGEST
