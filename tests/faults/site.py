"""A home with models to serve, for faults and load."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.slmctl.cli.program import Program
from tools.random_model import GIGABYTE, TINY, Shape, write_random_model

HELLO = "hello"
"""Comes with slmctl."""

TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


@contextmanager
def site(*, folder: Path | None = None) -> Iterator[Program]:
    """slmctl with an empty home; workers' folders that are left in the end are an error."""
    with tempfile.TemporaryDirectory(prefix="slm", dir=folder) as name:  # short, for socket paths
        runtime = Path(name) / "run"
        runtime.mkdir()
        program = Program(Path(name) / "home", runtime)
        yield program
        assert list(runtime.glob("slmctl-*/w-*")) == []
        shutil.rmtree(program.home, ignore_errors=True)


def config(*, parallel: int, tiny_parallel: int | None = None, more: str = "") -> str:
    """Models stay, and answer so many at once; tiny has room for answers that take many seconds."""
    return f"""[serve]
parallel = {parallel}
keep_alive = "-1"
{more}
[serve.models."tiny:latest"]
parallel = {tiny_parallel or parallel}
parameters = {{ num_ctx = 100000 }}
"""


def make_tiny(program: Program, name: str = "tiny") -> str:
    """A random model of 0.8 MB, which never ends by itself; gives the digest (hex) of its weights."""
    return _make(program, name, replace(TINY, context=131072))


def make_gigabyte(program: Program, name: str = "gigabyte") -> str:
    return _make(program, name, GIGABYTE)


def _make(program: Program, name: str, shape: Shape) -> str:
    path = program.home.parent / f"{name}.gguf"
    write_random_model(path, shape=shape, chat_template=TEMPLATE, distinct_rows=64)
    done = program("create", name, "--from", str(path), "--move")
    assert done.code == 0, done.err
    return weights_of(program, name)


def weights_of(program: Program, name: str) -> str:
    """The digest (hex) of a model's weights, which is the name of the blob."""
    shown = program("show", name, "--json")
    assert shown.code == 0, shown.err
    found = [file["digest"] for file in _files(shown.json) if file.get("role") == "weights"]
    assert len(found) == 1, json.dumps(shown.json)
    return str(found[0]).removeprefix("sha256:")


def _files(shown: dict[str, object]) -> list[dict[str, object]]:
    variants = shown["variants"]
    assert isinstance(variants, list)
    return [file for variant in variants for file in variant["files"]]
