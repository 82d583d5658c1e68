"""How far estimates of memory are from what llama.cpp itself says, ours and those of other tools.

    python -m benchmarks.estimate        writes benchmarks/results/estimate.md

Every load is one that the engine plans in a child process, from a header with a hole behind it: the
library's models with their true dimensions and vocabularies as Q4_K_M, and models of other architectures
with fewer layers. What it prints (weights, caches, compute and output buffers) is the truth here; the
process around it, which it does not print, is added to it and to ours and gguf-parser's as the same figure
(`process_bytes`), and is part of what the others add for the runtime.

The other tools are not run: they are their formulas as fit.md 2.4 states them, where it is silent as their
sources have them (llmfit-core/src/models.rs, whichllm's engine/vram.py). So this compares formulas, not
programs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from registry.formats.facts import ModelFacts
from registry.formats.model_shapes import Dimensions, facts_of, shapes_of
from registry.formats.tensor_classes import tensor_class
from runtimes.oracle import Place, ask
from runtimes.planning.buffer_lines import Buffers, parse
from runtimes.planning.kv_cache import (
    cache_cells,
    has_kv,
    is_windowed,
    per_layer,
    row_bytes,
    total_remembered,
)
from runtimes.planning.memory import llamacpp_need, process_bytes
from runtimes.planning.mix import tensor_types
from runtimes.planning.values import Build, Shape
from tests.runtimes.planning.headers import Header, read
from tests.runtimes.planning.models import MODELS
from tools.library_facts import SHAPES as LIBRARY_SHAPES

RESULT = Path(__file__).parent / "results" / "estimate.md"
MIB, GIB = 2**20, 2**30
LABEL = "Q4_K_M"
LOADS = {
    "4k": Shape(context=4096),
    "32k": Shape(context=32768),
    "4 of 4k": Shape(context=4096, parallel=4),
    "32k, q8_0": Shape(context=32768, type_k="q8_0", type_v="q8_0"),
}


def slmctl(facts: ModelFacts, shape: Shape) -> float:
    build = Build(model="m", variant="v", facts=facts, size=facts.tensor_bytes)
    return llamacpp_need(build, shape, device_pool=None, unified=False, features=frozenset()).total


def gguf_parser(facts: ModelFacts, shape: Shape) -> float:
    """Exact weights; a cache whose windows keep the whole batch (n_batch) and are padded to 32; a compute
    buffer with logits for every token of a micro-batch; no recurrent state (fit.md 2.4).
    """
    cache = total_remembered(facts, shape).kv
    if facts.window is not None:
        cells = min(shape.context, facts.window.size + shape.batch)
        cells = -(-cells // 32) * 32 * shape.parallel
        heads, size = per_layer(facts.kv_heads, 0) or 0, (facts.head_size_k or 0)
        row = 2 * row_bytes(shape.type_k, heads * size)
        layers = [layer for layer in range(facts.layers or 0) if has_kv(facts, layer)]
        windowed = sum(is_windowed(facts, layer) for layer in layers)
        whole = -(-shape.context // 32) * 32 * shape.parallel
        cache = row * (cells * windowed + whole * (len(layers) - windowed))
    wide = facts.feed_forward if isinstance(facts.feed_forward, int) else max(facts.feed_forward or (0,))
    tokens = shape.micro_batch
    layer = tokens * 4 * (5 * (facts.hidden or 0) + 3 * wide)
    mask = tokens * 2 * sum(cache_cells(facts, shape)) // shape.parallel
    compute = max(layer, tokens * 4 * (facts.vocabulary or 0)) + mask
    return facts.tensor_bytes + cache + compute + process_bytes(facts)


def whichllm(facts: ModelFacts, shape: Shape) -> float:
    """0.5625 bytes for each parameter, 3.5 MiB of cache for each billion of them and 1,024 tokens, 0.08
    bytes for each parameter and 400 MB, and 500 MB for the framework (fit.md 2.4).
    """
    parameters = facts.parameters or 0
    cache = parameters / 1e9 * shape.context * shape.parallel / 1024 * 3.5 * MIB
    return 0.5625 * parameters + cache + 400e6 + 0.08 * parameters + 500e6


def llmfit(facts: ModelFacts, shape: Shape) -> float:
    """0.58 bytes for each parameter, a cache of all layers and KV heads for the whole context, half a GB."""
    heads, size = per_layer(facts.kv_heads, 0) or 0, facts.head_size_k or 0
    element = 0.5 if shape.type_k == "q8_0" else 1.0
    cache = 2 * heads * size * shape.context * shape.parallel * 2 * (facts.layers or 0) * element
    return (0.58 * (facts.parameters or 0) / 1e9 + cache / GIB + 0.5) * GIB


TOOLS: Mapping[str, Callable[[ModelFacts, Shape], float]] = {
    "slmctl": slmctl,
    "gguf-parser": gguf_parser,
    "whichllm": whichllm,
    "llmfit": llmfit,
}


@dataclass(frozen=True)
class Row:
    model: str
    load: str
    said: float
    guesses: Mapping[str, float]

    def error(self, tool: str) -> float:
        return self.guesses[tool] / self.said - 1

    def __str__(self) -> str:
        errors = " | ".join(f"{self.error(tool):+.1%}" for tool in TOOLS)
        return f"| {self.model} | {self.load} | {self.said / MIB:,.0f} | {errors} |"


def library_header(shape: Dimensions) -> Header:
    """The library's model as a file of this quantization would begin."""
    types = tensor_types(facts_of(shape), LABEL, importance_matrix=True)
    left = {name: list(kinds) for name, kinds in types.items()}
    tensors = shapes_of(shape)
    chosen = {name: left[tensor_class(name)].pop(0) for name in tensors if left.get(tensor_class(name))}
    keys: dict[str, int | float | str | bool | list[int] | list[bool]] = {
        "block_count": shape.layers,
        "context_length": shape.context,
        "embedding_length": shape.hidden,
        "feed_forward_length": shape.feed_forward,
        "attention.head_count": shape.heads,
        "attention.head_count_kv": shape.kv_heads,
        "attention.key_length": shape.head_size,
        "attention.value_length": shape.head_size,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": 96 if shape.architecture == "phi3" else shape.head_size,
        "vocab_size": shape.vocabulary,
    }
    if shape.window is not None:
        keys["attention.sliding_window"] = shape.window
    return Header(architecture=shape.architecture, keys=keys, tensors=tensors, types=chosen)


