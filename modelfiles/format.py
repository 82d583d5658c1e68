"""Instructions and specs back to Modelfile text: `parse(format(x)) == x` for all that the grammar can say.

The grammar has no escapes, so some values cannot be written: text that both needs quotes (it has line
breaks, or blanks at its ends, or begins with a quote) and holds the quotes' own end where a line ends. Such a
value is reported and not mangled. A value is written in the first of three forms that is read back as it was:
bare, between quotes, between triple quotes. An empty one is never bare, because editors remove blanks at the
end of a line, and `SYSTEM` without one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelfiles.spec import ModelSpec
from modelfiles.syntax import Comment, Instruction, Modelfile, scan
from modelfiles.words import printable
from registry.errors import UsageError

_LINE_BREAK = re.compile(r"\r\n?|\n")


class Unwritable(UsageError):
    """A value that Modelfile text cannot hold."""

    code = "unwritable"


@dataclass(frozen=True, slots=True)
class Line:
    """An instruction to be written: `name` is PARAMETER's name or MESSAGE's role."""

    keyword: str
    name: str | None
    value: str


def format_modelfile(modelfile: Modelfile) -> str:
    """The same instructions and comments, each instruction in its plainest form.

    Keywords in upper case, one blank between parts, no indentation, one line break at the end; blank lines
    between instructions stay, several of them as one. Raises Unwritable.
    """
    written: list[str] = []
    last_end: int | None = None
    for node in modelfile.nodes:
        if last_end is not None and _has_blank_line(modelfile.text[last_end : node.span[0]]):
            written.append("")
        if isinstance(node, Comment):
            written += _comment_lines(node.text)
        else:
            written.append(write(Line(node.keyword, node.name, node.value)))
        last_end = node.span[1]
    return "\n".join(written) + "\n"


def format_spec(spec: ModelSpec, *, source: str) -> str:
    """A Modelfile that makes a model of `spec` from `source`. Raises Unwritable."""
    return "\n".join(write(line) for line in lines_of(spec, source=source)) + "\n"


def lines_of(spec: ModelSpec, *, source: str) -> Iterator[Line]:
    """The instructions that say `spec`, FROM first."""
    yield Line("FROM", None, source)
    for keyword, text in (
        ("TEMPLATE", spec.template),
        ("SYSTEM", spec.system),
        ("RENDERER", spec.renderer),
        ("PARSER", spec.parser),
        ("REQUIRES", spec.requires),
    ):
        if text is not None:
            yield Line(keyword, None, text)
    for name, value in spec.parameters.items():
        for each in value if isinstance(value, tuple) else (value,):
            yield Line("PARAMETER", name, parameter_text(each))
    for message in spec.messages:
        yield Line("MESSAGE", message.role, message.content)
    for text in spec.licenses:
        yield Line("LICENSE", None, text)


def parameter_text(value: str | float | bool) -> str:
    """A parameter's value as `spec.parse_parameter` reads it back."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def write(line: Line) -> str:
    """One instruction as text. Raises Unwritable."""
    head = line.keyword if line.name is None else f"{line.keyword} {line.name}"
    bare = [line.value] if line.value else []
    for form in (*bare, f'"{line.value}"', f'"""{line.value}"""'):
        text = f"{head} {form}"
        if _reads_as(text, line):
            return text
    raise Unwritable(
        f"The value of {printable(head)} cannot be written in a Modelfile: {printable(line.value)!r}.",
        hint="Modelfiles have no escapes: leave out the quotes at the ends of its lines.",
    )


def _reads_as(text: str, line: Line) -> bool:
    """Whether `text`, alone in a file, is read as `line` and as nothing else."""
    lead = "" if line.keyword == "FROM" else "FROM x\n"
    modelfile, problems = scan(f"{lead}{text}\n")
    read = [(each.keyword, each.name, each.value) for each in modelfile.instructions]
    expected: Sequence[tuple[str, str | None, str]] = [(line.keyword, line.name, line.value)]
    odd = any(not isinstance(node, Instruction) for node in modelfile.nodes)
    return not problems and not odd and read[bool(lead) :] == expected


def _has_blank_line(between: str) -> bool:
    return len(_LINE_BREAK.findall(between)) > 1


def _comment_lines(text: str) -> list[str]:
    """The lines of a run of comments without their indentation; several blank lines among them as one."""
    lines: list[str] = []
    for line in _LINE_BREAK.split(text):  # not splitlines, which takes more characters for line ends
        bare = line.strip(" \t")
        if bare or (lines and lines[-1]):
            lines.append(bare)
    return lines
