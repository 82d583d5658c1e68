"""Conversions, from the folder to what the file says and what an engine makes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from registry.errors import DoesNotFit, MalformedFile, NotFound, SlmctlError, UsageError
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.formats.hf_dimensions import facts_from_config
from runtimes.client import Client
from runtimes.convert.convert import OUT_TYPES, convert, kind_of
from runtimes.convert.files import SourceFiles
from runtimes.convert.source import Source
from runtimes.convert.writer import file_size, write
from runtimes.protocol import Finished, TextDelta, chat_request, completion_request
from runtimes.sampling import Sampling
from tests.runtimes.convert.folders import HELLO, MAKERS, bitnet, gemma3, llama, phi3, qwen2, write_folder
from tests.runtimes.launches import llama_worker


def converted(folder: Path, to: Path, out_type: str | None = None) -> gguf.GGUFReader:
    write(convert(SourceFiles.of_folder(folder), out_type), to, lambda _count: None)
    return gguf.GGUFReader(to)


def values(reader: gguf.GGUFReader) -> dict[str, object]:
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def assert_same_tensors(ours: gguf.GGUFReader, theirs: gguf.GGUFReader) -> None:
    found = {tensor.name: tensor for tensor in ours.tensors}
    expected = {tensor.name: tensor for tensor in theirs.tensors}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].tensor_type == tensor.tensor_type, name
        assert list(found[name].shape) == list(tensor.shape), name
        assert found[name].data.tobytes() == tensor.data.tobytes(), name


def test_stories_has_the_tensors_and_the_text_of_its_gguf(base: Path, tmp_path: Path, stories: Path) -> None:
    ours = converted(stories / "hf", tmp_path / "stories.gguf")
    theirs = gguf.GGUFReader(stories / "stories260K-f32.gguf")
    assert_same_tensors(ours, theirs)
    found, expected = values(ours), values(theirs)
    differ = {name for name in expected if found.get(name) != expected[name]}
    assert differ == {"general.name", "tokenizer.ggml.add_space_prefix"}  # the second is what is so anyway
    with llama_worker(base, tmp_path / "stories.gguf") as worker:
        request = completion_request("", Sampling(temperature=0.0, num_predict=200))
        events = list(Client(worker.endpoint, worker).stream(request))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text.lstrip(" ") == (stories / "golden.txt").read_text().lstrip(" ").removesuffix("\n")


def test_hello_has_the_tensors_and_the_answers_of_its_gguf(base: Path, tmp_path: Path) -> None:
    ours = converted(HELLO, tmp_path / "hello.gguf")
    theirs = gguf.GGUFReader(HELLO / "hello.gguf")
    assert_same_tensors(ours, theirs)
    found, expected = values(ours), values(theirs)
    differ = {name for name in expected if found.get(name) != expected[name]}
    assert differ == {"general.name", "general.license"}  # which the folder does not say
    question = [{"role": "user", "content": "How do I list the models I have?"}]
    answers = []
    for path in (tmp_path / "hello.gguf", HELLO / "hello.gguf"):
        with llama_worker(base, path) as worker:
            request = chat_request(question, Sampling(temperature=0.0, num_predict=32))
            events = list(Client(worker.endpoint, worker).stream(request))
        answers.append("".join(event.text for event in events if isinstance(event, TextDelta)))
    assert answers[0] == answers[1]
    assert "slmctl" in answers[0]


@pytest.mark.parametrize("name", MAKERS)
def test_an_engine_loads_every_architecture(name: str, base: Path, tmp_path: Path) -> None:
    folder = MAKERS[name](tmp_path / name)
    reader = converted(folder, tmp_path / "made.gguf", "F16")
    found = values(reader)
    assert found["general.architecture"] == name
    assert found["general.file_type"] == 1
    if name == "bert":
        return  # which gives vectors: architectures/test_bert.py
    with llama_worker(base, tmp_path / "made.gguf") as worker:
        request = completion_request("hello", Sampling(temperature=0.0, num_predict=4))
        events = list(Client(worker.endpoint, worker).stream(request))
    assert isinstance(events[-1], Finished)
    assert events[-1].generated_tokens


@pytest.mark.parametrize("name", [name for name in MAKERS if name != "bert"])
def test_the_facts_of_the_file_are_those_foreseen_from_the_config(name: str, tmp_path: Path) -> None:
    """The planner reads the same config.json (registry.formats.hf_dimensions)."""
    folder = MAKERS[name](tmp_path / name)
    converted(folder, tmp_path / "made.gguf", "BF16")
    with (tmp_path / "made.gguf").open("rb") as stream:
        facts = facts_from_gguf([read_header(stream)])
    config = json.loads((folder / "config.json").read_text())
    config["vocab_size"] = facts.vocabulary  # Gemma 3's embedding has rows beyond this tokenizer's
    foreseen, exact = facts_from_config(config)
    assert exact
    assert (facts.layers, facts.heads, facts.kv_heads) == (foreseen.layers, foreseen.heads, foreseen.kv_heads)
    assert facts.tied_embeddings == foreseen.tied_embeddings
    assert facts.tensors == foreseen.tensors


def test_the_same_folder_gives_the_same_bytes_and_the_size_is_known_before(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", shards=3)
    files = SourceFiles.of_folder(folder)
    heard: list[int] = []
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    write(convert(files, "F16"), first, heard.append)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    write(convert(SourceFiles.of_folder(elsewhere), "F16"), second, lambda _count: None)
    assert first.read_bytes() == second.read_bytes()
    assert sum(heard) == file_size(convert(files, "F16")) == first.stat().st_size
    assert all(count > 0 for count in heard)


def test_how_a_model_lies_in_files_changes_nothing(tmp_path: Path) -> None:
    one = converted(llama(tmp_path / "one"), tmp_path / "one.gguf")
    many = converted(llama(tmp_path / "many", shards=4), tmp_path / "many.gguf")
    assert_same_tensors(one, many)
    assert values(one) == values(many)


@pytest.mark.parametrize(("dtype", "file_type"), [("F32", 0), ("F16", 1), ("BF16", 32)])
def test_the_type_of_the_weights_is_kept_unless_another_is_asked_for(
    dtype: str, file_type: int, tmp_path: Path
) -> None:
    reader = converted(llama(tmp_path / dtype, dtype), tmp_path / "made.gguf")
    assert values(reader)["general.file_type"] == file_type
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == Kind[dtype]
    assert kinds["blk.0.ffn_norm.weight"] == kinds["output_norm.weight"] == Kind.F32


@pytest.mark.parametrize("out_type", OUT_TYPES)
def test_every_type_holds_the_numbers_of_the_source(out_type: str, tmp_path: Path) -> None:
    exact = converted(llama(tmp_path / "llama", "F32"), tmp_path / "exact.gguf")
    made = converted(tmp_path / "llama", tmp_path / "made.gguf", out_type.lower())
    for before, after in zip(exact.tensors, made.tensors, strict=True):
        numbers = gguf.quants.dequantize(after.data, after.tensor_type).reshape(before.data.shape)
        near = {"F32": 0.0, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 2e-2}.get(out_type, 1.1)
        assert np.abs(numbers - before.data).max() <= near * np.abs(before.data).max(), before.name


def test_rows_that_are_no_multiple_of_a_block_fall_back_to_f16() -> None:
    assert kind_of("blk.0.ffn_down.weight", (64, 172), Kind.Q8_0) == Kind.F16
    assert kind_of("blk.0.ffn_down.weight", (64, 192), Kind.Q8_0) == Kind.Q8_0
    assert kind_of("blk.0.ffn_down.weight", (64, 192), Kind.TQ1_0) == Kind.F16
    assert kind_of("token_embd.weight", (64, 256), Kind.TQ1_0) == Kind.F16
    assert kind_of("position_embd.weight", (64, 256), Kind.F16) == Kind.F32
    assert kind_of("blk.0.attn_norm.weight", (256,), Kind.F16) == Kind.F32
    assert kind_of("blk.0.attn_q.bias", (256,), Kind.F16) == Kind.F32


def with_config(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"architectures": ["MambaForCausalLM"]}, DoesNotFit, "'MambaForCausalLM' cannot be converted"),
        ({"architectures": None, "model_type": "mamba"}, DoesNotFit, "'mamba' cannot be converted"),
        ({"architectures": [7]}, DoesNotFit, "7 cannot be converted"),
        ({"auto_map": {"AutoModelForCausalLM": "own.LlamaForCausalLM"}}, DoesNotFit, "code of its own"),
        ({"auto_map": "own"}, DoesNotFit, "code of its own"),
        ({"quantization_config": {"quant_method": "awq"}}, DoesNotFit, "quantized already ('awq')"),
        ({"quantization": {"bits": 4, "group_size": 64}}, DoesNotFit, "quantized already ('mlx')"),
        ({"hidden_act": "relu"}, DoesNotFit, "use 'relu'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, DoesNotFit, "positions by 'dynamic'"),
        ({"partial_rotary_factor": 0.5}, DoesNotFit, "rotates 0.5 of each head"),
        ({"rope_scaling": {"type": "linear"}}, MalformedFile, "has no factor"),
        ({"hidden_size": "64"}, MalformedFile, "'64' as hidden_size"),
        ({"hidden_size": None}, MalformedFile, "no hidden_size"),
        ({"num_hidden_layers": 3}, MalformedFile, "lack the tensor blk.2."),
        ({"num_hidden_layers": 10**9}, MalformedFile, "1000000000 as num_hidden_layers"),
        ({"num_hidden_layers": 1}, MalformedFile, "no tensor 'model.layers.1."),
        ({"vocab_size": 3000}, MalformedFile, "has the shape [2048, 64]"),
        ({"num_attention_heads": 5}, MalformedFile, "5 heads for a hidden size of 64"),
        ({"num_key_value_heads": 4}, MalformedFile, "has 32 rows, not 4 heads of 16"),
        ({"rms_norm_eps": float("nan")}, MalformedFile, "as rms_norm_eps"),
        ({"rope_parameters": 5}, MalformedFile, "5 as rope_parameters"),
        ({"text_config": [1]}, MalformedFile, "[1] as text_config"),
    ],
)
def test_what_cannot_be_converted_is_said(
    changes: dict[str, object], error: type[SlmctlError], words: str, tmp_path: Path
) -> None:
    folder = with_config(llama(tmp_path / "llama"), **changes)
    with pytest.raises(error) as caught:
        convert(SourceFiles.of_folder(folder), "F16")
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_type_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be converted to 'Q4_K_M'"):
        convert(SourceFiles.of_folder(llama(tmp_path / "llama")), "Q4_K_M")


def test_code_that_transformers_has_taken_in_is_not_needed(tmp_path: Path) -> None:
    """Phi-3's published config.json names the code that its makers published with it."""
    known = {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    }
    made = convert(SourceFiles.of_folder(phi3(tmp_path / "phi3", auto_map=known)), "F16")
    assert any("is not run" in note for note in made.notes)
    other = {"AutoModelForCausalLM": "modeling_mine.MineForCausalLM"}
    with pytest.raises(DoesNotFit, match="code of its own"):
        convert(SourceFiles.of_folder(with_config(tmp_path / "phi3", auto_map=other)), "F16")


