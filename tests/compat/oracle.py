"""llama.cpp's own converter, in an environment of its own: `make compat` sets it up in .venv-oracle.

It comes in the source distribution of llama-cpp-python and needs torch and Transformers. Children run there as
modules of this repository, with llama.cpp's folder on their path.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-oracle"
PYTHON = HOME / "bin" / "python"
LLAMA_CPP = HOME / "llama.cpp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A conversion, of an adapter where there is a `base`; `pre` names the tokenizer for the converter where it
    cannot know it."""

    model: Path
    out: Path
    type: str
    pre: str | None = None
    base: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`knew` is the tokenizer that the converter knew by itself, `error` what it died of."""

    knew: str | None
    error: str | None


def require() -> None:
    """Skip where it is not installed."""
    if not PYTHON.exists() or not (LLAMA_CPP / "convert_hf_to_gguf.py").exists():
        pytest.skip("llama.cpp's converter is not installed: make compat")


def require_quantizer() -> None:
    """Skip where llama-cpp-python is not installed."""
    if not PYTHON.exists() or not list(HOME.glob("lib/python*/site-packages/llama_cpp/lib")):
        pytest.skip("llama-cpp-python is not installed: make compat")


def make_models(folder: Path, *names: str) -> None:
    """A folder for each model of tests/compat/oracle_models.py, or for those named."""
    _run("tests.compat.oracle_models", [str(LLAMA_CPP), str(folder), *names], "")


def convert_all(jobs: Iterable[Job]) -> list[Answer]:
    """What the converter makes of them, in one process."""
    lines = [json.dumps(asdict(job), default=str) for job in jobs]
    said = _run("tests.compat.oracle_convert", [], "\n".join(lines))
    return [Answer(**json.loads(line)) for line in said.splitlines()]


def embed(folder: Path, texts: Iterable[str]) -> list[list[float]]:
    """What Transformers makes of texts with the embedding model in a folder."""
    vectors: list[list[float]] = json.loads(
        _run("tests.compat.oracle_embed", [str(folder)], json.dumps(list(texts)))
    )
    return vectors


def logits(models: Mapping[Path, Path], tokens: int) -> None:
    """What Transformers computes for so many tokens with each model, into its file."""
    asked = {str(folder): str(out) for folder, out in models.items()}
    _run("tests.compat.oracle_logits", [str(tokens)], json.dumps(asked))


def packaged(name: str, file: str) -> Path:
    """The folder that holds `file` in a distribution of the oracle's environment; skips where it is not there."""
    found = sorted(HOME.glob(f"lib/python3*/site-packages/{name}/**/{file}"))
    if not found:
        pytest.skip(f"{name} is not on the package index any more")
    return found[0].parent


def _run(module: str, arguments: list[str], given: str) -> str:
    env = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{LLAMA_CPP}:{LLAMA_CPP / 'gguf-py'}",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": "2",
    }
    command = [str(PYTHON), "-m", module, *arguments]
    done = subprocess.run(
        command, input=given, cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
