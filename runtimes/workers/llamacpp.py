"""The child process that runs llama.cpp: llama-server's HTTP on a unix socket, by xllamacpp.

Run by path with `python -P`; imports the engine and the standard library only. What it is to do comes as one
line of JSON on standard input, which then stays open: its end means that the parent is gone. The log goes to
standard error; an expected failure is told there in one line, `{"slmctl_worker_error": {"kind", "message"}}`,
with exit status 1.

The document: "parent" (pid), "folder" (0700, ours), "socket", "key", "model", and where there are such
"projector", "adapters" (a list) and "draft" (relative paths lie in the folder); "flags" (allow-listed below).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
import threading
import time
from typing import Any, NoReturn

DOCUMENT_BYTES = 8 * 1024 * 1024
LOG_SECONDS = 0.2
LAST_LINES_SECONDS = 0.01  # the log of the last answer comes from a thread, and is not worth more waiting
SOCKET_TIMEOUT_SECONDS = 600
LOG_LEVEL = 3  # what it does; at 5 llama.cpp writes whole requests
LOADING_LEVEL = 4  # as it loads also how large its buffers are, which a plan is compared with
_PR_SET_PDEATHSIG = 1


def fail(kind: str, message: str) -> NoReturn:
    line = json.dumps({"slmctl_worker_error": {"kind": kind, "message": message}})
    sys.stderr.write(f"\n{line}\n")
    sys.stderr.flush()
    os._exit(1)


def die_with_parent() -> None:
    """Linux kills us when the thread that started us ends.

    macOS has no such thing: there the end of standard input is all, and it is seen only while xllamacpp lets
    other threads run, which is not while it loads a model.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            fail("system", f"prctl: {os.strerror(ctypes.get_errno())}")


def own_process_state() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for slmctl, which then stops us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # prompts do not belong into core files
    os.environ["GGML_NO_BACKTRACE"] = "1"  # an abort would run a debugger first
    if "OMP_WAIT_POLICY" not in os.environ:
        # libgomp's threads spin long for each other: with one busy neighbour on two CPUs a 0.25B model falls
        # from 50 tokens/s to 1; with this spin from 50 to 20, without any from 46 to 30
        os.environ["GOMP_SPINCOUNT"] = "1000"


def read_document() -> dict[str, Any]:
    """The one line of standard input; nothing follows it but its end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        line += piece
        if not piece or len(line) > DOCUMENT_BYTES:
            fail("document", "standard input gave no launch document")
    document = json.loads(line)
    if not isinstance(document, dict):
        fail("document", "the launch document is no object")
    return document


def leave_with_standard_input() -> None:
    """Nothing follows the document: whatever wakes the read is the end."""
    while os.read(0, 65536):
        pass
    time.sleep(LAST_LINES_SECONDS)
    os._exit(0)


def integer(low: int, high: int = 2**31 - 1) -> Any:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return check


def number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ValueError("must be a positive number")
    return float(value)


def truth(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def text(value: object) -> str:
    if type(value) is not str or "\0" in value:
        raise ValueError("must be a text")
    return value


def choice(*names: str) -> Any:
    def check(value: object) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return str(value)

    return check


_CACHE_TYPE = choice("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")

# every flag that a document may carry, with what its value must be: nothing else reaches the engine
FLAGS = {
    "n_ctx": integer(1),
    "n_parallel": integer(1, 256),
    "n_threads": integer(1, 512),
    "n_threads_batch": integer(1, 512),
    "n_batch": integer(1),
    "n_ubatch": integer(1),
    "n_gpu_layers": integer(-1),
    "main_gpu": integer(0, 64),
    "cache_ram_mib": integer(-1),
    "cache_type_k": _CACHE_TYPE,
    "cache_type_v": _CACHE_TYPE,
    "flash_attention": truth,
    "mmap": truth,
    "mlock": truth,
    "embedding": truth,
    "pooling": choice("none", "mean", "cls", "last", "rank"),
    "chat_template": text,
    "draft_tokens": integer(0, 1024),
    "n_predict": integer(-1),
    "rope_freq_base": number,
    "rope_freq_scale": number,
    "warmup": truth,
    "context_checkpoints": integer(0, 1024),
    "repack": truth,
}
_SAME_NAME = (
    "n_ctx",
    "n_parallel",
    "n_batch",
    "n_ubatch",
    "n_gpu_layers",
    "main_gpu",
    "cache_ram_mib",
    "embedding",
    "chat_template",
    "n_predict",
    "rope_freq_base",
    "rope_freq_scale",
    "warmup",
)
_REQUIRED = ("n_ctx", "n_parallel", "cache_ram_mib")


def checked_flags(document: dict[str, Any]) -> dict[str, Any]:
    flags = document["flags"]
    unknown = sorted(flags.keys() - FLAGS.keys())
    if unknown:
        fail("document", f"flag {unknown[0]} is not allowed")
    for name in _REQUIRED:
        if name not in flags:
            fail("document", f"flag {name} is missing")
    checked = {}
    for name, value in flags.items():
        try:
            checked[name] = FLAGS[name](value)
        except ValueError as error:
            fail("document", f"flag {name} {error}")
    return checked


def close_doors(params: Any) -> None:
    """Everything of llama-server that is not the worker contract is off, whatever its default."""
    params.ui = False
    params.ui_mcp_proxy = False
    params.mcp_servers_config = ""
    params.mcp_servers_json = ""
    params.server_tools = []
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.cors_origins = ""
    params.cors_methods = ""
    params.cors_headers = ""
    params.cors_credentials = False
    params.media_path = ""
    params.slot_save_path = ""
    params.public_path = ""
    params.models_dir = ""
    params.models_autoload = False
    params.offline = True
    params.verbosity = LOG_LEVEL
    params.hf_token = ""


def log_level_setter(engine: Any) -> Any:
    """llama.cpp's own function for it; None where this build does not export it."""
    return getattr(ctypes.CDLL(engine.xllamacpp.__file__), "_Z30common_log_set_verbosity_tholdi", None)


