"""The engine alone: xllamacpp in one process, without slmctl. Prints what it took as one line of JSON.

    python benchmarks/engine_direct.py MODEL.gguf PROMPT TOKENS THREADS CONTEXT

Times are in seconds from the moment the program's first line runs: "loaded", and the arrival of each token of
the first answer ("tokens") and of a second one to the same prompt ("again"). Parameters are those that
slmctl's worker gives.
"""

from __future__ import annotations

import time

_START = time.perf_counter()

import json  # noqa: E402 - the clock starts before anything is imported
import sys  # noqa: E402
from typing import Any  # noqa: E402


def ask(server: Any, prompt: str, tokens: int) -> list[float]:
    """When each piece of the answer came."""
    moments: list[float] = []

    def take(answer: Any) -> bool | None:
        if answer["choices"][0]["text"]:
            moments.append(time.perf_counter() - _START)
        return None

    server.handle_completions(
        {"prompt": prompt, "stream": True, "temperature": 0, "max_tokens": tokens}, take
    )
    return moments


def main() -> None:
    model, prompt, tokens, threads, context = sys.argv[1:]
    import xllamacpp  # belongs to the engine's own start

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = int(threads)
    params.cache_ram_mib = 0
    params.fit_params = False
    server = xllamacpp.Server(params)
    loaded = time.perf_counter() - _START
    first = ask(server, prompt, int(tokens))
    asked_again = time.perf_counter() - _START
    again = [moment - asked_again for moment in ask(server, prompt, 8)]
    print(json.dumps({"loaded": loaded, "tokens": first, "again": again}))


if __name__ == "__main__":
    main()
