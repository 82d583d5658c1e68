"""The sides of `benchmarks.convert`: programs that convert and quantize, and the model that they get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from registry.formats.ggml_types import file_type_number
from tests.slmctl.cli.program import SCRIPT

REPOSITORY = Path(__file__).parents[1]
HELLO = REPOSITORY / "slmctl" / "shipped" / "hello"
OURS, COMMAND, THEIRS = "slmctl's converter", "slmctl convert, all of it", "convert_hf_to_gguf.py"
QUANTIZER, ORIGINAL = "slmctl's quantizer", "llama_model_quantize"

_CONVERT = """
import sys
from pathlib import Path
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.writer import write
made = convert(SourceFiles.of_folder(Path(sys.argv[1])), sys.argv[3])
write(made, Path(sys.argv[2]), lambda _: None)
"""
_CONVERT_ORIGINAL = """
import runpy, sys
folder, *arguments = sys.argv[1:]
sys.path[0] = folder
sys.path.insert(1, folder + "/gguf-py")
from conversion import base
base.TextModel.get_vocab_base_pre = lambda *_: "default"
sys.argv = [folder + "/convert_hf_to_gguf.py", *arguments]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_QUANTIZE = """
import os, sys, time
from pathlib import Path
from runtimes.quantize.quantize import prepare, write
from runtimes.quantize.request import QuantizeRequest
source, made, label, threads = sys.argv[1:]
Path(made).touch()
start = time.perf_counter()
request = QuantizeRequest(sources=(Path(source),), quantization=label, threads=int(threads))
write(prepare(request), Path(made), environ=os.environ, on_progress=lambda _: None)
print("seconds", time.perf_counter() - start)
"""
_QUANTIZE_ORIGINAL = """
import sys, time, llama_cpp
source, made, number, threads = sys.argv[1:]
given = llama_cpp.llama_model_quantize_default_params()
given.ftype, given.nthread = int(number), int(threads)
llama_cpp.llama_backend_init()
start = time.perf_counter()
assert llama_cpp.llama_model_quantize(source.encode(), made.encode(), given) == 0
print("\\nseconds", time.perf_counter() - start)
"""


@dataclass
class Side:
    """One thing to time. `made` is removed before each start. `calls` are the seconds that a program itself
    says, of the call that is compared."""

    name: str
    command: Sequence[str]
    made: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    def start(self) -> None:
        if self.made.is_dir():
            shutil.rmtree(self.made)
        self.made.unlink(missing_ok=True)
        os.sync()
        peak = self.made.with_name("peak")
        start = perf_counter()
        timed = ["time", "-f", "%M", "-o", str(peak)]  # a small process starts the one it measures
        done = subprocess.run(
            [*timed, *self.command],
            env={**os.environ, **self.environment},
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        self.seconds.append(perf_counter() - start)
        assert done.returncode == 0, (self.name, done.stderr.decode(errors="replace")[-2000:])
        self.peaks.append(int(peak.read_text().split()[-1]) << 10)
        self.calls += [
            float(line.split()[1])
            for line in done.stdout.decode().splitlines()
            if line.startswith("seconds ")
        ]

    def forget(self) -> None:
        self.seconds.clear()
        self.calls.clear()
        self.peaks.clear()


def measure(sides: Sequence[Side], rounds: int) -> None:
    """Time all sides in turns, after a round for nothing: byte code, caches, and files into memory."""
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            side.start()
        if number == 0:
            for side in sides:
                side.forget()


def write_source(folder: Path, layers: int, vocabulary: int) -> int:
    """A model of Qwen3-0.6B's shape as its makers would publish it, with random weights; gives how many.

    A layer's matrices are those of every other layer, so that it is written in seconds; nothing here looks at
    that.
    """
    hidden, wide, heads, kv_heads, head = 1024, 3072, 16, 8, 128
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(HELLO / name, folder / name)
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Qwen3ForCausalLM"],
                "model_type": "qwen3",
                "attention_bias": False,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "head_dim": head,
                "hidden_act": "silu",
                "hidden_size": hidden,
                "intermediate_size": wide,
                "max_position_embeddings": 40960,
                "num_attention_heads": heads,
                "num_hidden_layers": layers,
                "num_key_value_heads": kv_heads,
                "rms_norm_eps": 1e-6,
                "rope_theta": 1000000,
                "tie_word_embeddings": True,
                "torch_dtype": "bfloat16",
                "vocab_size": vocabulary,
            }
        )
    )
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    layer: dict[str, tuple[int, ...]] = {
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (heads * head, hidden),
        "self_attn.k_proj": (kv_heads * head, hidden),
        "self_attn.v_proj": (kv_heads * head, hidden),
        "self_attn.o_proj": (hidden, heads * head),
        "self_attn.q_norm": (head,),
        "self_attn.k_norm": (head,),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }
    for number in range(layers):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return _write_safetensors(folder / "model.safetensors", shapes)


def _write_safetensors(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> int:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    total = 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [2 * total, 2 * (total + count)]}
        total += count
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    generator = np.random.Generator(np.random.PCG64(1))
    kept: dict[tuple[int, ...], bytes] = {}
    with path.open("wb") as stream:
        stream.write(len(raw).to_bytes(8, "little") + raw)
        for shape in shapes.values():
            if shape not in kept:
                values = generator.standard_normal(int(np.prod(shape)), np.float32) * np.float32(0.02)
                # the upper half of an F32, which is BF16 rounded towards zero
                kept[shape] = (values.view(np.uint32) >> np.uint32(16)).astype("<u2").tobytes()
            stream.write(kept[shape])
    return total


def conversions(source: Path, folder: Path, kind: str, llama_cpp: Path, oracle: str) -> list[Side]:
    made = folder / f"ours-{kind}.gguf"
    original = folder / f"theirs-{kind}.gguf"
    store = folder / "home"
    command = [str(SCRIPT), "convert", str(source), "--to", "gguf", "-o", "bench"]
    return [
        Side(OURS, [sys.executable, "-c", _CONVERT, str(source), str(made), kind], made),
        Side(COMMAND, [*command, "--type", kind.lower()], store, {"SLMCTL_HOME": str(store)}),
        Side(
            THEIRS,
            [
                *(oracle, "-c", _CONVERT_ORIGINAL, str(llama_cpp), str(source)),
                *("--outfile", str(original), "--outtype", kind.lower()),
            ],
            original,
        ),
    ]


def quantizations(source: Path, folder: Path, label: str, threads: int, oracle: str) -> list[Side]:
    made, original = folder / f"ours-{label}.gguf", folder / f"theirs-{label}.gguf"
    number = file_type_number(label)
    return [
        Side(
            QUANTIZER,
            [sys.executable, "-c", _QUANTIZE, str(source), str(made), label, str(threads)],
            made,
        ),
        Side(
            ORIGINAL,
            [oracle, "-c", _QUANTIZE_ORIGINAL, str(source), str(original), str(number), str(threads)],
            original,
        ),
    ]