def set_parameters(engine: Any, params: Any, document: dict[str, Any], flags: dict[str, Any]) -> None:
    folder = text(document["folder"])
    params.hostnames = [text(document["socket"])]
    params.port = 8080  # of no meaning for a unix socket, but it must not be 0
    params.api_keys = [text(document["key"])]
    params.model.path = os.path.join(folder, text(document["model"]))  # noqa: PTH118 - an absolute one stays
    params.model_alias = {"model"}  # else answers name the path
    if "projector" in document:
        params.mmproj.path = os.path.join(folder, text(document["projector"]))  # noqa: PTH118
    params.lora_adapters = [
        engine.CommonAdapterLoraInfo(os.path.join(folder, text(adapter)), 1.0)  # noqa: PTH118
        for adapter in document.get("adapters", [])
    ]
    if "draft" in document:
        params.speculative.draft.mparams.path = os.path.join(folder, text(document["draft"]))  # noqa: PTH118
        params.speculative.types = [engine.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    if "draft_tokens" in flags:
        params.speculative.draft.n_max = flags["draft_tokens"]
    params.timeout_read = SOCKET_TIMEOUT_SECONDS
    params.timeout_write = SOCKET_TIMEOUT_SECONDS
    params.fit_params = False
    params.kv_unified = False  # each slot has its own cells, and windows keep no more than they need:
    params.swa_full = False  # a plan counts on it
    for name in _SAME_NAME:
        if name in flags:
            setattr(params, name, flags[name])
    if "n_threads" in flags:
        params.cpuparams.n_threads = flags["n_threads"]
    if "n_threads_batch" in flags:
        params.cpuparams_batch.n_threads = flags["n_threads_batch"]
    for name in ("cache_type_k", "cache_type_v"):
        if name in flags:
            setattr(params, name, getattr(engine.ggml_type, f"GGML_TYPE_{flags[name].upper()}"))
    if "context_checkpoints" in flags:
        params.n_ctx_checkpoints = flags["context_checkpoints"]
    if "repack" in flags:
        params.no_extra_bufts = not flags["repack"]
    if "pooling" in flags:
        params.pooling_type = getattr(
            engine.llama_pooling_type, f"LLAMA_POOLING_TYPE_{flags['pooling'].upper()}"
        )
    if "flash_attention" in flags:
        state = "ENABLED" if flags["flash_attention"] else "DISABLED"
        params.flash_attn_type = getattr(engine.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{state}")
    modes = {
        (True, False): "MMAP",
        (True, True): "MMAP_MLOCK",
        (False, False): "NONE",
        (False, True): "MLOCK",
    }
    mlock = flags.get("mlock", False)
    if "mmap" in flags or mlock:
        mode = modes[flags.get("mmap", True), mlock]
        params.load_mode = getattr(engine.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")


def main() -> None:
    die_with_parent()
    own_process_state()
    document = read_document()
    if os.getppid() != document.get("parent"):
        fail("parent", "the process that started this one is gone")
    threading.Thread(target=leave_with_standard_input, daemon=True).start()
    flags = checked_flags(document)
    try:
        import xllamacpp  # only now: it runs native code, and its absence is told in our words
    except ImportError as error:
        fail("import", str(error))
    params = xllamacpp.CommonParams()
    close_doors(params)
    try:
        set_parameters(xllamacpp, params, document, flags)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        fail("document", f"this build of xllamacpp does not take the launch document: {error!r}")
    set_log_level = log_level_setter(xllamacpp)
    if set_log_level is not None:
        params.verbosity = LOADING_LEVEL
    try:
        server = xllamacpp.Server(params)  # holds the interpreter until the model is loaded
    except (RuntimeError, ValueError, MemoryError) as error:
        # why it failed stands only in the log, which llama.cpp writes from a thread of its own
        time.sleep(LOG_SECONDS)
        fail("load", str(error) or type(error).__name__)
    if set_log_level is not None:
        set_log_level(LOG_LEVEL)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
