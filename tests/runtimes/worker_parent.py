"""A small slmctl: starts one worker, tells about it in lines of JSON, and lives until it is killed.

    python -m tests.runtimes.worker_parent BASE when MODEL-OR-EMPTY [fake engine's arguments ...]

`when` says after what the first line comes: "started", "loading" (llama.cpp has begun to read the model), or
"ready". After SIGINT it asks the worker for an answer and tells that too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from runtimes.client import Client
from runtimes.engines.base import LaunchRequest
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.launch import Launch, fd_path, worker_argv
from runtimes.process import Worker
from runtimes.protocol import completion_request
from runtimes.sampling import Sampling
from tests.runtimes.launches import FAKE_ENGINE


def tell(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def launch_for(base: Path, model: str, fake: list[str]) -> Launch:
    environment = worker_environment(os.environ)
    if not model:
        argv = (sys.executable, "-P", str(FAKE_ENGINE), *fake)
        return Launch(
            argv=argv,
            environment=environment,
            document={},
            explain=LLAMA_CPP.explain,
            folder_candidates=[base],
        )
    fd = os.open(model, os.O_RDONLY)
    request = LaunchRequest(model=fd_path(fd), context_length=256, threads=1, mmap=False)
    return Launch(
        argv=worker_argv("llamacpp"),
        environment=environment,
        document=LLAMA_CPP.command(request),
        explain=LLAMA_CPP.explain,
        folder_candidates=[base],
        pass_fds=(fd,),
    )


def main() -> None:
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    base, when, model, *fake = sys.argv[1:]
    worker = Worker(launch_for(Path(base), model, fake))
    worker.start()
    if when == "ready":
        worker.ensure_ready(60)
    deadline = time.monotonic() + 60
    while when == "loading" and "loading model" not in worker.stderr_tail and time.monotonic() < deadline:
        worker.ended.wait(0.002)
    tell(pid=worker.pid, state=worker.state, folder=str(worker.endpoint.socket.parent))
    interrupted.wait()
    events = list(Client(worker.endpoint, worker).stream(completion_request("", Sampling(num_predict=2))))
    tell(events=len(events))
    worker.stop()


if __name__ == "__main__":
    main()
