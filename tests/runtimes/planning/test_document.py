"""The document of a plan: what programs read, and what is refused."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from registry.errors import MalformedFile
from runtimes.hardware.profiles import profile
from runtimes.planning.document import from_json, to_json
from runtimes.planning.plan import plan
from runtimes.planning.values import PlanRequest
from tests.runtimes.planning.library import ggufs, plan_schema

BUILDS = ggufs("qwen3:1.7b")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    request = PlanRequest(context=4096, context_is_pinned=True)
    result = plan(BUILDS, profile("container-2gb"), request)
    found: dict[str, Any] = json.loads(json.dumps(to_json(result, hardware_digest="sha256:00")))
    return found


def test_the_keys_that_scripts_use(document: dict[str, Any]) -> None:
    plan_schema().validate(document)
    assert next(iter(document)) == "schema"
    choice = document["choice"]
    assert {name: choice[name] for name in ("variant", "runtime", "ctx", "kv", "threads")} == {
        "variant": "gguf-q5_k_m",
        "runtime": "llama.cpp",
        "ctx": 4096,
        "kv": "q8_0",
        "threads": 2,
    }
    assert (choice["parallel"], choice["gpu_layers"]) == (1, 0)
    low, expected, high = document["speed"]["decode_tps"]
    assert low < expected < high
    assert document["memory"]["pools"][0]["budget_bytes"] > document["memory"]["need_hi_bytes"]
    assert document["binding"]["code"] == "MEM_CGROUP"
    assert {"if": "a memory limit of 2.1 GiB", "then": "f16 KV cache"} in document["would_change"]


def test_the_command_line_says_all_that_a_server_would_guess(document: dict[str, Any]) -> None:
    argv = document["argv"]
    flags = dict(zip(argv[1::2], argv[2::2], strict=False))
    assert flags["-c"] == "4096"
    assert flags["--cache-ram"] == "0"
    assert flags["--fit"] == "off"
    for name in ("-np", "-b", "-ub", "-ngl", "-fa", "--cache-type-k", "--cache-type-v", "--threads"):
        assert name in flags
    assert {"--threads-batch", "--ctx-checkpoints"} <= flags.keys()


def test_a_plan_that_fits_nowhere_is_a_document_too() -> None:
    result = plan(ggufs("qwen3:8b"), profile("container-2gb"), PlanRequest())
    written = json.loads(json.dumps(to_json(result)))
    plan_schema().validate(written)
    assert (written["verdict"], written["choice"], written["argv"]) == ("nofit", None, None)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "slmctl.plan/2"),
        (("verdict",), 1),
        (("flags",), [1]),
        (("choice", "ctx"), -1),
        (("choice", "ctx"), "4096"),
        (("choice", "variant"), "gguf-q9"),
        (("choice", "flash_attention"), 1),
        (("memory", "parts"), {}),
        (("memory", "margin"), None),
        (("speed", "decode_tps"), [1, 2]),
        (("rejected",), [[]]),
    ],
)
def test_what_is_no_plan_is_refused(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    broken = copy.deepcopy(document)
    place = broken
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(MalformedFile):
        from_json(broken, BUILDS)


def test_what_is_missing_is_named(document: dict[str, Any]) -> None:
    broken = copy.deepcopy(document)
    del broken["choice"]["kv"]
    with pytest.raises(MalformedFile, match=r"plan\.choice\.kv is missing"):
        from_json(broken, BUILDS)
    with pytest.raises(MalformedFile):
        from_json([], BUILDS)
