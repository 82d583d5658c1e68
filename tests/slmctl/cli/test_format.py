"""`run --format`: answers in JSON that fits, or an error that says they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from registry.errors import UsageError
from runtimes.protocol import ANY_OBJECT
from slmctl.cli.schema import misfit, schema_of
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

SCHEMA = {
    "type": "object",
    "properties": {"size": {"enum": ["big", "small"]}, "bits": {"type": "boolean"}},
    "required": ["size", "bits"],
    "additionalProperties": False,
}
TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"


@pytest.fixture
def both(slmctl: Program, tiny_model: Path, tmp_path: Path) -> Program:
    """With a model that has a chat template and one that has none."""
    for name, template in (("chat", TEMPLATE), ("plain", None)):
        path = tmp_path / f"{name}.gguf"
        metadata = {"tokenizer.ggml.add_space_prefix": False}  # with it llguidance fails: see below
        write_random_model(path, chat_template=template, metadata=metadata)
        assert slmctl("create", name, "--from", str(path)).code == 0
    assert slmctl("create", "stubborn", "--from", str(tiny_model)).code == 0
    return slmctl


@pytest.mark.parametrize("name", ["chat", "plain"])
def test_answers_fit_the_schema(both: Program, tmp_path: Path, name: str) -> None:
    schema = {"enum": ["big", "small"]}  # in an object a random model may put blanks for ever
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema))
    for given in (json.dumps(schema), str(file)):
        for seed in range(3):
            outcome = both("run", name, "--format", given, "--seed", str(seed), "the")
            assert outcome.code == 0, outcome.err
            assert json.loads(outcome.out) in {"big", "small"}


def test_an_answer_that_does_not_fit_is_told(both: Program) -> None:
    """llguidance takes wrong texts for the tokens of SentencePiece models that put a blank before a text;
    llama.cpp then goes on without the schema, and answers 200.
    """
    for seed in range(2):
        outcome = both("run", "stubborn", "--format", json.dumps(SCHEMA), "--seed", str(seed), "the")
        fits = misfit(outcome.out, SCHEMA) is None
        assert outcome.code == (0 if fits else 1)
        assert fits or "slmctl: The answer " in outcome.err


@pytest.mark.parametrize("name", ["chat", "plain", "stubborn"])
def test_json_mode_gives_an_object_or_says_that_it_is_cut(both: Program, name: str) -> None:
    """A random model says anything that the grammar lets it say."""
    for seed in range(3):
        ask = ("run", name, "--format", "json", "--max-tokens", "48", "--seed", str(seed), "the")
        outcome = both(*ask)
        assert outcome.out.lstrip().startswith("{")
        if outcome.code == 0:
            assert isinstance(json.loads(outcome.out), dict)
        else:
            assert outcome.code == 1
            assert "The answer is not complete JSON." in outcome.err
        document = both(*ask, "--json")
        assert document.code == outcome.code
        assert document.json["response"].strip() == outcome.out.strip()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"type": "obj', "is not valid JSON"),
        ('{"type": "stsring"}', "is no JSON Schema"),
        ("nofile.json", "is no file to read"),
        ("[" * 100_000, "is no file to read"),
        ('{"a":' * 20_000, "nested too deeply"),
        (f'{{"const": {"[" * 900}{"]" * 900}}}', "nested too deeply"),
        ('{"const": NaN}', "is not valid JSON: NaN is no number"),
        ('{"minimum": 1e999}', "is not valid JSON: the number 1e999 is too large"),
        ("", "is no file to read"),
        ('{"pattern": "a{99999999999}"}', "has a pattern that is too large"),
    ],
)
def test_a_bad_schema_is_refused_before_anything_is_loaded(both: Program, given: str, said: str) -> None:
    outcome = both("run", "chat", "--format", given, "the")
    assert outcome.code == 2
    assert said in outcome.err
    assert len(outcome.err) < 1000


def test_schemas(tmp_path: Path) -> None:
    assert schema_of("json") == schema_of(" JSON ") == ANY_OBJECT
    file = tmp_path / "list.json"
    file.write_text("[1]")
    with pytest.raises(UsageError, match="no JSON object"):
        schema_of(str(file))
    file.write_bytes(b'\xef\xbb\xbf{"enum": ["a"]}')
    assert schema_of(str(file)) == {"enum": ["a"]}
    file.write_bytes(b'{"enum": ["\xff"]}')
    with pytest.raises(UsageError, match="not UTF-8"):
        schema_of(str(file))
    assert schema_of('{"pattern": "[[a]"}') == {"pattern": "[[a]"}  # without Python's own warning about it


@pytest.mark.parametrize(
    ("answer", "schema", "said"),
    [
        ('{"size": "big", "bits": true}', SCHEMA, None),
        ("{}", ANY_OBJECT, None),
        ("Once upon a time", ANY_OBJECT, "The answer is no JSON."),
        ('{"size": "bi', SCHEMA, "The answer is not complete JSON."),
        ('{"size": "huge", "bits": true}', SCHEMA, "does not fit the schema"),
        ("[1]", ANY_OBJECT, "does not fit the schema"),
        ("1", {"$ref": "http://127.0.0.1:9/x.json"}, "which it does not contain"),
        ('{"size": NaN}', ANY_OBJECT, "The answer is not complete JSON."),
        ("1", {"$ref": "#"}, "refers to itself without end"),
        ("1", {"$ref": "#/minLength", "minLength": 3}, "cannot be held against the schema"),
        ("1e999", {"multipleOf": 0.5}, "cannot be held against the schema"),
    ],
)
def test_misfits(answer: str, schema: dict[str, object], said: str | None) -> None:
    complaint = misfit(answer, schema)
    assert complaint is said if said is None else complaint is not None and said in complaint
