"""Modelfile text to instructions.

The grammar is Ollama's (`parser/parser.go`; its state machine is written down in the project's reference):

    modelfile   = *(blank | newline | comment | instruction)       ; at least one FROM
    comment     = "#" *character                                   ; only where an instruction could start
    instruction = keyword blank value
                | "PARAMETER" blank *(letter | digit | "_") blank value
                | "MESSAGE" blank ("system" | "user" | "assistant") blank value
    value       = triple text triple end | quote text quote end | line
    triple      = 3quote
    quote       = %x22
    blank       = space | tab
    end         = *blank (newline | end of file)

Keywords are read in any case. There are no escapes, no continuation lines and no comments behind a value. A
quote closes only where the line ends behind it, so quoted text can hold quotes and can run over lines. CR, LF
and CRLF end lines. A value keeps all of its characters: Ollama drops what Go calls unprintable (no-break
spaces, the joiners inside emoji and Persian words); here they are ignored only outside of quotes.

What the grammar takes and hardly anybody means is accepted with a warning: modelfiles/lint.py.
"""

from __future__ import annotations

import re
from itertools import islice

from modelfiles import refusals
from modelfiles.decoding import decode, not_text
from modelfiles.errors import ModelfileError, Problem
from modelfiles.instructions import KEYWORDS, Comment, Instruction, Modelfile
from modelfiles.lint import oddities
from modelfiles.places import Place
from modelfiles.words import ROLES

__all__ = [
    "KEYWORDS",
    "MAX_PROBLEMS",
    "MAX_WARNINGS",
    "Comment",
    "Instruction",
    "Modelfile",
    "parse",
    "scan",
]

MAX_PROBLEMS = 100  # after these the file is probably something else; reading stops
MAX_WARNINGS = 100  # more are not told

_SPACE = re.compile(r"[ \t\r\n]*+")
_COMMENTS = re.compile(r"#[^\r\n]*+(?:[ \t\r\n]++#[^\r\n]*+)*+")
_LETTERS = re.compile(r"[A-Za-z]*+")
_NAME = re.compile(r"[A-Za-z0-9_]*+")
_LINE = re.compile(r"[^\r\n]*+")
_RESUME = re.compile(rf"(?<=[\r\n])(?:{'|'.join(KEYWORDS)})[ \t]")


def parse(text: str | bytes, *, filename: str = "Modelfile") -> Modelfile:
    """Read a Modelfile: text, or bytes in UTF-8 or (with a byte order mark) UTF-16.

    Raises ModelfileError with all problems at once, and nothing else.
    """
    modelfile, problems = scan(text, filename=filename)
    if problems:
        raise ModelfileError(problems, filename=filename, text=modelfile.text)
    return modelfile


def scan(text: str | bytes, *, filename: str = "Modelfile") -> tuple[Modelfile, tuple[Problem, ...]]:
    """As `parse`, but gives what could be read together with the problems, and never raises."""
    decoded, damage = decode(text)
    scanner = _Scanner(decoded)
    scanner.run()
    instructions = [node for node in scanner.nodes if isinstance(node, Instruction)]
    wrong_file = scanner.problems and not_text(decoded)
    if wrong_file:
        return Modelfile(filename=filename, text=decoded, nodes=()), (wrong_file,)
    if not any(_is_from(each) for each in instructions):
        foreign = refusals.modctl(decoded, scanner.problems)
        if foreign is not None:
            scanner.problems = [foreign]
        elif not any(_is_about_from(problem) for problem in scanner.problems):
            scanner.problems.append(refusals.NO_FROM)
    odd = islice(oddities(instructions, decoded), MAX_WARNINGS)
    warnings = sorted((*damage, *odd), key=lambda warning: warning.span)
    modelfile = Modelfile(
        filename=filename,
        text=decoded,
        nodes=tuple(scanner.nodes),
        warnings=tuple(warnings[:MAX_WARNINGS]),
    )
    return modelfile, tuple(scanner.problems)


def _is_from(instruction: Instruction) -> bool:
    """PARAMETER model is one too: Ollama knows FROM by the name of model."""
    return instruction.keyword == "FROM" or (
        instruction.keyword == "PARAMETER" and instruction.name == "model"
    )


def _is_about_from(problem: Problem) -> bool:
    return (problem.suggestion or "").startswith("FROM") or problem.message.startswith("FROM ")