def test_a_model_that_the_engine_runs_otherwise_is_converted_with_a_note(tmp_path: Path) -> None:
    made = convert(SourceFiles.of_folder(bitnet(tmp_path / "bitnet", hidden_act="relu2")), "F16")
    assert any("ReLU" in note for note in made.notes)


def test_a_window_that_the_engine_does_not_have_is_told(tmp_path: Path) -> None:
    mistral = llama(tmp_path / "mistral", architectures=["MistralForCausalLM"], sliding_window=32)
    assert any("sees 32 before it" in note for note in convert(SourceFiles.of_folder(mistral)).notes)
    for folder in (with_config(mistral, sliding_window=4096), with_config(mistral, sliding_window=None)):
        assert convert(SourceFiles.of_folder(folder)).notes == ()
    qwen = qwen2(tmp_path / "qwen2", sliding_window=32)
    assert convert(SourceFiles.of_folder(qwen)).notes == ()
    assert convert(SourceFiles.of_folder(with_config(qwen, use_sliding_window=True))).notes


def test_what_the_engine_divides_otherwise_is_told(tmp_path: Path) -> None:
    folder = gemma3(tmp_path / "gemma3", query_pre_attn_scalar=16)
    assert convert(SourceFiles.of_folder(folder)).notes == ()
    for scalar in (24, None):  # without one it is 256
        notes = convert(SourceFiles.of_folder(with_config(folder, query_pre_attn_scalar=scalar))).notes
        assert any("root of" in note for note in notes)