def headers() -> dict[str, Header]:
    library = {
        name: library_header(shape) for name, shape in LIBRARY_SHAPES.items() if name != "all-minilm/22m"
    }
    return library | {name: header for name, header in MODELS.items() if header.architecture != "bert"}


def said_in_all(buffers: Buffers, facts: ModelFacts) -> float:
    parts = ("weights", "kv", "state", "compute", "output")
    return sum(buffers.total(part) or 0 for part in parts) + process_bytes(facts)


def measure(folder: Path, models: Mapping[str, Header]) -> list[Row]:
    rows = []
    for name, header in models.items():
        path = header.write(folder / "model.gguf")
        facts = read(path)
        loads = {
            load: shape for load, shape in LOADS.items() if shape.context <= (facts.trained_context or 0)
        }
        answers = ask([(path, shape) for shape in loads.values()], Place(), environ=os.environ)
        for (load, shape), (_, log) in zip(loads.items(), answers, strict=True):
            buffers = parse(log)
            if not buffers.complete:
                raise SystemExit(f"llama.cpp did not plan {name} at {load}:\n{log[-2000:]}")
            guesses = {tool: estimate(facts, shape) for tool, estimate in TOOLS.items()}
            rows.append(Row(name, load, said_in_all(buffers, facts), guesses))
    return rows


def summary(rows: list[Row]) -> list[str]:
    lines = [f"| error | {' | '.join(TOOLS)} |", f"|---|{'---:|' * len(TOOLS)}"]
    for what, of in (
        ("median, absolute", lambda errors: statistics.median(map(abs, errors))),
        ("mean, absolute", lambda errors: statistics.mean(map(abs, errors))),
        ("most too low", min),
        ("most too high", max),
    ):
        values = (of([row.error(tool) for row in rows]) for tool in TOOLS)
        lines.append(f"| {what} | {' | '.join(f'{value:+.2%}' for value in values)} |")
    return lines


def report(rows: list[Row]) -> str:
    published = [row for row in rows if row.model in LIBRARY_SHAPES]
    others = [row for row in rows if row.model not in LIBRARY_SHAPES]
    head = [
        "| model | load | llama.cpp, MiB | " + " | ".join(TOOLS) + " |",
        "|---|---|---:|" + "---:|" * len(TOOLS),
    ]
    return "\n".join(
        [
            "# Estimates of memory against llama.cpp's own figures",
            "",
            f"Made by `python -m benchmarks.estimate` with xllamacpp {version('xllamacpp')}.",
            "Loads on the CPU, flash attention on; the truth is what the engine prints of weights (from",
            "1 GiB on in GiB with two digits, hence errors of up to 0.3 %), caches, compute and output",
            "buffers, and the process as slmctl estimates it. The other tools are formulas restated from",
            "fit.md 2.4 (and, where that is silent, from their sources), not runs of them.",
            "",
            f"## The library's models as {LABEL}, {len(published)} loads",
            "",
            *summary(published),
            "",
            *head,
            *map(str, published),
            "",
            f"## Other architectures, 4 to 30 layers, {len(others)} loads",
            "",
            "Tiny vocabularies, so that what tools add for the runtime weighs more than it would. Graphs",
            "that slmctl's formula does not cover are in here with the formula's guess, whose margin is 12",
            "percent; a plan asks the oracle about those, whose figures these are.",
            "",
            *summary(others),
            "",
            *head,
            *map(str, others),
            "",
        ]
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = report(measure(Path(folder), headers()))
    RESULT.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
