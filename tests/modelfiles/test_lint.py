"""What is odd in a Modelfile is warned of by rule and place, and normal files are not."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest

from modelfiles.authoring import from_text
from modelfiles.errors import ModelfileError
from modelfiles.syntax import MAX_WARNINGS, parse, scan
from modelfiles.words import is_dropped_by_ollama
from tests.modelfiles.template.golden import cases

REPOSITORY = Path(__file__).parents[2]

ODD: list[tuple[str, str, str, str]] = [  # the text behind FROM x, the rule, the marked text, the last value
    ("PARAMETER  temperature 1", "two-blanks", "  ", "temperature 1"),
    ("PARAMETER \ttemperature 1", "two-blanks", " \t", "temperature 1"),
    ("PARAMETER   temperature  1 ", "two-blanks", "  ", "temperature  1"),
    ("PARAMETER  ", "two-blanks", "  ", ""),
    ("PARAMETER system hi", "parameter-instruction", "PARAMETER system", "hi"),
    *(
        (f"PARAMETER {name} hi", "parameter-instruction", f"PARAMETER {name}", "hi")
        for name in ("model", "template", "adapter", "license", "message", "requires", "renderer", "parser")
    ),
    ("PARAMETER draft hi", "parameter-instruction", "PARAMETER draft", "hi"),
    ("FROM ", "empty-from", "FROM ", ""),
    ('FROM ""', "empty-from", 'FROM ""', ""),
    ("SYSTEM ", "empty-value", "SYSTEM ", ""),
    ("MESSAGE user  ", "empty-value", "MESSAGE user  ", ""),
    ("FROM foo # c", "inline-comment", "# c", "foo # c"),
    ("FROM ./my file #c", "inline-comment", "#c", "./my file #c"),
    ("PARAMETER top_k 40 # less is duller", "inline-comment", "# less is duller", "40 # less is duller"),
    ("PARAMETER stop a\t#c", "inline-comment", "#c", "a\t#c"),
    ("ADAPTER a #c", "inline-comment", "#c", "a #c"),
    ("DRAFT a #c", "inline-comment", "#c", "a #c"),
    ("REQUIRES 0.14.0 #c", "inline-comment", "#c", "0.14.0 #c"),
    ("RENDERER a #c", "inline-comment", "#c", "a #c"),
    ("PARSER a #c", "inline-comment", "#c", "a #c"),
    ("SYSTEM Be kind. # always", "inline-comment", "# always", "Be kind. # always"),
    ("LICENSE MIT  # see LICENSE", "inline-comment", "# see LICENSE", "MIT  # see LICENSE"),
    ("MESSAGE user Hi!\t# the first", "inline-comment", "# the first", "Hi!\t# the first"),
    ("FROM foo bar", "from-blanks", "foo bar", "foo bar"),
    ("FROM qwen3:0.6b AS base", "from-blanks", "qwen3:0.6b AS base", "qwen3:0.6b AS base"),
    ("SYSTEM 'be kind'", "other-quotes", "'be kind'", "'be kind'"),
    ("PARAMETER stop '<|end|>'", "other-quotes", "'<|end|>'", "'<|end|>'"),
    ("SYSTEM \u201cbe kind\u201d", "other-quotes", "\u201cbe kind\u201d", "\u201cbe kind\u201d"),
    ('SYSTEM You are """', "late-quotes", '"""', 'You are """'),
    ('MESSAGE user "Hi"""', "unequal-quotes", '"""', 'Hi""'),
    ("SYSTEM You are \\", "continuation", "\\", "You are \\"),
    (r'PARAMETER stop "\n"', "escape", r"\n", r"\n"),
    (r"PARAMETER stop \nUser:", "escape", r"\n", r"\nUser:"),
    (r"SYSTEM Be kind.\n\nBe brief.", "escape", r"\n", r"Be kind.\n\nBe brief."),
    ('SYSTEM "a" b\nand "c"', "runs-on", '"', 'a" b\nand "c'),
    ('SYSTEM """a""" b\n"""', "runs-on", '"""', 'a""" b\n'),
    ('SYSTEM "a" # b\n"', "runs-on", '"', 'a" # b\n'),
    ('SYSTEM "a" b\nPARAMETER stop "c"', "runs-on", '"', 'a" b\nPARAMETER stop "c'),
    ('SYSTEM "a\nPARAMETER stop "c"', "swallowed-instruction", "PARAMETER", 'a\nPARAMETER stop "c'),
    ('SYSTEM """a\nTEMPLATE """b"""', "swallowed-instruction", "TEMPLATE", 'a\nTEMPLATE """b'),
    ("SYSTEM a\u00a0b", "dropped-characters", "\u00a0", "a\u00a0b"),
    ('SYSTEM "\n👩\u200d👧"', "dropped-characters", "\u200d", "\n👩\u200d👧"),
    ("SYSTEM a\x07b\x07", "dropped-characters", "\x07", "a\x07b\x07"),
    ("LICENSE a\ufeffb", "dropped-characters", "\ufeff", "a\ufeffb"),
    ("LICENSE a\ufffeb", "dropped-characters", "\ufffe", "a\ufffeb"),
    ('SYSTEM "a\r\nb"', "carriage-returns", 'SYSTEM "a\r\nb"', "a\r\nb"),
]

