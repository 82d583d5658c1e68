"""A child that quantizes with `llama_model_quantize` of llama-cpp-python; its library does not load beside ours.

Run as `python -P quantize_oracle.py` with a line of JSON on standard input: "jobs", a list of "source",
"output", "file_type" (a number), "importance" (a list of [name, file of raw F32], or nothing), "strings" and
"numbers" (keys to be set), "tensor_types" (a list of [pattern, number]), "output_tensor_type",
"token_embedding_type", "pure", "allow_requantize", "threads". For each a line on standard output: the number
that the function gave.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

import llama_cpp
import numpy as np

_INT, _STRING = 0, 3  # llama_model_kv_override_type


def importance(given: list[list[str]]) -> tuple[Any, list[Any]]:
    entries = (llama_cpp.llama_model_imatrix_data * (len(given) + 1))()
    kept = []
    for entry, (name, path) in zip(entries, given, strict=False):
        values = np.fromfile(path, np.float32)
        kept.append(values)
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    return entries, kept


def overrides(strings: dict[str, str], numbers: dict[str, int]) -> Any:
    entries = (llama_cpp.llama_model_kv_override * (len(strings) + len(numbers) + 1))()
    named = {**strings, **numbers}
    # the order in which llama-quantize gives them
    order = ["quantize.imatrix.file", "quantize.imatrix.dataset"]
    order += ["quantize.imatrix.entries_count", "quantize.imatrix.chunks_count"]
    for entry, key in zip(entries, [key for key in order if key in named], strict=False):
        value = named[key]
        entry.key = key.encode()
        if isinstance(value, str):
            entry.tag, entry.value.val_str = _STRING, value.encode()[:127]
        else:
            entry.tag, entry.value.val_i64 = _INT, value
    return entries


def quantize(job: dict[str, Any]) -> int:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = job["file_type"]
    parameters.nthread = job["threads"]
    parameters.pure = job["pure"]
    parameters.allow_requantize = job["allow_requantize"]
    for name in ("output_tensor_type", "token_embedding_type"):
        if job[name] is not None:
            setattr(parameters, name, job[name])
    weights, kept = importance(job["importance"])
    if kept:
        parameters.imatrix = weights
    keys = overrides(job["strings"], job["numbers"])
    if job["strings"] or job["numbers"]:
        parameters.kv_overrides = keys
    patterns = (llama_cpp.llama_model_tensor_override * (len(job["tensor_types"]) + 1))()
    for entry, (pattern, kind) in zip(patterns, job["tensor_types"], strict=False):
        entry.pattern, entry.type = pattern.encode(), kind
    if job["tensor_types"]:
        parameters.tt_overrides = patterns
    return int(llama_cpp.llama_model_quantize(job["source"].encode(), job["output"].encode(), parameters))


def main() -> None:
    answers = os.dup(1)
    os.dup2(2, 1)  # what the library prints is no answer
    llama_cpp.llama_backend_init()
    for job in json.loads(sys.stdin.readline())["jobs"]:
        os.write(answers, f"{quantize(job)}\n".encode())


if __name__ == "__main__":
    main()
