"""Adapters: what becomes of their tensors, and that an engine applies them as the formula says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from registry.errors import DoesNotFit, MalformedFile, NotFound, SlmctlError, UsageError
from runtimes.client import Client
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.lora import convert_adapter
from runtimes.convert.source import Source
from runtimes.convert.values import Conversion
from runtimes.convert.writer import write
from runtimes.protocol import TextDelta, completion_request
from runtimes.sampling import Sampling
from tests.runtimes.convert.folders import HIDDEN, LAYERS, TOKENS, Array, llama, safetensors, write_folder
from tests.runtimes.launches import ONE_THREAD, llama_worker

RANK = 4
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "bias": "none", "use_dora": False}
OUTPUTS = {"self_attn.q_proj": 64, "self_attn.k_proj": 32, "mlp.up_proj": 96}


def adapter(
    folder: Path,
    tensors: dict[str, Array] | None = None,
    outputs: dict[str, int] = OUTPUTS,
    **changes: object,
) -> SourceFiles:
    """A folder as PEFT saves it."""
    chance = np.random.default_rng(5)
    held = dict(tensors or {})
    for layer in range(LAYERS):
        for module, count in outputs.items():
            at = f"base_model.model.model.layers.{layer}.{module}"
            held[f"{at}.lora_A.weight"] = chance.normal(0, 0.3, (RANK, HIDDEN)).astype("<f4")
            held[f"{at}.lora_B.weight"] = chance.normal(0, 0.3, (count, RANK)).astype("<f4")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | changes))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(held))
    return SourceFiles.of_folder(folder)


@pytest.fixture
def model(tmp_path: Path) -> SourceFiles:
    return SourceFiles.of_folder(llama(tmp_path / "base", "F32"))


def arrays(made: Conversion) -> dict[str, Array]:
    found = {}
    for tensor in made.tensors:
        raw = np.concatenate([piece.reshape(-1).view(np.uint8) for piece in tensor.read()])
        found[tensor.name] = gguf.quants.dequantize(raw, tensor.kind).reshape(tensor.shape)
    return found


def test_what_is_added_is_what_the_merged_model_has_more(model: SourceFiles, tmp_path: Path) -> None:
    files = adapter(tmp_path / "adapter")
    made = convert_adapter(files, model.json("config.json"))
    keys = {key.name: key.value for key in made.keys}
    assert keys["general.type"] == "adapter"
    assert keys["adapter.type"] == "lora"
    assert keys["adapter.lora.alpha"] == 8.0
    merged = SourceFiles.of_folder(merge(model, files, tmp_path / "merged"))
    before, after = (arrays(convert(each, "F32")) for each in (model, merged))
    parts = arrays(made)
    assert len(parts) == 2 * len(OUTPUTS) * LAYERS
    for name in ("blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.1.ffn_up.weight"):
        added = parts[f"{name}.lora_b"] @ parts[f"{name}.lora_a"] * (8.0 / RANK)
        assert np.allclose(after[name] - before[name], added, atol=1e-5)


def merge(model: SourceFiles, files: SourceFiles, folder: Path) -> Path:
    weights = {name: tensor.numbers() for name, tensor in Source.of(model).tensors.items()}
    parts = Source.of(files, "adapter_model").tensors
    for name, tensor in parts.items():
        if ".lora_A" in name:
            target = name.removeprefix("base_model.model.").replace(".lora_A", "")
            weights[target] = weights[target] + (
                parts[name.replace("lora_A", "lora_B")].numbers() @ tensor.numbers() * np.float32(8.0 / RANK)
            )
    return write_folder(folder, dict(model.json("config.json")), weights)


def test_the_engine_says_with_it_what_the_merged_model_says(
    model: SourceFiles, base: Path, tmp_path: Path
) -> None:
    files = adapter(tmp_path / "adapter")
    merged = SourceFiles.of_folder(merge(model, files, tmp_path / "merged"))
    paths = [tmp_path / name for name in ("base.gguf", "merged.gguf", "adapter.gguf")]
    made = (convert(model), convert(merged), convert_adapter(files, model.json("config.json")))
    for conversion, path in zip(made, paths, strict=True):
        write(conversion, path, lambda _count: None)
    said = []
    for path, adapters in ((paths[0], ()), (paths[1], ()), (paths[0], (str(paths[2]),))):
        said.append(answer(base, path, adapters))
    assert said[2] == said[1]
    assert said[0] != said[1]


def test_a_rank_stabilised_adapter_and_one_with_scales_of_its_own(model: SourceFiles, tmp_path: Path) -> None:
    config = model.json("config.json")
    plain = arrays(convert_adapter(adapter(tmp_path / "a"), config))
    stable = arrays(convert_adapter(adapter(tmp_path / "b", use_rslora=True), config))
    name = "blk.0.ffn_up.weight"
    assert np.allclose(stable[f"{name}.lora_b"], plain[f"{name}.lora_b"] * 2)  # the root of 4
    assert np.array_equal(stable[f"{name}.lora_a"], plain[f"{name}.lora_a"])
    own = arrays(convert_adapter(adapter(tmp_path / "c", alpha_pattern={"up_proj": 24}), config))
    assert np.allclose(own[f"{name}.lora_b"], plain[f"{name}.lora_b"] * 3)
    assert np.array_equal(own["blk.0.attn_q.weight.lora_b"], plain["blk.0.attn_q.weight.lora_b"])


def test_an_adapter_of_the_embedding(model: SourceFiles, tmp_path: Path) -> None:
    at = "base_model.model.model.embed_tokens"
    own = {
        f"{at}.lora_embedding_A": np.ones((RANK, TOKENS), "<f4"),
        f"{at}.lora_embedding_B": np.ones((HIDDEN, RANK), "<f4"),
        f"{at}.base_layer.weight": np.ones((TOKENS, HIDDEN), "<f4"),
    }
    parts = arrays(convert_adapter(adapter(tmp_path / "a", own, {}), model.json("config.json"), "F16"))
    assert parts["token_embd.weight.lora_a"].shape == (TOKENS, RANK)
    assert parts["token_embd.weight.lora_b"].shape == (HIDDEN, RANK)


AT = "base_model.model.model.layers.0.mlp.up_proj"
ONE = np.ones((1, 1), "<f4")


@pytest.mark.parametrize(
    ("changes", "tensors", "error", "words"),
    [
        ({"peft_type": "IA3"}, {}, DoesNotFit, "of kind 'IA3'"),
        ({"peft_type": None}, {}, DoesNotFit, "of kind ''"),
        ({"use_dora": True}, {}, DoesNotFit, "DoRA"),
        ({"fan_in_fan_out": True}, {}, DoesNotFit, "the other way round"),
        ({"bias": "all"}, {}, DoesNotFit, "biases"),
        ({"lora_alpha": 0}, {}, MalformedFile, "0 as lora_alpha"),
        ({"lora_alpha": "8"}, {}, MalformedFile, "'8' as lora_alpha"),
        ({"alpha_pattern": {"^layers.*": 4}}, {}, DoesNotFit, "regular expressions"),
        ({"alora_invocation_tokens": ["a"]}, {}, MalformedFile, "no tokens"),
        ({}, {f"{AT}.weight": ONE}, DoesNotFit, "holds a whole tensor"),
        ({}, {f"{AT}.lora_A.weight": np.ones((3, HIDDEN), "<f4")}, MalformedFile, "one of the two"),
        (
            {},
            {
                f"{AT}.lora_A.weight": np.ones((3, HIDDEN), "<f4"),
                f"{AT}.lora_B.weight": np.ones((96, 4), "<f4"),
            },
            MalformedFile,
            "do not fit together",
        ),
        (
            {},
            {f"{AT}.lora_A.weight": np.ones((4, 32), "<f4"), f"{AT}.lora_B.weight": np.ones((96, 4), "<f4")},
            MalformedFile,
            "of the shape [96, 32]; the base model's has [96, 64]",
        ),
        (
            {},
            {
                "base_model.model.other.lora_A.weight": np.ones((4, 32), "<f4"),
                "base_model.model.other.lora_B.weight": np.ones((96, 4), "<f4"),
            },
            DoesNotFit,
            "changes 'other'",
        ),
    ],
)
def test_adapters_that_cannot_be_converted(
    changes: dict[str, Any],
    tensors: dict[str, Array],
    error: type[SlmctlError],
    words: str,
    model: SourceFiles,
    tmp_path: Path,
) -> None:
    files = adapter(tmp_path / "a", tensors, {} if tensors else OUTPUTS, **changes)
    with pytest.raises(error) as caught:
        convert_adapter(files, model.json("config.json"))
    assert words in caught.value.message


def test_a_type_that_there_is_not_and_a_pickle(model: SourceFiles, tmp_path: Path) -> None:
    files = adapter(tmp_path / "a")
    with pytest.raises(UsageError, match="'Q8_0'"):
        convert_adapter(files, model.json("config.json"), "Q8_0")
    (tmp_path / "a" / "adapter_model.safetensors").rename(tmp_path / "a" / "adapter_model.bin")
    with pytest.raises(MalformedFile, match=r"'adapter_model\.bin', which can run code"):
        convert_adapter(SourceFiles.of_folder(tmp_path / "a"), model.json("config.json"))
    (tmp_path / "a" / "adapter_config.json").unlink()
    with pytest.raises(NotFound, match=r"adapter_config\.json"):
        convert_adapter(SourceFiles.of_folder(tmp_path / "a"), model.json("config.json"))


def answer(base: Path, path: Path, adapters: tuple[str, ...]) -> str:
    request = dataclasses.replace(ONE_THREAD, adapters=adapters)
    with llama_worker(base, path, request) as worker:
        question = completion_request("hello", Sampling(temperature=0.0, num_predict=16))
        events = list(Client(worker.endpoint, worker).stream(question))
    return "".join(event.text for event in events if isinstance(event, TextDelta))
