"""The registry that models are pulled from: outside of the traced worlds, and left alone by what happens there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.registry import fake_registry
from tests.registries.programs import docker_registry


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """docker-registry where it is installed, else one of ours; gives HOST:PORT."""
    if shutil.which("docker-registry") is None:
        with fake_registry() as ours:
            yield ours.server.url.removeprefix("http://")
        return
    (folder / "registry").mkdir()
    with docker_registry(folder / "registry") as real:
        yield real.host
