"""What tests share: slmctl as a user has it, and models, random ones made here and a real one from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as laws

from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model, write_random_shards

pytest_plugins = ["tests.recording.plugin"]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # started with & by a shell, which children would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

laws.register_profile("slmctl", deadline=None)  # no test asserts a speed
laws.load_profile("slmctl")

STORIES = Path(__file__).parents[2] / "shared" / "models" / "stories260K"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 0.8 MB that says words and never ends by itself."""
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    write_random_model(path)
    return path


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same in three parts."""
    return write_random_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def stories() -> Path:
    """The folder of the stories260K model, which lies outside of the repository."""
    if not STORIES.is_dir():
        pytest.skip(f"no {STORIES}")
    return STORIES


@pytest.fixture
def slmctl(tmp_path: Path) -> Iterator[Program]:
    """The program with an empty home; afterwards no worker's folder may be left."""
    runtime = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        yield Program(tmp_path / "home", runtime)
        assert list(runtime.glob("slmctl-*/w-*")) == []
    finally:
        shutil.rmtree(runtime)


@pytest.fixture
def without_libgomp(tmp_path: Path) -> list[str]:
    """A command prefix that runs a program where libgomp.so.1 is not installed: an overlay hides it."""
    library = next(Path("/usr/lib").glob("*/libgomp.so.1"), None)
    if os.geteuid() != 0 or library is None or shutil.which("unshare") is None:
        pytest.skip("needs root, unshare and a libgomp to hide")
    scratch = tmp_path / "overlay"
    scratch.mkdir()
    script = (
        'set -e; mount -t tmpfs none "$1"; mkdir "$1/up" "$1/work"; '
        'for f in "$2"/libgomp.so.1*; do mknod "$1/up/${f##*/}" c 0 0; done; '  # overlayfs: the name is gone
        'mount -t overlay none -o "lowerdir=$2,upperdir=$1/up,workdir=$1/work" "$2"; shift 2; exec "$@"'
    )
    prefix = ["unshare", "--mount", "sh", "-c", script, "sh", str(scratch), str(library.parent)]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("cannot mount an overlay here")
    return prefix