class _Scanner:
    """One pass over the text. Every method starts at `self.at` and leaves it behind what it has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.nodes: list[Instruction | Comment] = []
        self.problems: list[Problem] = []
        self._place = Place()  # where the instruction starts that is being read
        self._never_closes: set[str] = set()  # quotes that no line from here on ends in

    def run(self) -> None:
        while len(self.problems) < MAX_PROBLEMS:
            self.at = self._end_of(_SPACE)
            if self.at == len(self.text):
                break
            self._place = self._place.further(self.text, self.at)
            if self.text[self.at] == "#":
                self._comment()
            else:
                self._instruction()

    def _comment(self) -> None:
        start, self.at = self.at, self._end_of(_COMMENTS)
        text = self.text[start : self.at]
        place = self._place
        self.nodes.append(Comment(text=text, line=place.line, column=place.column, span=(start, self.at)))

    def _instruction(self) -> None:
        word_end = self._end_of(_LETTERS)
        keyword = self.text[self.at : word_end].upper()
        if not self._blank_at(word_end) or keyword not in KEYWORDS:
            self._refuse(refusals.keyword(self.text, self._place, word_end))
            return
        self.at = word_end + 1
        name_span = None
        if keyword in ("PARAMETER", "MESSAGE"):
            name_end = self._end_of(_NAME if keyword == "PARAMETER" else _LETTERS)
            name_span = (self.at, name_end)
            is_role = keyword == "MESSAGE"
            if not self._blank_at(name_end) or (is_role and self.text[slice(*name_span)] not in ROLES):
                refusal = refusals.role if is_role else refusals.parameter_name
                self._refuse(refusal(self.text, self._place, name_span))
                return
            self.at = name_end + 1
        value_span = self._value()
        if value_span is None:
            return
        value = self.text[slice(*value_span)]
        quote = _quote(value)
        instruction = Instruction(
            keyword=keyword,
            name=None if name_span is None else self.text[slice(*name_span)],
            value=value[len(quote) : len(value) - len(quote)],
            line=self._place.line,
            column=self._place.column,
            span=(self._place.offset, value_span[1]),
            name_span=name_span,
            value_span=value_span,
        )
        self.nodes.append(instruction)

    def _value(self) -> tuple[int, int] | None:
        """The value's span with its quotes, `at` behind its last line; None if its quote never closes."""
        line_end = self._end_of(_LINE)
        opening = self._first_visible(line_end)
        quote = _quote(self.text[opening : opening + 3])
        if not quote:
            line = self.text[self.at : line_end]
            start = self.at + len(line) - len(line.lstrip())
            self.at = line_end
            return start, start + len(line.strip())
        closing = self._closing(quote, opening + len(quote))
        if closing is None:
            self.problems.append(refusals.open_quote(self.text, self._place, quote, opening, line_end))
            resumed = _RESUME.search(self.text, line_end)
            self.at = resumed.start() if resumed else len(self.text)
            return None
        self.at = closing + len(quote)
        self.at = self._end_of(_LINE)
        return opening, closing + len(quote)

    def _closing(self, quote: str, start: int) -> int | None:
        """The first `quote` from `start` on with nothing visible behind it on its line."""
        if quote in self._never_closes:
            return None
        closing = self.text.find(quote, start)
        while closing >= 0:
            if self._line_is_over(closing + len(quote)):
                return closing
            closing = self.text.find(quote, closing + 1)
        self._never_closes.add(quote)
        return None

    def _refuse(self, problem: Problem) -> None:
        """Note the problem and go behind what is probably the rest of it: the line, and its triple quote."""
        self.problems.append(problem)
        line_end = self._end_of(_LINE)
        opening = self.text.find('"""', self.at, line_end)
        closing = self._closing('"""', opening + 3) if opening > self._place.offset else None
        self.at = line_end if closing is None else closing + 3

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        return self.at if match is None else match.end()

    def _blank_at(self, offset: int) -> bool:
        return self.text[offset : offset + 1] in (" ", "\t")

    def _first_visible(self, end: int) -> int:
        offset = self.at
        while offset < end and not _is_visible(self.text[offset]):
            offset += 1
        return offset

    def _line_is_over(self, offset: int) -> bool:
        while offset < len(self.text) and self.text[offset] not in "\r\n":
            if _is_visible(self.text[offset]):
                return False
            offset += 1
        return True


def _is_visible(character: str) -> bool:
    return character.isprintable() and character != " "


def _quote(text: str) -> str:
    return next((quote for quote in ('"""', '"') if text.startswith(quote)), "")