def test_an_engine_loads_a_gemma3_whose_windows_are_elsewhere(base: Path, tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention"]
    converted(gemma3(tmp_path / "gemma3", layer_types=kinds), tmp_path / "made.gguf")
    with llama_worker(base, tmp_path / "made.gguf") as worker:
        request = completion_request("hello", Sampling(temperature=0.0, num_predict=2))
        assert list(Client(worker.endpoint, worker).stream(request))


def test_a_model_of_several_networks_is_what_the_whole_says_it_is(tmp_path: Path) -> None:
    """LLaVA's language part is a Llama; the model is none."""
    inner = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    folder = llama(tmp_path / "llava", architectures=["LlavaForConditionalGeneration"], text_config=inner)
    with pytest.raises(DoesNotFit, match="'LlavaForConditionalGeneration'"):
        convert(SourceFiles.of_folder(folder))


def test_biases_have_a_number_for_each_row(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama", "F32")
    weights = {
        name: each.numbers() for name, each in Source.of(SourceFiles.of_folder(folder)).tensors.items()
    }
    weights["model.layers.0.mlp.up_proj.bias"] = np.zeros(7, "<f4")
    write_folder(folder, json.loads((folder / "config.json").read_text()), weights)
    with pytest.raises(MalformedFile, match=r"up_proj\.bias' has the shape \[7\], by the config"):
        convert(SourceFiles.of_folder(folder))


def test_without_a_config_or_weights(tmp_path: Path) -> None:
    folder = llama(tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    with pytest.raises(NotFound, match=r"has no model\.safetensors"):
        convert(SourceFiles.of_folder(folder))
    (folder / "config.json").unlink()
    with pytest.raises(NotFound, match=r"has no file 'config\.json'"):
        convert(SourceFiles.of_folder(folder))
