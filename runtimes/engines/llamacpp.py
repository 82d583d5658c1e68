"""llama.cpp through xllamacpp: the launch document, and what its crashes mean."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from typing import NamedTuple

from registry.errors import EngineFailed, MalformedFile, SlmctlError, UsageError
from runtimes.engines import llamacpp_log
from runtimes.engines.base import Explanation, LaunchRequest
from runtimes.errors import EngineUnavailable, ModelTooBig
from runtimes.template_limits import too_much

# ggml's names for the types that a KV cache may have
CACHE_TYPES = frozenset({"f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"})
POOLING_TYPES = frozenset({"none", "mean", "cls", "last", "rank"})

# every flag that a launch document may carry, the same list as in runtimes/workers/llamacpp.py (a test
# compares them): a flag that is not here does not reach the engine, whoever asks for it
FLAGS = frozenset(
    {
        "n_ctx",
        "n_parallel",
        "n_threads",
        "n_threads_batch",
        "n_batch",
        "n_ubatch",
        "n_gpu_layers",
        "main_gpu",
        "cache_ram_mib",
        "cache_type_k",
        "cache_type_v",
        "flash_attention",
        "mmap",
        "mlock",
        "embedding",
        "pooling",
        "chat_template",
        "draft_tokens",
        "n_predict",
        "rope_freq_base",
        "rope_freq_scale",
        "warmup",
        "context_checkpoints",
        "repack",
    }
)


class LlamaCpp:
    name = "llama.cpp"
    worker = "llamacpp"

    def supports(self, model_format: str, architecture: str | None) -> str | None:
        if model_format != "gguf":
            return f"llama.cpp runs GGUF files, not {model_format}."
        return None

    def command(self, request: LaunchRequest) -> Mapping[str, object]:
        _check_choice("KV cache type", request.cache_type_k, CACHE_TYPES)
        _check_choice("KV cache type", request.cache_type_v, CACHE_TYPES)
        _check_choice("pooling", request.pooling, POOLING_TYPES)
        if request.context_length < 2 or request.parallel < 1:
            raise UsageError(
                f"A context of {request.context_length} tokens is too short.",
                hint="llama.cpp takes 2 or more.",
            )
        for what, value, low, high in (
            ("number of threads (num_thread)", request.threads, 1, 512),
            ("batch (num_batch)", request.batch, 2, 2**31 - 1),
            ("main GPU (main_gpu)", request.main_gpu, 0, 64),
            ("number of GPU layers (num_gpu)", request.gpu_layers, -1, 2**31 - 1),
            ("number of drafted tokens (draft_num_predict)", request.draft_tokens, 0, 1024),
        ):
            if value is not None and not low <= value <= high:
                raise UsageError(f"The {what} must lie between {low} and {high}; {value} does not.")
        flags = {
            # llama.cpp divides its context among the slots
            "n_ctx": request.context_length * request.parallel,
            "n_parallel": request.parallel,
            "n_threads": request.threads,
            "n_threads_batch": request.batch_threads,
            "n_batch": request.batch,
            "n_ubatch": request.micro_batch,
            "n_gpu_layers": request.gpu_layers,
            "main_gpu": request.main_gpu,
            "cache_ram_mib": request.cache_ram_mib,
            "cache_type_k": request.cache_type_k,
            "cache_type_v": request.cache_type_v,
            "flash_attention": request.flash_attention,
            "mmap": request.mmap,
            "mlock": request.mlock,
            "embedding": request.embedding,
            "pooling": request.pooling,
            "chat_template": request.chat_template,
            "draft_tokens": request.draft_tokens,
            "n_predict": request.predict_limit,
            "rope_freq_base": request.rope_freq_base,
            "rope_freq_scale": request.rope_freq_scale,
            "warmup": request.warmup,
            "context_checkpoints": request.context_checkpoints,
            "repack": request.repack,
        }
        document: dict[str, object] = {
            "model": request.model,
            "flags": {name: value for name, value in flags.items() if value is not None},
        }
        if request.projector is not None:
            document["projector"] = request.projector
        if request.adapters:
            document["adapters"] = list(request.adapters)
        if request.draft is not None:
            document["draft"] = request.draft
        return document

    def explain(self, returncode: int | None, stderr_tail: str) -> Explanation:
        report = _worker_report(stderr_tail)
        stderr_tail = _without_the_models_words(stderr_tail)
        for meaning in _MEANINGS:
            found = meaning.pattern.search(report) or meaning.pattern.search(stderr_tail)
            if found is not None:
                said = {name: _presentable(text or "") for name, text in found.groupdict().items()}
                return Explanation(
                    sentence=meaning.sentence.format(**said), hint=meaning.hint, error=meaning.error
                )
        if returncode in _CRASHES and stderr_tail.rfind(_SLOTS_ARE_MADE) > stderr_tail.rfind(_ALL_IS_LOADED):
            return too_much("brought the engine down")
        if returncode is not None and returncode < 0:
            return _SIGNALS.get(-returncode) or Explanation(
                sentence=f"The llama.cpp engine was ended by {_signal_name(-returncode)}.", hint=_LOG_HINT
            )
        if report:
            return Explanation(
                sentence=f"The llama.cpp engine could not start: {_presentable(report)}.", hint=_LOG_HINT
            )
        how = "" if returncode is None else f" with exit code {returncode}"
        return Explanation(sentence=f"The llama.cpp engine ended unexpectedly{how}.", hint=_LOG_HINT)

    def loggable(self, line: str) -> str | None:
        return llamacpp_log.loggable(line)

    def is_at_template(self, stderr_tail: str) -> bool:
        # that all is loaded is not looked for: a template's text is in the log too, and could say so
        return _SLOTS_ARE_MADE in stderr_tail


LLAMA_CPP = LlamaCpp()


class _Meaning(NamedTuple):
    pattern: re.Pattern[str]
    sentence: str
    hint: str | None
    error: type[SlmctlError] = EngineFailed


# the lines around llama-server's first look at the chat template
_SLOTS_ARE_MADE = "load_model: initializing, n_slots"
_ALL_IS_LOADED = "init: model loaded"
_CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE)

_LOG_HINT = "Run it again with --verbose to see the engine's own words."
_SMALLER_HINT = "Use a smaller context, a smaller quantization or a smaller model."
_TEMPLATE_HINT = "TEMPLATE in a Modelfile replaces it."
_BROKEN_HINT = "Get the file again; `slmctl run --verify` tells whether the store's bytes are damaged."

# the first that fits wins: the specific before the general
_MEANINGS = (
    _Meaning(
        re.compile(r"libgomp\.so\.1: cannot open shared object"),
        "The llama.cpp engine needs libgomp.so.1, which is not installed.",
        "Install the package libgomp1 (Debian, Ubuntu, openSUSE) or libgomp (Fedora, RHEL, Alpine).",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"(?P<library>[\w.+-]+\.so[\w.]*): cannot open shared object"),
        "The llama.cpp engine needs {library}, which is not installed.",
        "Install the package of your system that contains it.",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"version `(?P<version>GLIBC(?:XX)?_[\d.]+)' not found"),
        "The llama.cpp engine needs {version}, which this system's C library does not have.",
        "Use a newer system or a container.",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"No module named '?xllamacpp"),
        "The llama.cpp engine (the Python package xllamacpp) is not installed.",
        "Install slmctl again on a platform that has a wheel of it: Linux with glibc, or macOS 13 or later.",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"unknown model architecture: '(?P<architecture>[^'\n]{1,80})'"),
        "This build of llama.cpp does not know the model's architecture, {architecture}.",
        "A newer engine may: upgrade xllamacpp.",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"unknown pre-tokenizer type: '(?P<kind>[^'\n]{1,80})'"),
        "This build of llama.cpp does not know the model's tokenizer, {kind}.",
        "A newer engine may: upgrade xllamacpp.",
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(
            r"cudaMalloc failed: out of memory|CUDA error: out of memory|ErrorOutOfDeviceMemory"
            r"|failed to allocate (?:CUDA|ROCm|Vulkan|Metal)\S* buffer"
        ),
        "The GPU has not enough memory for this model and its context.",
        "Put fewer layers on the GPU, or use a smaller context or quantization.",
        ModelTooBig,
    ),
    _Meaning(
        re.compile(
            r"std::bad_alloc|Cannot allocate memory|failed to allocate (?:buffer|CPU)|unable to allocate"
            r"|failed to allocate memory|MemoryError|llama_kv_cache.*failed to allocate|insufficient memory"
        ),
        "There is not enough memory for this model and its context.",
        _SMALLER_HINT,
        ModelTooBig,
    ),
    _Meaning(
        re.compile(r"invalid magic characters|gguf_init_from\w*: (?:failed|invalid)"),
        "The model file is no GGUF file that llama.cpp can read.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"tensor '(?P<tensor>[^'\n]{1,100})' data is not within the file bounds"),
        "The model file is cut short: the data of tensor {tensor} lies beyond its end.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"(?:missing )?tensor '(?P<tensor>[^'\n]{1,100})'(?: not found|\s*$)", re.MULTILINE),
        "The model file lacks the tensor {tensor}.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"key not found in model: (?P<key>[\w.\-]{1,100})"),
        "The model file lacks the metadata {key}.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"tensor '(?P<tensor>[^'\n]{1,100})' has wrong shape"),
        "The tensor {tensor} of the model file has another shape than its metadata says.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"error loading model(?: \w+)?: (?!error loading)(?P<reason>[^\n]{1,300})"),
        "llama.cpp cannot load the model: {reason}.",
        _BROKEN_HINT,
        MalformedFile,
    ),
    _Meaning(
        re.compile(r"GGML_ASSERT\((?P<what>[^\n]{1,200})\) failed"),
        "llama.cpp gave up: its check “{what}” failed.",
        "The model file is damaged, or this is a bug of the engine.",
    ),
    _Meaning(
        re.compile(
            r"common_chat_templates_init: error: (?P<syntax>[^\n]{1,200})"
            r"|template parsing error:(?s:.){0,4000}?\nError: (?:Jinja Exception: )?(?P<run>[^\n]{1,200})"
            r"|parser generation failed: (?P<parser>[^\n]{1,200})"
        ),
        "llama.cpp cannot read the model's chat template: {syntax}{run}{parser}.",
        _TEMPLATE_HINT,
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(
            r"failed to (?:parse|initialize) chat template|chat template .{0,40}(?:parsing|not supported)"
        ),
        "llama.cpp cannot read the model's chat template.",
        _TEMPLATE_HINT,
        EngineUnavailable,
    ),
    _Meaning(
        re.compile(r"couldn't bind|bind\(\) failed|Address already in use|failed to bind"),
        "The llama.cpp engine could not open its socket.",
        "Point XDG_RUNTIME_DIR or TMPDIR at a writable folder of yours with a short path.",
    ),
    _Meaning(
        re.compile(r"failed to (?:initialize the context|create context)"),
        "llama.cpp could not make a context of this length for the model.",
        _SMALLER_HINT,
        ModelTooBig,
    ),
    _Meaning(
        re.compile(r"failed to load model"),
        "llama.cpp cannot load the model.",
        _BROKEN_HINT,
        MalformedFile,
    ),
)

_SIGNALS: dict[int, Explanation] = {
    signal.SIGKILL: Explanation(
        sentence="The llama.cpp engine was killed, probably because the machine ran out of memory.",
        hint=_SMALLER_HINT,
        error=ModelTooBig,
    ),
    signal.SIGILL: Explanation(
        sentence="The llama.cpp engine needs a CPU instruction that this machine does not have.",
        hint="Its x86-64 build needs AVX2 and FMA (Intel Haswell, AMD Zen, or later).",
        error=EngineUnavailable,
    ),
    signal.SIGSEGV: Explanation(
        sentence="The llama.cpp engine crashed with a memory error (SIGSEGV).",
        hint="The model file or the request is damaged, or this is a bug of the engine.",
    ),
    signal.SIGBUS: Explanation(
        sentence="The llama.cpp engine could not read the model file to its end (SIGBUS).",
        hint="The file was cut short while it was in use, or its disk failed.",
    ),
    signal.SIGABRT: Explanation(
        sentence="The llama.cpp engine gave up (SIGABRT).",
        hint="The model file or the request is damaged, or this is a bug of the engine.",
    ),
}


# what the model's file says of itself, and what its template made of an example
_MODELS_WORDS = re.compile(
    r"^.{0,40}\b(?:llama_model_loader: - kv|print_info:)[^\n]*\n?"
    r"|\bchat template, example_format: '(?s:.*?)(?=\n\d+\.\d\d\.\d{3}\.\d{3} [EWID] |\Z)",
    re.MULTILINE,
)


def _without_the_models_words(stderr_tail: str) -> str:
    """The log without texts of the model's own, which could sound like the engine's complaints."""
    return _MODELS_WORDS.sub("", stderr_tail)


def _check_choice(what: str, value: str | None, choices: frozenset[str]) -> None:
    if value is not None and value not in choices:
        raise UsageError(f"llama.cpp has no {what} {value!r}.", hint=f"It has {', '.join(sorted(choices))}.")


def _worker_report(stderr_tail: str) -> str:
    """The message of the last error that the worker program itself reported; "" without one."""
    for line in reversed(stderr_tail.splitlines()):
        if line.startswith('{"slmctl_worker_error"'):
            try:
                report = json.loads(line)["slmctl_worker_error"]["message"]
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(report, str):
                return report
    return ""


_NOT_FOR_EYES = re.compile(r"(?:/[^\s'\":,;]+)+|0x[0-9a-fA-F]+")


def _presentable(text: str) -> str:
    """Text of the engine in one line without paths (they name descriptors and sockets) and addresses."""
    return " ".join(_NOT_FOR_EYES.sub("…", text).split()).rstrip(". ")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
