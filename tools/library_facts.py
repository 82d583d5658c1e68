"""Write the facts.json of the library's entries, from a table of the models' dimensions.

    python -m tools.library_facts [--check]

The facts are those of a GGUF that llama.cpp's convert_hf_to_gguf.py makes of the published weights: which
tensors that has is known to `registry.formats.model_shapes`. So what a planner learns here is what the header
will say when the file is there.

Sources: the dimensions are those of the models' config.json, as mlc-llm's model_preset.py,
executorch's Llama configurations, BitNet's gpu/model.py and Gemma 3's text_config quote them; those of
all-MiniLM-L6-v2 are of its own. tests/tools/test_library_facts.py holds the sums against a table made apart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.model_shapes import Dimensions, facts_of

REPOSITORY = Path(__file__).parents[1]
LIBRARY = REPOSITORY / "modelfiles" / "library"
HELLO = REPOSITORY / "slmctl" / "shipped" / "hello" / "hello.gguf"


def _qwen3(layers: int, hidden: int, heads: int, feed_forward: int, *, tied: bool = True) -> Dimensions:
    return Dimensions(
        architecture="qwen3", layers=layers, hidden=hidden, heads=heads, kv_heads=8, head_size=128,
        feed_forward=feed_forward, vocabulary=151936, context=40960, tied=tied,
    )  # fmt: skip


def _gemma3(
    layers: int, hidden: int, heads: tuple[int, int], feed_forward: int, *, context: int, window: int
) -> Dimensions:
    return Dimensions(
        architecture="gemma3", layers=layers, hidden=hidden, heads=heads[0], kv_heads=heads[1], head_size=256,
        feed_forward=feed_forward, vocabulary=262144, context=context, window=window,
        windowed_layers=(True,) * 5 + (False,),
    )  # fmt: skip


def _llama(
    layers: int,
    hidden: int,
    heads: tuple[int, int],
    feed_forward: int,
    *,
    vocabulary: int = 128256,
    context: int = 131072,
    tied: bool = True,
    scaled: bool = False,
) -> Dimensions:
    head_size = hidden // heads[0]
    return Dimensions(
        architecture="llama", layers=layers, hidden=hidden, heads=heads[0], kv_heads=heads[1],
        head_size=head_size, feed_forward=feed_forward, vocabulary=vocabulary, context=context, tied=tied,
        rotary=(("rope_freqs.weight", head_size // 2),) if scaled else (),
    )  # fmt: skip


SHAPES: dict[str, Dimensions] = {
    "qwen3/0.6b": _qwen3(28, 1024, 16, 3072),
    "qwen3/1.7b": _qwen3(28, 2048, 16, 6144),
    "qwen3/4b": _qwen3(36, 2560, 32, 9728),
    "qwen3/8b": _qwen3(36, 4096, 32, 12288, tied=False),
    "phi4-mini/3.8b": Dimensions(
        architecture="phi3", layers=32, hidden=3072, heads=24, kv_heads=8, head_size=128, feed_forward=8192,
        vocabulary=200064, context=131072, window=262144,  # longer than the context, and so without effect
        rotary=(("rope_factors_long.weight", 48), ("rope_factors_short.weight", 48)),
    ),
    "gemma3/1b": _gemma3(26, 1152, (4, 1), 6912, context=32768, window=512),
    "gemma3/4b": _gemma3(34, 2560, (8, 4), 10240, context=131072, window=1024),
    "llama3.2/1b": _llama(16, 2048, (32, 8), 8192, scaled=True),
    "llama3.2/3b": _llama(28, 3072, (24, 8), 8192, scaled=True),
    "llama3.1/8b": _llama(32, 4096, (32, 8), 14336, tied=False, scaled=True),
    "llama3/8b": _llama(32, 4096, (32, 8), 14336, tied=False, context=8192),
    "smollm2/135m": _llama(30, 576, (9, 3), 1536, vocabulary=49152, context=8192),
    "smollm2/360m": _llama(32, 960, (15, 5), 2560, vocabulary=49152, context=8192),
    "smollm2/1.7b": _llama(24, 2048, (32, 32), 8192, vocabulary=49152, context=8192),
    "bitnet/b1.58-2b-4t": Dimensions(
        architecture="bitnet", layers=30, hidden=2560, heads=20, kv_heads=5, head_size=128, feed_forward=6912,
        vocabulary=128256, context=4096,
    ),
    "all-minilm/22m": Dimensions(
        architecture="bert", layers=6, hidden=384, heads=12, kv_heads=12, head_size=32, feed_forward=1536,
        vocabulary=30522, context=512, published_as="F16",
    ),
}  # fmt: skip
"""By the folder of the entry, family and tag."""


def documents() -> dict[Path, str]:
    """The text of each facts.json; hello's is what our reader finds in the file that ships."""
    facts = {name: facts_of(shape) for name, shape in SHAPES.items()}
    with HELLO.open("rb") as stream:
        facts["hello/latest"] = facts_from_gguf([read_header(stream)])
    return {LIBRARY / name / "facts.json": _text(each) for name, each in facts.items()}


def _text(facts: ModelFacts) -> str:
    """JSON with one field, and one row of tensors, on a line."""
    fields = facts.to_json()
    rows = fields.pop("tensors")
    assert isinstance(rows, list)
    lines = [f'  "{name}": {json.dumps(value)},\n' for name, value in fields.items()]
    table = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return "{\n" + "".join(lines) + f'  "tensors": [\n{table}\n  ]\n}}\n'


def main(arguments: list[str]) -> int:
    wanted = documents()
    if arguments == ["--check"]:
        return 0 if all(path.is_file() and path.read_text() == text for path, text in wanted.items()) else 1
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
