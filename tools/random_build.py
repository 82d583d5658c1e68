"""Write a random model in any quantization that ggml has, with the types that llama-quantize would give it.

    python -m tools.random_build OUT.gguf --quantization Q4_K_M [--shape JSON] [--seed N] [--merges]
        [--chat-template JINJA]

The words are those of `tools.random_model`; only some of the rows are distinct, so that a build of 500 MB is
made in seconds. With `--merges` the vocabulary is a byte-level one with as many merges as tokens, which takes
as much memory as that of most models today; what is said is no words then. `make_random_build` does it in a
child process, since it calls the engine's native code.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from registry.formats.ggml_types import BASE_TYPES, GGML_TYPES_BY_NAME, fallback_type, file_type
from runtimes.planning.mix_rules import Model, Place, target_type
from tools.ggml_quantize import quantize
from tools.random_model import MetadataValue, Shape, write_random_model

DISTINCT_ROWS = 64
_REPOSITORY = Path(__file__).parents[1]


def make_random_build(
    path: Path,
    shape: Shape,
    quantization: str,
    *,
    seed: int = 0,
    merges: bool = False,
    chat_template: str | None = None,
) -> None:
    """Write the build to `path`. Raises subprocess.CalledProcessError with the child's words in `stderr`."""
    command = [sys.executable, "-m", "tools.random_build", str(path), "--quantization", quantization]
    command += ["--shape", json.dumps(asdict(shape)), "--seed", str(seed), *(["--merges"] * merges)]
    if chat_template is not None:
        command += ["--chat-template", chat_template]
    subprocess.run(command, cwd=_REPOSITORY, check=True, capture_output=True, text=True)


def tensor_types(shape: Shape, quantization: str) -> dict[str, str]:
    """The type of each matrix of the model, as llama-quantize chooses it without an importance matrix."""
    model = Model(
        architecture="llama",
        label=quantization,
        base=BASE_TYPES[quantization],
        layers=shape.layers,
        value_matrices=shape.layers,
        heads_per_kv_head=shape.heads // shape.kv_heads,
        experts=0,
        tied=shape.tied,
        importance_matrix=False,
    )
    types = {}
    for name, dimensions in shape.tensors().items():
        if len(dimensions) > 1:
            *layer, tensor_class = name.removeprefix("blk.").removesuffix(".weight").split(".")
            place = Place(tensor_class, int(*layer), shape.layers if layer else 1, dimensions[-1])
            types[name] = _fitting(target_type(model, place), dimensions[-1])
    return types


def _fitting(name: str, columns: int) -> str:
    while columns % GGML_TYPES_BY_NAME[name].block_size:
        name = fallback_type(name) or "F16"
    return name


def _byte_pairs(vocabulary: int) -> dict[str, MetadataValue | None]:
    """A byte-level vocabulary as GPT-2's: a character for each byte, printable ones as they are."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [chr(0x100 + number) for number in range(0x100 - len(printable))]
    pieces = [f"w{number:06d}" for number in range(vocabulary - 0x100)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [*map(chr, printable), *others, *pieces],
        "tokenizer.ggml.token_type": [1] * vocabulary,
        "tokenizer.ggml.merges": [f"w{number % 1000:03d} {number:06d}" for number in range(vocabulary)],
        "tokenizer.ggml.scores": None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.random_build", description="Write a random build.")
    parser.add_argument("out", type=Path, metavar="OUT.gguf")
    parser.add_argument("--quantization", choices=sorted(BASE_TYPES), required=True)
    parser.add_argument("--shape", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--merges", action="store_true")
    parser.add_argument("--chat-template", metavar="JINJA")
    given = parser.parse_args(arguments)
    shape = Shape(**given.shape)
    numbers = {kind.label: number for number in range(64) if (kind := file_type(number)) is not None}
    write_random_model(
        given.out,
        shape=shape,
        seed=given.seed,
        tensor_type="F16",
        chat_template=given.chat_template,
        metadata={
            "general.file_type": numbers[given.quantization],
            **(_byte_pairs(shape.vocabulary) if given.merges else {}),
        },
        types=tensor_types(shape, given.quantization),
        quantize=quantize,
        distinct_rows=DISTINCT_ROWS,
    )
    print(f"{given.out}: {given.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
