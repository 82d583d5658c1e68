"""The engine alone: xllamacpp in one process, without slmctl. Prints what it took as one line of JSON.

    python benchmarks/engine_direct.py MODEL.gguf PROMPT TOKENS THREADS CONTEXT START

Times are in seconds from START, the moment by time.monotonic at which it was started: "loaded", and the
arrival of each token of the first answer ("tokens"); "again" is that of a second answer to the same prompt,
from when it was asked. Parameters are those that slmctl's worker gives.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def ask(server: Any, prompt: str, tokens: int, start: float) -> list[float]:
    """When each piece of the answer came, in seconds from `start`."""
    moments: list[float] = []

    def take(answer: Any) -> bool | None:
        if answer["choices"][0]["text"]:
            moments.append(time.monotonic() - start)
        return None

    server.handle_completions(
        {"prompt": prompt, "stream": True, "temperature": 0, "max_tokens": tokens}, take
    )
    return moments


def main() -> None:
    model, prompt, tokens, threads, context, started = sys.argv[1:]
    start = float(started)
    import xllamacpp  # belongs to the engine's own start

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = int(threads)
    params.cache_ram_mib = 0
    params.fit_params = False
    params.verbosity = 3
    server = xllamacpp.Server(params)
    loaded = time.monotonic() - start
    first = ask(server, prompt, int(tokens), start)
    again = ask(server, prompt, 8, time.monotonic())
    print(json.dumps({"loaded": loaded, "tokens": first, "again": again}))


if __name__ == "__main__":
    main()
