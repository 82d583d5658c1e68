"""Whatever stands in a config.json: a conversion, or a sentence of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.errors import MalformedFile, SlmctlError
from runtimes.convert.convert import convert
from runtimes.convert.files import SourceFiles
from runtimes.convert.header import header_bytes
from runtimes.convert.lora import convert_adapter
from runtimes.convert.values import Conversion
from tests.runtimes.convert.folders import MAKERS, llama
from tests.runtimes.convert.test_lora import adapter

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 10**400, 0.5, -0.0, 1e308, float("inf"), "", "x\0", [], [None], {}, {"a": [{}]},
    [[]], [{}],
)  # fmt: skip
NESTED = ("rope_scaling", "rope_parameters", "quantization_config", "text_config")
INNER = (
    "rope_type", "type", "factor", "rope_theta", "long_factor", "short_factor", "full_attention",
    "sliding_attention", "low_freq_factor", "original_max_position_embeddings", "quant_method", "linear_class",
    "hidden_size",
)  # fmt: skip
KINDS = ("linear", "yarn", "llama3", "longrope")


def strange(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The config with one value that it never had."""
    for name in (*config, "head_dim", "layer_types", "sliding_window_pattern", "auto_map", *NESTED):
        yield from ({**config, name: value} for value in STRANGE)
    for outer in NESTED:
        for name in INNER:
            for value in STRANGE[:6:2]:
                yield {**config, outer: {name: value}}
    for kind in KINDS:
        for name in INNER[2:]:
            yield {**config, "rope_scaling": {"type": kind, "factor": 2.0, name: 10**400}}
            yield {**config, "rope_parameters": {"rope_type": kind, "factor": 2.0, name: -1}}


@pytest.mark.parametrize("name", ["llama", "phi3", "gemma3", "bert"])
def test_no_config_is_a_traceback(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = MAKERS[name](tmp_path / name)
    plain = SourceFiles.of_folder(folder)
    words = [key for key in convert(plain).keys if key.name.startswith("tokenizer.")]
    # the tokenizer is read once: what it makes of a config is held in vocabulary/
    monkeypatch.setattr("runtimes.convert.convert.vocabulary", lambda _files, _config: tuple(words))
    config = json.loads((folder / "config.json").read_text())
    converted = refused = 0
    for changed in strange(config):
        (folder / "config.json").write_text(json.dumps(changed))
        if refusal := refused_as(lambda: convert(plain)):
            assert len(refusal) < 500
            assert refusal.isprintable()
            refused += 1
        else:
            converted += 1
    assert converted
    assert refused > 100


def test_heads_of_gigabytes(tmp_path: Path) -> None:
    """Factors of Llama 3's positions are worked out before the weights are looked at."""
    scaling = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 64}
    sizes: tuple[dict[str, int], ...] = (
        {"head_dim": 2**31 - 2},
        {"hidden_size": 2**31 - 2, "num_attention_heads": 1},
    )
    for heads in sizes:
        folder = llama(tmp_path / "llama")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "rope_scaling": scaling, **heads}))
        with pytest.raises(MalformedFile, match="heads of 2147483646 numbers"):
            convert(SourceFiles.of_folder(folder))


def test_what_calls_itself_no_model_type_has_its_tokenizer(tmp_path: Path) -> None:
    """Where the config names an architecture, only the tokenizer's settings look at the type."""
    folder = MAKERS["llama"](tmp_path / "llama")
    files = SourceFiles.of_folder(folder)
    config = files.json("config.json")
    plain = tokens_of(convert(files))
    for value in (*STRANGE, "another"):
        (folder / "config.json").write_text(json.dumps({**config, "model_type": value}))
        assert tokens_of(convert(files)) == plain


def tokens_of(made: Conversion) -> object:
    return next(key.value for key in made.keys if key.name == "tokenizer.ggml.tokens")


def refused_as(make: Callable[[], Conversion]) -> str:
    """The sentence; empty where it was converted."""
    try:
        made = make()
        header_bytes(made.keys, made.tensors)
    except SlmctlError as error:
        return error.message
    return ""


def test_no_adapter_config_is_a_traceback(tmp_path: Path) -> None:
    base = SourceFiles.of_folder(MAKERS["llama"](tmp_path / "llama")).json("config.json")
    files = adapter(tmp_path / "adapter")
    config = dict(files.json("adapter_config.json"))
    refused = 0
    names = (*config, "use_rslora", "alpha_pattern", "fan_in_fan_out", "alora_invocation_tokens")
    for changed in [{**config, name: value} for name in names for value in STRANGE]:
        (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(changed))
        refused += bool(refused_as(lambda: convert_adapter(files, base)))
    assert refused > 20