NORMAL = [
    "PARAMETER stop ### User:",
    "PARAMETER stop #x",
    "PARAMETER stop ### User: ### Assistant:",
    'PARAMETER stop "a # b"',
    "PARAMETER stop '",
    "PARAMETER stop '''",
    "PARAMETER stop ```",
    'PARAMETER stop """\n"""',
    "PARAMETER from x",
    "PARAMETER System x",
    "PARAMETER parameter x",
    "PARAMETER temperature ",  # the check of the spec says what is missing
    "SYSTEM Use # for headings and ## below. Answer #1 first.",
    "SYSTEM C# is fine; F# too.",
    'SYSTEM "Be kind. # always"',
    "SYSTEM It's the dogs' bone",
    r"SYSTEM \nabla is an operator, \newcommand a macro, `\n` a line break.",
    'SYSTEM "two lines\nand \\n"',
    'SYSTEM ""',
    'TEMPLATE "{{ "x" }}\n{{ .Prompt }}"',
    'SYSTEM """\nFROM here on, say "hi".\nSYSTEM requirements: none.\n"""',
    'SYSTEM """He said "hi" """',
    "FROM ./my model.gguf",
    "FROM /models/my model",
    "FROM ~/my model",
    "FROM C:\\my models\\x",
    "FROM my model.gguf",
    'FROM "my model"',
    "FROM hf.co/a/b:Q4_K_M",
    "SYSTEM\t你好👋 e\u0301 ⚠️ é",
    "SYSTEM \U0001fae8 \u0378",  # Unicode 15, and no character yet
    "TEMPLATE {{ .System }}\t{{ .Prompt }}",
]


@pytest.mark.parametrize(("text", "rule", "marked", "value"), ODD)
def test_what_is_odd_is_taken_with_one_warning(text: str, rule: str, marked: str, value: str) -> None:
    modelfile = parse(f"FROM x\n{text}")
    (warning,) = modelfile.warnings
    assert warning.rule == rule
    assert modelfile.text[slice(*warning.span)] == marked
    assert modelfile.instructions[-1].value == value
    assert warning.advice
    assert warning.message.isprintable()
    before = modelfile.text[: warning.span[0]].replace("\r\n", "\n")
    assert (warning.line, warning.column) == (before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)


@pytest.mark.parametrize("text", NORMAL)
def test_what_is_normal_is_not_warned_of(text: str) -> None:
    assert parse(f"FROM x\n{text}\n").warnings == ()


def test_the_modelfiles_and_templates_of_this_repository_are_normal() -> None:
    files = [path for path in REPOSITORY.glob("slmctl/**/Modelfile*") if path.is_file()]
    files += [path for path in REPOSITORY.glob("modelfiles/library/**/*Modelfile*") if path.is_file()]
    assert files
    for path in files:
        assert parse(path.read_bytes()).warnings == ()
    for case in cases("go"):
        text = f'FROM x\nTEMPLATE """{case.template}"""\n'
        assert parse(text).warnings == ()


def test_parameter_model_is_a_from() -> None:
    modelfile = parse("PARAMETER model x")
    assert [(each.keyword, each.name) for each in modelfile.instructions] == [("PARAMETER", "model")]
    assert [warning.rule for warning in modelfile.warnings] == ["parameter-instruction"]
    with pytest.raises(ModelfileError, match="There is no FROM line"):
        parse("PARAMETER from x")


def test_a_parameter_without_a_name_is_refused_with_its_meaning() -> None:
    with pytest.raises(ModelfileError, match="This PARAMETER has no name, because two blanks") as caught:
        from_text("FROM x\nPARAMETER  temperature 1")
    assert [problem.rule for problem in caught.value.problems] == ["unknown-parameter"]
    assert caught.value.hint == "Remove the other blanks."


def test_dropped_characters_are_named_and_counted() -> None:
    (warning,) = parse("FROM x\nSYSTEM a\u00a0b\u200dc\x07").warnings
    assert warning.message == (
        "Ollama drops U+00A0 (no-break space) and 2 such characters more from this value; here they stay."
    )


def test_dropped_characters_are_those_without_graphics() -> None:
    """Go's IsPrint agrees for all code points that both Unicode versions know (compared with Go 1.19)."""
    every = map(chr, range(sys.maxunicode + 1))
    dropped = {each for each in every if is_dropped_by_ollama(each)}
    assert not dropped & set(" \t\r\n")
    assert not any(each.isprintable() for each in dropped)
    unassigned = {each for each in dropped if unicodedata.category(each) == "Cn"}
    assert len(unassigned) == 66  # Unicode's noncharacters


def test_warnings_have_a_bound() -> None:
    modelfile, problems = scan("FROM x\n" + "SYSTEM 'x'\n" * 1000)
    assert problems == ()
    assert len(modelfile.warnings) == MAX_WARNINGS


def test_carriage_returns_are_told_once() -> None:
    text = 'FROM x\r\nSYSTEM "a\r\nb"\r\nLICENSE "a\r\nb"\r\n'
    assert [(each.rule, each.line) for each in parse(text).warnings] == [("carriage-returns", 2)]
