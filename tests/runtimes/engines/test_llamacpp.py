from __future__ import annotations

import ast
import dataclasses
import json
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import DoesNotFit, EngineFailed, MalformedFile, SlmctlError, UsageError
from runtimes.engines.base import Engine, LaunchRequest
from runtimes.engines.llamacpp import CACHE_TYPES, FLAGS, LLAMA_CPP, POOLING_TYPES
from runtimes.errors import EngineUnavailable, ModelTooBig
from runtimes.launch import worker_argv

SMALLEST = LaunchRequest(model="m", context_length=512)


def worker_error(message: str) -> str:
    return "\n" + json.dumps({"slmctl_worker_error": {"kind": "load", "message": message}}) + "\n"


def test_it_is_an_engine() -> None:
    engine: Engine = LLAMA_CPP
    assert (engine.name, engine.worker) == ("llama.cpp", "llamacpp")
    assert engine.supports("gguf", "llama") is None
    assert engine.supports("onnx", "llama") == "llama.cpp runs GGUF files, not onnx."


@pytest.mark.parametrize(
    ("request_", "document"),
    [
        (
            SMALLEST,
            {
                "model": "m",
                "flags": {
                    "n_ctx": 512,
                    "n_parallel": 1,
                    "cache_ram_mib": 0,
                    "mlock": False,
                    "embedding": False,
                    "warmup": True,
                },
            },
        ),
        (
            LaunchRequest(
                model="m",
                projector="p",
                context_length=1000,
                parallel=4,
                threads=3,
                batch_threads=2,
                batch=256,
                micro_batch=128,
                gpu_layers=99,
                main_gpu=1,
                cache_ram_mib=64,
                cache_type_k="q8_0",
                cache_type_v="f16",
                flash_attention=False,
                mmap=True,
                mlock=True,
                embedding=True,
                pooling="last",
                chat_template="t",
                predict_limit=9,
                rope_freq_base=1e6,
                rope_freq_scale=0.5,
                warmup=False,
                context_checkpoints=3,
                repack=False,
            ),
            {
                "model": "m",
                "projector": "p",
                "flags": {
                    "n_ctx": 4000,
                    "n_parallel": 4,
                    "n_threads": 3,
                    "n_threads_batch": 2,
                    "n_batch": 256,
                    "n_ubatch": 128,
                    "n_gpu_layers": 99,
                    "main_gpu": 1,
                    "cache_ram_mib": 64,
                    "cache_type_k": "q8_0",
                    "cache_type_v": "f16",
                    "flash_attention": False,
                    "mmap": True,
                    "mlock": True,
                    "embedding": True,
                    "pooling": "last",
                    "chat_template": "t",
                    "n_predict": 9,
                    "rope_freq_base": 1e6,
                    "rope_freq_scale": 0.5,
                    "warmup": False,
                    "context_checkpoints": 3,
                    "repack": False,
                },
            },
        ),
    ],
)
def test_launch_documents(request_: LaunchRequest, document: dict[str, object]) -> None:
    assert LLAMA_CPP.command(request_) == document


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_type_k": "q9_9"},
        {"cache_type_v": "Q8_0"},
        {"pooling": "max"},
        {"context_length": 0},
        {"parallel": 0},
    ],
)
def test_values_without_a_word(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LLAMA_CPP.command(dataclasses.replace(SMALLEST, **changes))  # type: ignore[arg-type]


def test_the_worker_has_the_same_allow_list() -> None:
    """The worker imports nothing of ours, so the list stands twice."""
    source = ast.parse(Path(worker_argv("llamacpp")[-1]).read_text())
    assigned = {
        node.targets[0].id: node.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    flags = assigned["FLAGS"]
    assert isinstance(flags, ast.Dict)
    values = dict(zip([ast.literal_eval(key) for key in flags.keys if key], flags.values, strict=True))
    assert set(values) == FLAGS
    cache_type, pooling = assigned["_CACHE_TYPE"], values["pooling"]
    assert isinstance(cache_type, ast.Call)
    assert isinstance(pooling, ast.Call)
    assert {ast.literal_eval(name) for name in cache_type.args} == CACHE_TYPES
    assert {ast.literal_eval(name) for name in pooling.args} == POOLING_TYPES


@pytest.mark.parametrize(
    ("returncode", "tail", "sentence", "error"),
    [
        (
            1,
            worker_error("libgomp.so.1: cannot open shared object file: No such file or directory"),
            "The llama.cpp engine needs libgomp.so.1, which is not installed.",
            EngineUnavailable,
        ),
        (
            1,
            worker_error("libcudart.so.12: cannot open shared object file: No such file or directory"),
            "The llama.cpp engine needs libcudart.so.12, which is not installed.",
            EngineUnavailable,
        ),
        (
            1,
            worker_error("/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by /x/y.so)"),
            "The llama.cpp engine needs GLIBCXX_3.4.30, which this system's C library does not have.",
            EngineUnavailable,
        ),
        (
            1,
            worker_error("No module named 'xllamacpp'"),
            "The llama.cpp engine (the Python package xllamacpp) is not installed.",
            EngineUnavailable,
        ),
        (
            1,
            "E llama_model_load: error loading model: unknown model architecture: 'nova'\n",
            "This build of llama.cpp does not know the model's architecture, nova.",
            EngineUnavailable,
        ),
        (
            1,
            "E error loading model: error loading model vocabulary: unknown pre-tokenizer type: 'zork'\n",
            "This build of llama.cpp does not know the model's tokenizer, zork.",
            EngineUnavailable,
        ),
        (
            1,
            (
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9 MiB on device 0: "
                "cudaMalloc failed: out of memory\n"
            ),
            "The GPU has not enough memory for this model and its context.",
            ModelTooBig,
        ),
        (
            1,
            "E llama_init_from_model: failed to initialize the context: std::bad_alloc\n",
            "There is not enough memory for this model and its context.",
            ModelTooBig,
        ),
        (
            1,
            "gguf_init_from_file_impl: invalid magic characters: 'XXXX', expected 'GGUF'\n",
            "The model file is no GGUF file that llama.cpp can read.",
            MalformedFile,
        ),
        (
            1,
            (
                "error loading model: tensor 'blk.1.ffn_up.weight' data is not within the file bounds, model is "
                "corrupted\n"
            ),
            "The model file is cut short: the data of tensor blk.1.ffn_up.weight lies beyond its end.",
            MalformedFile,
        ),
        (
            1,
            "error loading model: check_tensor_dims: tensor 'blk.5.attn_norm.weight' not found\n",
            "The model file lacks the tensor blk.5.attn_norm.weight.",
            MalformedFile,
        ),
        (
            1,
            "error loading model: missing tensor 'output_norm.weight'\n",
            "The model file lacks the tensor output_norm.weight.",
            MalformedFile,
        ),
        (
            1,
            (
                "error loading model: error loading model hyperparameters: key not found in model: "
                "llama.context_length\n"
            ),
            "The model file lacks the metadata llama.context_length.",
            MalformedFile,
        ),
        (
            1,
            "error loading model: check_tensor_dims: tensor 'blk.0.attn_q.weight' has wrong shape; expected 64\n",
            "The tensor blk.0.attn_q.weight of the model file has another shape than its metadata says.",
            MalformedFile,
        ),
        (
            1,
            (
                "llama_model_load: error loading model: error loading model hyperparameters: invalid n_rot: 8, "
                "expected 12\n"
            ),
            "llama.cpp cannot load the model: invalid n_rot: 8, expected 12.",
            MalformedFile,
        ),
        (
            1,
            "error loading model: failed to open GGUF file '/proc/self/fd/3' at 0x7f3a\n",
            "llama.cpp cannot load the model: failed to open GGUF file '…' at ….",
            MalformedFile,
        ),
        (
            -signal.SIGABRT,
            "/workspace/x/llama-model.cpp:1356: GGML_ASSERT(hparams.n_layer > 0 && hparams.n_layer <= 512) failed\n",
            "llama.cpp gave up: its check “hparams.n_layer > 0 && hparams.n_layer <= 512” failed.",
            EngineFailed,
        ),
        (
            1,
            "srv init: init: chat template parsing error: std::exception\n",
            "llama.cpp cannot read the model's chat template.",
            EngineUnavailable,
        ),
        (
            1,
            "E common_chat_templates_init: error: Unexpected token: %} of type 9\nE init: chat template parsing error",
            "llama.cpp cannot read the model's chat template: Unexpected token: %} of type 9.",
            EngineUnavailable,
        ),
        (
            1,
            "E init: chat template parsing error: Unable to generate parser for this template. Automatic parser generation failed: \n------------\nWhile executing X\n  ^\nError: Jinja Exception: never\nE init: a\n",
            "llama.cpp cannot read the model's chat template: never.",
            EngineUnavailable,
        ),
        (
            1,
            "E init: init: chat template parsing error: Automatic parser generation failed: NotImplemented: map\n",
            "llama.cpp cannot read the model's chat template: NotImplemented: map.",
            EngineUnavailable,
        ),
        (
            -signal.SIGSEGV,
            "I srv init: model loaded\nI srv load_model: initializing, n_slots = 1, n_ctx_slot = 512\n",
            "The model's chat template brought the engine down.",
            MalformedFile,
        ),
        (
            -signal.SIGSEGV,
            "I srv load_model: initializing, n_slots = 1, n_ctx_slot = 512\nI srv init: model loaded\n",
            "The llama.cpp engine crashed with a memory error (SIGSEGV).",
            EngineFailed,
        ),
        (
            1,
            "E srv start: couldn't bind HTTP server socket, hostname: /run/user/0/e.sock\n",
            "The llama.cpp engine could not open its socket.",
            EngineFailed,
        ),
        (
            1,
            "E cmn common_init_: failed to create context with model '/proc/self/fd/3'\n",
            "llama.cpp could not make a context of this length for the model.",
            ModelTooBig,
        ),
        (
            1,
            "E srv load_model: failed to load model, '/proc/self/fd/3'\n",
            "llama.cpp cannot load the model.",
            MalformedFile,
        ),
        (
            -signal.SIGKILL,
            "",
            "The llama.cpp engine was killed, probably because the machine ran out of memory.",
            ModelTooBig,
        ),
        (
            -signal.SIGILL,
            "",
            "The llama.cpp engine needs a CPU instruction that this machine does not have.",
            EngineUnavailable,
        ),
        (-signal.SIGSEGV, "", "The llama.cpp engine crashed with a memory error (SIGSEGV).", EngineFailed),
        (
            -signal.SIGBUS,
            "",
            "The llama.cpp engine could not read the model file to its end (SIGBUS).",
            EngineFailed,
        ),
        (-signal.SIGABRT, "", "The llama.cpp engine gave up (SIGABRT).", EngineFailed),
        (-signal.SIGTERM, "", "The llama.cpp engine was ended by SIGTERM.", EngineFailed),
        (-63, "", "The llama.cpp engine was ended by signal 63.", EngineFailed),
        (
            1,
            worker_error("something new happened"),
            "The llama.cpp engine could not start: something new happened.",
            EngineFailed,
        ),
        (3, "noise", "The llama.cpp engine ended unexpectedly with exit code 3.", EngineFailed),
        (None, "", "The llama.cpp engine ended unexpectedly.", EngineFailed),
        (
            1,
            '{"slmctl_worker_error": 7}\n',
            "The llama.cpp engine ended unexpectedly with exit code 1.",
            EngineFailed,
        ),
    ],
)
def test_explanations(returncode: int | None, tail: str, sentence: str, error: type[SlmctlError]) -> None:
    explanation = LLAMA_CPP.explain(returncode, tail)
    assert explanation.sentence == sentence
    assert explanation.error is error
    assert explanation.hint
    raised = explanation.as_error()
    assert (raised.message, raised.hint) == (sentence, explanation.hint)


def test_a_missing_library_is_told_with_its_packages() -> None:
    explanation = LLAMA_CPP.explain(1, worker_error("libgomp.so.1: cannot open shared object file"))
    assert issubclass(explanation.error, DoesNotFit)
    assert explanation.hint is not None
    for word in ("libgomp1", "Debian", "libgomp ", "Fedora", "Alpine"):
        assert word in explanation.hint


PIECES = [
    "GGML_ASSERT(",
    ") failed",
    "error loading model: ",
    "/proc/self/fd/7",
    "/run/user/0/slmctl-0/w-00112233/e.sock",
    "0x7ffdeadbeef",
    "tensor '",
    "' not found",
    '{"slmctl_worker_error": {"message": "',
    '"}}',
    "\n",
]
TAILS: st.SearchStrategy[list[str]] = st.lists(st.text() | st.sampled_from(PIECES))


@given(st.none() | st.integers(-64, 255), TAILS)
def test_a_sentence_is_one_line_without_paths_and_addresses(returncode: int | None, tail: list[str]) -> None:
    sentence = LLAMA_CPP.explain(returncode, "".join(tail)).sentence
    assert "\n" not in sentence
    assert "/proc" not in sentence
    assert ".sock" not in sentence
    assert "0x7ff" not in sentence
