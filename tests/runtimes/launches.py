"""Launches of the fake and of the real engine."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from runtimes.engines.base import LaunchRequest
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.launch import Launch, fd_path, worker_argv
from runtimes.process import Worker

REPOSITORY = Path(__file__).parents[2]
FAKE_ENGINE = REPOSITORY / "tests" / "fakes" / "fake_engine.py"
DEADLINE_SECONDS = 20.0

# llama.cpp's threads wait for each other by spinning, which takes long where other tests run beside
ONE_THREAD = LaunchRequest(model="", context_length=512, threads=1, batch_threads=1)


def fake_launch(base: Path, *arguments: str, start_timeout_seconds: float = DEADLINE_SECONDS) -> Launch:
    return Launch(
        argv=(sys.executable, "-P", str(FAKE_ENGINE), *arguments),
        environment=worker_environment(os.environ),
        document={},
        explain=LLAMA_CPP.explain,
        folder_candidates=[base],
        start_timeout_seconds=start_timeout_seconds,
    )


@contextlib.contextmanager
def llama_launch(base: Path, model: Path, request: LaunchRequest | None = None) -> Iterator[Launch]:
    """The real engine with `model` handed over as a descriptor, which is open inside the block."""
    fd = os.open(model, os.O_RDONLY)
    try:
        request = dataclasses.replace(request or ONE_THREAD, model=fd_path(fd))
        yield Launch(
            argv=worker_argv("llamacpp"),
            environment=worker_environment(os.environ),
            document=LLAMA_CPP.command(request),
            explain=LLAMA_CPP.explain,
            folder_candidates=[base],
            pass_fds=(fd,),
            start_timeout_seconds=60.0,
        )
    finally:
        os.close(fd)


@contextlib.contextmanager
def llama_worker(base: Path, model: Path, request: LaunchRequest | None = None) -> Iterator[Worker]:
    with llama_launch(base, model, request) as launch, Worker(launch) as worker:
        worker.ensure_ready(DEADLINE_SECONDS)
        yield worker
