"""The library that ships: every entry holds what the library promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from modelfiles.authoring import from_text
from modelfiles.format import format_modelfile
from modelfiles.syntax import Comment, Instruction, parse
from registry.errors import BadContent
from registry.names import Source, parse_new_name
from slmctl.app.formats import chat_formats
from slmctl.app.library import FOLDER, LibraryModel, Search, library, search
from tests.slmctl.cli.program import SCHEMAS

MODELS = {model.entry.name: model for model in library()}


def test_the_models_that_people_ask_for_are_there() -> None:
    assert sorted(MODELS) == [
        *("all-minilm:22m", "bitnet:b1.58-2b-4t", "gemma3:1b", "gemma3:4b", "hello:latest", "llama3.1:8b"),
        *(
            "llama3.2:1b",
            "llama3.2:3b",
            "llama3:8b",
            "phi4-mini:3.8b",
            "qwen3:0.6b",
            "qwen3:1.7b",
            "qwen3:4b",
        ),
        *("qwen3:8b", "smollm2:1.7b", "smollm2:135m", "smollm2:360m"),
    ]


def modelfile(model: LibraryModel) -> str:
    return (FOLDER / model.entry.family / model.entry.tag / "Modelfile").read_text()


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> LibraryModel:
    return MODELS[request.param]


def test_its_name_is_one(model: LibraryModel) -> None:
    assert parse_new_name(model.entry.name).full_name == model.entry.name


def test_its_modelfile_is_understood_and_in_its_plainest_form(model: LibraryModel) -> None:
    text = modelfile(model)
    authored = from_text(text)
    rules = [warning.rule for warning in authored.warnings]  # alternatives, of which Ollama takes the last
    assert rules == ["several-models"] * (len(authored.sources) - 1)
    assert len(authored.sources) == len(model.entry.builds)
    assert format_modelfile(parse(text)) == text


def test_its_parameters_say_where_they_were_read(model: LibraryModel) -> None:
    nodes = parse(modelfile(model)).nodes
    for above, node in zip((None, *nodes), nodes, strict=False):
        if isinstance(node, Instruction) and node.keyword == "PARAMETER":
            if isinstance(above, Instruction):
                assert above.keyword == "PARAMETER"
            else:
                assert isinstance(above, Comment)
                assert "https://" in above.text


def test_its_builds_are_alternatives(model: LibraryModel) -> None:
    """One of a format and quantization: two would be the same variant."""
    builds = model.entry.builds
    kinds = [(build.format, build.reference.tag) for build in builds]
    assert len(set(kinds)) == len(kinds)
    assert builds[0].format == "gguf"
    assert all(build.reference.source is Source.HUGGINGFACE for build in builds) or model.entry.ships


def test_its_chat_format_is_a_known_one(model: LibraryModel) -> None:
    if model.entry.chat_format is None:
        assert model.entry.kind == "embedding" or model.entry.family == "bitnet"
    else:
        assert model.entry.chat_format in chat_formats()


def test_its_facts_are_of_the_frozen_schema(model: LibraryModel) -> None:
    schema = json.loads((SCHEMAS / "facts-1.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(model.facts.to_json())
    assert model.facts.parameters == sum(row.elements for row in model.facts.tensors)


def test_a_family_has_one_default() -> None:
    defaults = [model.entry.family for model in MODELS.values() if model.entry.default]
    assert sorted(defaults) == sorted({model.entry.family for model in MODELS.values()})


def test_only_hello_ships() -> None:
    assert [name for name, model in MODELS.items() if model.entry.ships] == ["hello:latest"]
    assert MODELS["hello:latest"].size == MODELS["hello:latest"].facts.tensor_bytes


def test_sizes_of_a_family_come_from_small_to_large() -> None:
    assert [model.entry.tag for model in search(Search(words=("smollm2",)))] == ["135m", "360m", "1.7b"]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("facts.json", "{", "model/1b"),
        ("facts.json", "{}", "lack the field"),
        ("about.toml", "", "title must be text"),
        ("Modelfile", "FORM x", "model/1b"),
        ("Modelfile", None, "Modelfile cannot be read"),
    ],
)
def test_a_damaged_library_says_so(tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    shutil.copytree(FOLDER / "qwen3", tmp_path / "model")
    (tmp_path / "model" / "0.6b").rename(tmp_path / "model" / "1b")
    for tag in ("1.7b", "4b", "8b"):
        shutil.rmtree(tmp_path / "model" / tag)
    assert [model.entry.name for model in library(tmp_path)] == ["model:1b"]
    broken = tmp_path / "model" / "1b" / name
    broken.unlink()
    if text is not None:
        broken.write_text(text)
    with pytest.raises(BadContent, match=sentence) as raised:
        list(library(tmp_path))
    assert str(tmp_path) in (raised.value.hint or "")


def test_a_library_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadContent, match="cannot be read"):
        list(library(tmp_path / "library"))
