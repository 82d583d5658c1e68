"""Laws of Modelfile text: what is read, what is written, and what can never happen."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelfiles.authoring import from_text
from modelfiles.errors import ModelfileError, render
from modelfiles.format import Line, Unwritable, format_modelfile, format_spec, write
from modelfiles.spec import Message, ModelSpec
from modelfiles.syntax import MAX_PROBLEMS, MAX_WARNINGS, Comment, Modelfile, parse, scan
from modelfiles.words import ROLES, is_dropped_by_ollama, is_joiner
from tests.modelfiles import state_machine
from tests.property.modelfile_texts import comments, lines, texts, values

_BETWEEN_QUOTES = re.compile(r'"([^"\r\n]+)(?=")')


@given(st.one_of(st.binary(), texts, texts.map(str.encode), texts.map(lambda text: text.encode("utf-16"))))
@example("\ud800")
@example(b"\xff\xfe\x00")
@example(b"\xfe\xff\xd8")
def test_nothing_but_a_modelfile_error_is_raised(source: str | bytes) -> None:
    modelfile, problems = scan(source)
    assert len(problems) <= MAX_PROBLEMS + 1
    assert len(modelfile.warnings) <= MAX_WARNINGS
    if not problems:
        assert parse(source) == modelfile
        return
    with pytest.raises(ModelfileError) as caught:
        parse(source)
    assert _is_shown_safely(caught.value.message)
    assert _is_shown_safely(caught.value.hint or "")


@given(st.one_of(st.binary(), texts))
def test_every_problem_can_be_shown_on_a_terminal(source: str | bytes) -> None:
    modelfile, problems = scan(source)
    for problem in (*problems, *modelfile.warnings):
        shown = render(problem, filename="M", text=modelfile.text)
        assert all(map(_is_shown_safely, shown.split("\n")))
        assert problem.advice


@given(texts)
def test_places_agree_with_the_text(text: str) -> None:
    modelfile, problems = scan(text)
    unified = modelfile.text.replace("\r\n", " \n").replace("\r", "\n")
    split = unified.split("\n")
    starts = [sum(len(line) + 1 for line in split[:number]) for number in range(len(split))]
    for place in (*modelfile.nodes, *problems, *modelfile.warnings):
        assert starts[place.line - 1] + place.column - 1 == place.span[0]
        assert 0 <= place.span[0] <= place.span[1] <= len(text)


@given(texts)
@example('FROM m\nSYSTEM \u200b"a"\u200b')
@example("FROM m\nPARAMETER  x 1")
@example("PARAMETER model m")
def test_what_ollama_takes_is_taken_and_reads_the_same(text: str) -> None:
    """Ollama's values are ours without the characters that it drops.

    Left out: values in which dropped characters are all that stands between two quotes, which to Ollama are
    one quote then; and code points of newer Unicode versions, which may be printable to it.
    """
    assume(not any(_is_dropped(found[1]) for found in _BETWEEN_QUOTES.finditer(text)))
    assume(all(is_dropped_by_ollama(each) or each.isprintable() or each in "\r\n\t" for each in text))
    modelfile, problems = scan(text)
    try:
        expected = state_machine.read(modelfile.text)
    except state_machine.Refused:
        assert problems
    else:
        assert not problems
        read = [(each.keyword, each.name, _without_dropped(each.value)) for each in modelfile.instructions]
        quoted = [bool(each.quote) for each in modelfile.instructions]
        assert [
            (*head, value if is_quoted else value.strip())
            for (*head, value), is_quoted in zip(read, quoted, strict=True)
        ] == [tuple(each) for each in expected]


@given(st.lists(st.one_of(lines, comments), max_size=8))
@example([Line("PARAMETER", "", "x 1"), "#a\u2028SYSTEM b", Line("SYSTEM", None, "")])
def test_what_is_written_reads_back(nodes: list[Line | str]) -> None:
    written = ["FROM m"]
    expected: list[Line | str] = [Line("FROM", None, "m")]
    for node in nodes:
        try:
            text = node if isinstance(node, str) else write(node)
        except Unwritable:
            continue
        written.append(text)
        if isinstance(node, str) and isinstance(expected[-1], str):
            expected[-1] += f"\n{node}"
        else:
            expected.append(node)
    assert _contents(parse("\n".join(written) + "\n")) == expected


@given(st.one_of(lines, st.builds(Line, st.text(max_size=9), st.none() | st.text(max_size=9), values)))
def test_writing_raises_nothing_but_unwritable(line: Line) -> None:
    message = ""
    try:
        text = write(line)
    except Unwritable as error:
        message = error.message
    else:
        assert _contents(parse(f"FROM m\n{text}"))[1:] == [line]
    assert _is_shown_safely(message)


@given(texts)
@example("FROM m\n#a\u2028SYSTEM b\n")
@example("FROM m\n#a\x1c\n\n\n#b")
def test_formatting_changes_nothing_but_the_form(text: str) -> None:
    modelfile, problems = scan(text)
    if problems:
        return
    try:
        once = format_modelfile(modelfile)
    except Unwritable:
        return
    again = parse(once)
    assert _contents(again) == _contents(modelfile)
    assert format_modelfile(again) == once


_parameters = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2, width=32),
        "num_ctx": st.integers(0, 2**31 - 1),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "use_mmap": st.booleans(),
        "stop": st.lists(values.filter(bool), min_size=1, max_size=3).map(tuple),
    },
)
_specs = st.builds(
    ModelSpec,
    parameters=_parameters,
    system=st.none() | values,
    template=st.none() | values.filter(lambda text: "{{" not in text),
    requires=st.none() | st.sampled_from(["0.14.0", "1", "1.2.3-rc.1"]),
    renderer=st.none() | values,
    parser=st.none() | values,
    messages=st.lists(st.builds(Message, role=st.sampled_from(ROLES), content=values), max_size=3).map(tuple),
    licenses=st.lists(values, max_size=3, unique=True).map(tuple),
)


@given(_specs)
def test_a_spec_reads_back_or_is_refused(spec: ModelSpec) -> None:
    try:
        text = format_spec(spec, source="base:1")
    except Unwritable:
        return
    authored = from_text(text)
    assert authored.sources == ("base:1",)
    assert authored.spec == spec


def _contents(modelfile: Modelfile) -> list[Line | str]:
    return [
        "\n".join(line.strip(" \t") for line in re.split(r"(?:\r\n?|\n)[\s]*(?=#)", node.text))
        if isinstance(node, Comment)
        else Line(node.keyword, node.name, node.value)
        for node in modelfile.nodes
    ]


def _is_shown_safely(line: str) -> bool:
    return all(each.isprintable() or is_joiner(each) for each in line)


def _is_dropped(text: str) -> bool:
    return all(map(is_dropped_by_ollama, text))


def _without_dropped(text: str) -> str:
    return "".join(each for each in text if not is_dropped_by_ollama(each))
