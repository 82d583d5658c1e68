"""The child process that asks llama.cpp how much memory models would take; it allocates none of it.

Run by path with `python -P`; imports the engine and the standard library only. Standard input is one line of
JSON: "parent" (pid), "seconds" (for each measurement), "memory" (bytes that each may write), and
"measurements": a list of {"model": path, "flags": {...}} with the flags of runtimes/workers/llamacpp.py that
memory depends on. For each, in order, one line on standard output: {"log": the engine's words, "status": how
that ended}. The model's file must be there and as long as it says; beyond the header it may be a hole.

llama-server crashes on a context without memory as soon as it wants to use it, after the sizes were printed:
so each measurement runs in a process of its own, forked before the engine has any thread. There the crash is
held up (`pause` handles it), because the engine's log comes from a thread that would die with it; the
process is ended once the line has come that follows the sizes.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from typing import Any, NoReturn

DOCUMENT_BYTES = 8 * 1024 * 1024
LOG_BYTES = 4 * 1024 * 1024
LOG_SECONDS = 1.0  # the log is written by a thread; where all goes well nobody waits
LOG_LEVEL = 4  # at 3 the engine does not print the sizes of its buffers
ALL_IS_SAID = b"llama threadpool init"
_PR_SET_PDEATHSIG = 1

# the flags that memory depends on, as in runtimes/workers/llamacpp.py
_SAME_NAME = (
    "n_ctx",
    "n_parallel",
    "n_batch",
    "n_ubatch",
    "n_gpu_layers",
    "main_gpu",
    "embedding",
    "kv_unified",
    "swa_full",
)
_CACHE_TYPES = ("cache_type_k", "cache_type_v")


def fail(message: str) -> NoReturn:
    sys.stderr.write(json.dumps({"slmctl_worker_error": {"kind": "oracle", "message": message}}) + "\n")
    sys.stderr.flush()
    os._exit(1)


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def read_document() -> dict[str, Any]:
    line = sys.stdin.buffer.readline(DOCUMENT_BYTES)
    if not line.endswith(b"\n"):
        fail("standard input gave no document")
    document = json.loads(line)
    if not isinstance(document, dict):
        fail("the document is no object")
    return document


def parameters(engine: Any, model: str, flags: dict[str, Any], socket: str) -> Any:
    """The launch as the worker's, but without memory: nothing of the weights is read."""
    params = engine.CommonParams()
    params.no_alloc = True
    params.load_mode = engine.llama_load_mode.LLAMA_LOAD_MODE_NONE
    params.fit_params = False
    params.kv_unified = False
    params.swa_full = False
    params.warmup = False
    params.verbosity = LOG_LEVEL
    params.ui = False
    params.offline = True
    params.hostnames = [socket]
    params.port = 8080
    params.api_keys = ["none"]
    params.model.path = model
    known = {*_SAME_NAME, *_CACHE_TYPES, "flash_attention", "pooling"}
    for name, value in flags.items():
        if name not in known:
            raise ValueError(f"flag {name} is not allowed")
        if name in _SAME_NAME:
            setattr(params, name, value)
        elif name in _CACHE_TYPES:
            setattr(params, name, getattr(engine.ggml_type, f"GGML_TYPE_{value.upper()}"))
        elif name == "flash_attention":
            state = "ENABLED" if value else "DISABLED"
            params.flash_attn_type = getattr(engine.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{state}")
        else:
            params.pooling_type = getattr(engine.llama_pooling_type, f"LLAMA_POOLING_TYPE_{value.upper()}")
    return params


def measure(engine: Any, measurement: dict[str, Any], folder: str, memory: int) -> NoReturn:
    """In the forked process: load, and never come back."""
    die_with_parent()
    libc = ctypes.CDLL(None)
    libc.signal(signal.SIGSEGV, libc.pause)
    resource.setrlimit(
        resource.RLIMIT_DATA, (memory, memory)
    )  # GPU drivers reserve address space without end
    try:
        socket = os.path.join(folder, "o.sock")  # noqa: PTH118 - nothing but the engine and what it needs is imported
        server = engine.Server(parameters(engine, measurement["model"], measurement["flags"], socket))
        time.sleep(LOG_SECONDS)
        del server
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told and ends this process
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        time.sleep(LOG_SECONDS)
    os._exit(0)


def words(pipe: int, child: int, seconds: float) -> tuple[str, int]:
    """What the child writes, until it ends or its time is over; and its exit status."""
    said = bytearray()
    until = time.monotonic() + seconds
    while True:
        left = until - time.monotonic()
        ready = select.select([pipe], [], [], max(left, 0))[0]
        if not ready:
            os.kill(child, signal.SIGKILL)
            break
        piece = os.read(pipe, 65536)
        if not piece:
            break
        if len(said) < LOG_BYTES:
            said += piece
        if ALL_IS_SAID in said:
            os.kill(child, signal.SIGKILL)
            break
    os.close(pipe)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said.decode(errors="replace"), status


def main() -> None:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["GGML_NO_BACKTRACE"] = "1"
    document = read_document()
    if os.getppid() != document.get("parent"):
        fail("the process that started this one is gone")
    try:
        import xllamacpp  # only now: it runs native code, and its absence is told in our words
    except ImportError as error:
        fail(str(error))
    with tempfile.TemporaryDirectory(prefix="slmctl-oracle-") as folder:
        for measurement in document["measurements"]:
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                os.dup2(writing, 2)
                os.dup2(writing, 1)
                measure(xllamacpp, measurement, folder, document["memory"])
            os.close(writing)
            log, status = words(reading, child, document["seconds"])
            with_socket = os.path.join(folder, "o.sock")  # noqa: PTH118
            if os.path.exists(with_socket):  # noqa: PTH110
                os.unlink(with_socket)  # noqa: PTH108
            sys.stdout.write(json.dumps({"log": log, "status": status}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
