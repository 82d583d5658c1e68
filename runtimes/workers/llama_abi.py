"""The child process that gives a model's logits: llama.cpp's C functions, called through ctypes.

Run by path with `python -P`; imports the engine and the standard library only. Structures are laid out as in
llama.h of the builds in `KNOWN`, and an unknown build is told and not called: a field in another place would
be memory of something else. That the build fills its structures with the defaults of that header is checked
as well.

Standard input is one line of JSON: "parent" (pid), "models" (the paths of one file or of a set's parts),
"context", "most_bytes" (of logits at once), "threads", "batch_threads", "gpu_layers" and "main_gpu". The
answer on standard output is one line: {"ready": {...}}, or {"refused": {"kind", "message"}} and the end. Then
each line of JSON is a question, answered by a line of JSON with "bytes", and so many bytes:

    {"tokenize": TEXT}: the tokens, int32, behind what the model puts before a text
    {"decode": [TOKENS], "rows": K, "anew": B}: computed behind all before, or with "anew" behind nothing; of
        the last K the logits, float32, a row of the vocabulary's size each

The engine's own words go to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

KNOWN = ("2026.10.11549",)
"""The versions of xllamacpp whose llama.h is the one below."""

LINE_BYTES = 1 << 29
_PR_SET_PDEATHSIG = 1
_PATHS = ctypes.POINTER(ctypes.c_char_p)
_TOKENS = ctypes.POINTER(ctypes.c_int32)


class ModelParams(ctypes.Structure):
    """`struct llama_model_params`."""

    _fields_ = (
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        *((name, ctypes.c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts")),
        *((name, ctypes.c_bool) for name in ("no_host", "no_alloc", "load_mtp")),
    )


class ContextParams(ctypes.Structure):
    """`struct llama_context_params`."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        *((name, ctypes.c_int) for name in ("ctx_type", "rope_scaling_type", "pooling_type")),
        *((name, ctypes.c_int) for name in ("attention_type", "flash_attn_type")),
        *((name, ctypes.c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor")),
        *((name, ctypes.c_float) for name in ("yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", ctypes.c_uint32),
        ("defrag_thold", ctypes.c_float),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int),
        ("type_v", ctypes.c_int),
        ("moe_cache_size", ctypes.c_size_t),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        *((name, ctypes.c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload")),
        *((name, ctypes.c_bool) for name in ("swa_full", "kv_unified")),
        ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t),
        ("ctx_other", ctypes.c_void_p),
    )


class Batch(ctypes.Structure):
    """`struct llama_batch`."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", _TOKENS),
        ("embd", ctypes.c_void_p),
        ("pos", _TOKENS),
        ("n_seq_id", _TOKENS),
        ("seq_id", ctypes.POINTER(_TOKENS)),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


MODEL_DEFAULTS = {
    "n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0, "tensor_split": None,
    "kv_overrides": None, "vocab_only": False, "use_extra_bufts": True, "no_alloc": False, "load_mtp": False,
}  # fmt: skip
CONTEXT_DEFAULTS = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_rs_seq": 0, "n_threads": 4,
    "n_outputs_max_per_seq": 1, "n_threads_batch": 4, "rope_scaling_type": -1, "flash_attn_type": -1,
    "yarn_ext_factor": -1.0, "defrag_thold": -1.0, "type_k": 1, "type_v": 1, "moe_cache_size": 0,
    "embeddings": False, "offload_kqv": True, "no_perf": True, "op_offload": True, "swa_full": True,
    "kv_unified": False, "n_samplers": 0, "ctx_other": None,
}  # fmt: skip
"""What the header's own functions fill in."""

_POINTER, _INT, _BOOL = ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool
FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file": (_POINTER, (ctypes.c_char_p, ModelParams)),
    "llama_model_load_from_splits": (_POINTER, (_PATHS, ctypes.c_size_t, ModelParams)),
    "llama_model_get_vocab": (_POINTER, (_POINTER,)),
    "llama_model_has_encoder": (_BOOL, (_POINTER,)),
    "llama_model_is_diffusion": (_BOOL, (_POINTER,)),
    "llama_model_n_ctx_train": (_INT, (_POINTER,)),
    "llama_vocab_n_tokens": (_INT, (_POINTER,)),
    "llama_vocab_bos": (_INT, (_POINTER,)),
    "llama_vocab_get_add_bos": (_BOOL, (_POINTER,)),
    "llama_vocab_get_add_eos": (_BOOL, (_POINTER,)),
    "llama_tokenize": (_INT, (_POINTER, ctypes.c_char_p, _INT, _TOKENS, _INT, _BOOL, _BOOL)),
    "llama_init_from_model": (_POINTER, (_POINTER, ContextParams)),
    "llama_get_causal_attn": (_BOOL, (_POINTER,)),
    "llama_get_memory": (_POINTER, (_POINTER,)),
    "llama_memory_clear": (None, (_POINTER, _BOOL)),
    "llama_decode": (_INT, (_POINTER, Batch)),
    "llama_get_logits_ith": (_POINTER, (_POINTER, _INT)),
}


class Refused(Exception):
    """`kind` is `build`, `model` or `document`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for slmctl, which then ends us


def only_known(version: str) -> None:
    if version.partition("+")[0] not in KNOWN:
        names = ", ".join(KNOWN)
        raise Refused(
            "build", f"xllamacpp {version} lays its memory out in a way that is not known; {names} works"
        )


def typed(library: Any) -> Any:
    """The library with the types of all functions that are called. Raises Refused where one is missing."""
    for name, (gives, takes) in FUNCTIONS.items():
        function = getattr(library, name, None)
        if function is None:
            raise Refused("build", f"this build of llama.cpp has no {name}")
        function.restype, function.argtypes = gives, takes
    return library


def check_defaults(library: Any) -> None:
    """A header that is another than ours shows in what stands where."""
    for values, expected in (
        (library.llama_model_default_params(), MODEL_DEFAULTS),
        (library.llama_context_default_params(), CONTEXT_DEFAULTS),
    ):
        for name, value in expected.items():
            if getattr(values, name) != value:
                raise Refused(
                    "build",
                    f"this build of llama.cpp has {getattr(values, name)!r} for {name}, not {value!r}",
                )


class Model:
    """A loaded model with one context of one sequence."""

    def __init__(self, library: Any, document: dict[str, Any]) -> None:
        self._library = library
        handle = self._load([path.encode() for path in document["models"]], document)
        if library.llama_model_has_encoder(handle) or library.llama_model_is_diffusion(handle):
            raise Refused("model", "the model does not predict one token after the other")
        self.trained = library.llama_model_n_ctx_train(handle)
        self._vocabulary = library.llama_model_get_vocab(handle)
        self.columns = library.llama_vocab_n_tokens(self._vocabulary)
        if self.columns < 2:
            raise Refused("model", "the model has no vocabulary")
        self.batch = min(document["context"], 512)
        self.rows = max(1, min(self.batch, document["most_bytes"] // (4 * self.columns)))
        self._context = self._begin(handle, document)

    def _load(self, paths: list[bytes], document: dict[str, Any]) -> Any:
        wanted = self._library.llama_model_default_params()
        wanted.n_gpu_layers = document["gpu_layers"]
        wanted.main_gpu = document["main_gpu"]
        if len(paths) == 1:
            handle = self._library.llama_model_load_from_file(paths[0], wanted)
        else:
            parts = (ctypes.c_char_p * len(paths))(*paths)
            handle = self._library.llama_model_load_from_splits(parts, len(paths), wanted)
        if not handle:
            raise Refused("load", "failed to load model")
        return handle

    def _begin(self, handle: Any, document: dict[str, Any]) -> Any:
        wanted = self._library.llama_context_default_params()
        wanted.n_ctx = document["context"]
        wanted.n_batch = wanted.n_ubatch = self.batch
        wanted.n_outputs_max = wanted.n_outputs_max_per_seq = self.rows
        wanted.n_threads, wanted.n_threads_batch = document["threads"], document["batch_threads"]
        wanted.swa_full = False
        context = self._library.llama_init_from_model(handle, wanted)
        if not context:
            raise Refused("load", "failed to create context")
        if not self._library.llama_get_causal_attn(context):
            raise Refused("model", "the model makes vectors of texts and predicts no tokens")
        return context

    def about(self) -> dict[str, object]:
        library, vocabulary = self._library, self._vocabulary
        return {
            "columns": self.columns,
            "rows": self.rows,
            "batch": self.batch,
            "trained": self.trained,
            "bos": library.llama_vocab_bos(vocabulary)
            if library.llama_vocab_get_add_bos(vocabulary)
            else None,
        }

    def tokenize(self, text: str) -> bytes:
        data = text.encode()
        room = len(data) + 16
        tokens = (ctypes.c_int32 * room)()
        count = self._library.llama_tokenize(self._vocabulary, data, len(data), tokens, room, True, False)
        if count < 0:
            raise Refused("document", f"the text has more tokens than bytes ({-count})")
        if count and self._library.llama_vocab_get_add_eos(self._vocabulary):
            count -= 1  # what ends a text is no part of it
        return bytes(memoryview(tokens).cast("B")[: 4 * count])

    def decode(self, tokens: list[int], rows: int, *, anew: bool) -> list[Any]:
        """The logits of the last `rows` of the tokens, a buffer for each; they hold until the next call."""
        library, context, count = self._library, self._context, len(tokens)
        if not all(0 <= token < self.columns for token in tokens) or not 0 <= rows <= min(count, self.rows):
            raise Refused("document", "no such tokens, or too many rows")
        if anew:
            library.llama_memory_clear(library.llama_get_memory(context), True)
        wanted = (ctypes.c_int8 * count)(*([0] * (count - rows) + [1] * rows))
        ids = (ctypes.c_int32 * count)(*tokens)
        batch = Batch(count, ids, None, None, None, None, wanted)  # behind what there is of the one sequence
        status = library.llama_decode(context, batch)
        if status != 0:
            raise Refused("decode", f"llama.cpp could not compute {count} tokens (status {status})")
        found = []
        for row in range(count - rows, count):
            address = library.llama_get_logits_ith(context, row)
            if not address:
                raise Refused("decode", "llama.cpp gave no logits")
            found.append((ctypes.c_char * (4 * self.columns)).from_address(address))
        return found


def answer(stream: Any, fields: dict[str, object], parts: list[Any] | None = None) -> None:
    size = sum(len(part) for part in parts or ())
    stream.write(json.dumps({**fields, "bytes": size}).encode() + b"\n")
    for part in parts or ():
        stream.write(part)
    stream.flush()


def serve(stream: Any) -> None:
    document = json.loads(sys.stdin.buffer.readline(LINE_BYTES))
    if os.getppid() != document.get("parent"):
        return
    try:
        import xllamacpp  # only now: it runs native code, and its absence is told in our words
    except ImportError as error:
        raise Refused("import", str(error)) from None
    only_known(xllamacpp.__version__)
    library = typed(ctypes.CDLL(xllamacpp.xllamacpp.__file__))
    library.llama_backend_init()
    check_defaults(library)
    model = Model(library, document)
    answer(stream, {"ready": {**model.about(), "version": xllamacpp.__version__}})
    while line := sys.stdin.buffer.readline(LINE_BYTES):
        question = json.loads(line)
        if "tokenize" in question:
            answer(stream, {}, [model.tokenize(question["tokenize"])])
        else:
            answer(stream, {}, model.decode(question["decode"], question["rows"], anew=question["anew"]))


def main() -> NoReturn:
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["GGML_NO_BACKTRACE"] = "1"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in runtimes/workers/llamacpp.py
    status = 0
    with os.fdopen(os.dup(1), "wb") as stream:
        os.dup2(2, 1)  # what C code prints is no part of an answer
        try:
            serve(stream)
        except Refused as error:
            answer(stream, {"refused": {"kind": error.kind, "message": str(error)}})
            status = 1
    os._exit(status)  # some drivers hang, or crash, while they are taken down


if __name__ == "__main__":
    main()
