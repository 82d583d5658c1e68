"""What an entry's files must say, and what is refused."""

from __future__ import annotations

import pytest

from modelfiles.errors import ModelfileError
from modelfiles.library.entry import LibraryEntry, parse_entry, size_class
from registry.errors import MalformedFile

FAMILY = """
default = "1b"
maker = "Somebody"
license = "MIT"
kind = "instruct"
tasks = ["chat"]
languages = ["en", "de"]
sources = ["https://example.org/card: all of it"]
"""
ABOUT = """
title = "Model 3.5 1B"
summary = "Answers questions."
chat_format = "chatml"
"""
MODELFILE = """\
# A remark.

# gguf: https://example.org/files lists m-Q4_K_M.gguf,
# 800 MB
FROM hf.co/org/m-GGUF:Q4_K_M

# mlx: read at https://example.org/mlx
FROM hf.co/org/m-mlx

PARAMETER temperature 0.5
"""


def entry(
    tag: str = "1b", *, family: str = FAMILY, about: str = ABOUT, modelfile: str = MODELFILE
) -> LibraryEntry:
    return parse_entry("model", tag, family_text=family, about=about, modelfile=modelfile)


def test_three_texts_make_an_entry() -> None:
    made = entry()
    assert (made.name, made.default, made.ships) == ("model:1b", True, False)
    assert (made.title, made.maker, made.license) == ("Model 3.5 1B", "Somebody", "MIT")
    assert (made.tasks, made.languages, made.chat_format) == (("chat",), ("en", "de"), "chatml")
    assert [(str(build.reference), build.format, build.read_in) for build in made.builds] == [
        ("hf://org/m-GGUF:Q4_K_M", "gguf", "https://example.org/files lists m-Q4_K_M.gguf, 800 MB"),
        ("hf://org/m-mlx", "mlx", "read at https://example.org/mlx"),
    ]


def test_about_overrides_the_family() -> None:
    made = entry("3b", about=f'{ABOUT}tasks = ["chat", "vision"]\n')
    assert (made.tasks, made.default) == (("chat", "vision"), False)


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        (ABOUT.replace("title", "titel"), "titel is no field"),
        ('title = "Model"', "summary must be text"),
        (f'{ABOUT}license = "GPL"', "license has 'GPL', which is none of Apache-2.0"),
        (f'{ABOUT}kind = "chatty"', "kind has 'chatty'"),
        (f'{ABOUT}tasks = ["chat", "cook"]', "tasks has 'cook'"),
        (f'{ABOUT}tasks = "chat"', "tasks must be a list"),
        (f"{ABOUT}tasks = []", "tasks must be a list"),
        (f"{ABOUT}tasks = [1]", "tasks must be a list"),
        (f'{ABOUT}languages = ["english"]', "languages has 'english'"),
        (ABOUT.replace("questions", "questions" * 9), "summary is longer"),
        ("title = ", "model/1b/about.toml is not valid TOML"),
    ],
)
def test_a_wrong_field_is_named(about: str, sentence: str) -> None:
    with pytest.raises(MalformedFile, match=sentence):
        entry(about=about)


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        (FAMILY.replace("default", "standard"), "model/family.toml: default must be text"),
        ("]", "model/family.toml is not valid TOML"),
    ],
)
def test_a_wrong_family_is_named(family: str, sentence: str) -> None:
    with pytest.raises(MalformedFile, match=sentence):
        entry(family=family)


@pytest.mark.parametrize(
    ("modelfile", "sentence"),
    [
        ("FROM hf.co/org/m", "line 1 has no comment above it"),
        ("# gguf: https://example.org\n\nFROM hf.co/org/m", "line 3 has no comment above it"),
        ("# A remark.\nFROM hf.co/org/m", "begins with gguf: or mlx: or onnx: or safetensors:"),
        ("# exl2: https://example.org\nFROM hf.co/org/m", "line 2 has no comment above it"),
        ("# gguf: somewhere\nFROM hf.co/org/m", "at which address"),
        ("# gguf: https://example.org\nFROM ./m.gguf", "line 2 names no model"),
        (
            "# gguf: https://example.org\nFROM hf.co/org/m\nFROM hf.co/org/n",
            "line 3 has no comment above it",
        ),
    ],
)
def test_a_build_that_nobody_can_check_is_refused(modelfile: str, sentence: str) -> None:
    with pytest.raises(MalformedFile, match=sentence):
        entry(modelfile=modelfile)


def test_a_modelfile_that_is_none_is_refused() -> None:
    with pytest.raises(ModelfileError):
        entry(modelfile="FORM hf.co/org/m")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (None, None),
        (0, None),
        (99_999_999, None),
        (100_000_000, "micro"),
        (1_400_000_000, "micro"),
        (1_449_999_999, "micro"),
        (1_450_000_000, "small"),
        (13_900_000_000, "small"),
        (13_949_999_999, "small"),
        (13_950_000_000, "medium"),
        (30_532_122_624, "medium"),  # Qwen3-30B-A3B
        (31_000_000_000, None),
    ],
)
def test_the_class_follows_from_the_parameters(parameters: int | None, expected: str | None) -> None:
    assert size_class(parameters) == expected


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("model", True),
        ("MOD", True),
        ("odel", False),
        ("model:1b", True),
        ("3.5", True),
        ("5", True),
        ("1b", True),
        ("b", True),
        ("somebody", True),
        ("body", False),
        ("answers", True),
        ("chat", True),
        ("german", True),
        ("de", True),
        ("fr", False),
        ("instruct", True),
    ],
)
def test_a_word_is_found_where_it_begins_one(word: str, found: bool) -> None:
    assert entry().says(word) is found
