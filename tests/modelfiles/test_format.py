"""Instructions and specs back to text."""

from __future__ import annotations

import pytest

from modelfiles.authoring import from_text
from modelfiles.format import Line, Unwritable, format_modelfile, format_spec, write
from modelfiles.spec import Message, ModelSpec
from modelfiles.syntax import parse


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("plain text", "SYSTEM plain text"),
        ("", 'SYSTEM ""'),
        (" blanks ", 'SYSTEM " blanks "'),
        ("two\nlines", 'SYSTEM "two\nlines"'),
        ('say "hi"', 'SYSTEM say "hi"'),
        ('"quoted"', 'SYSTEM ""quoted""'),
        ('a"\nb ', 'SYSTEM """a"\nb """'),
        ("# no comment", "SYSTEM # no comment"),
        ("a\u00a0b", "SYSTEM a\u00a0b"),
        ("\u00a0", 'SYSTEM "\u00a0"'),
    ],
)
def test_values_are_written_in_the_plainest_form_that_reads_back(value: str, form: str) -> None:
    assert write(Line("SYSTEM", None, value)) == form
    assert parse(f"FROM x\n{form}\n").instructions[1].value == value


@pytest.mark.parametrize("value", ['a"""\nb"\nc ', '"""\n"\n x'])
def test_what_cannot_be_written_is_told(value: str) -> None:
    with pytest.raises(Unwritable, match="cannot be written"):
        write(Line("SYSTEM", None, value))


def test_a_file_is_put_in_order() -> None:
    text = '\n\n  from   x \r\n\r\n\r\n# one\n   #two\n\n\n#three\nparameter stop "a"\nMessage user hi\n\n'
    once = format_modelfile(parse(text))
    assert once == "FROM x\n\n# one\n#two\n\n#three\nPARAMETER stop a\nMESSAGE user hi\n"
    assert format_modelfile(parse(once)) == once


def test_comments_end_where_lines_do() -> None:
    assert format_modelfile(parse("FROM x\n#a\u2028SYSTEM b\r#c\n")) == "FROM x\n#a\u2028SYSTEM b\n#c\n"


def test_a_spec_reads_back() -> None:
    spec = ModelSpec(
        parameters={"temperature": 0.5, "num_ctx": 4096, "stop": ("a", " b "), "use_mmap": False},
        system="Be\nkind.",
        messages=(Message(role="user", content="hi"), Message(role="assistant", content="Hello!")),
        licenses=("MIT", "Apache\n2.0"),
    )
    authored = from_text(format_spec(spec, source="base:1@sha256:00"))
    assert authored.spec == spec
    assert authored.sources == ("base:1@sha256:00",)
