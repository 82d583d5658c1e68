"""Modelfile text to instructions.

The grammar is Ollama's (`parser/parser.go`; its state machine is written down in the project's reference):

    modelfile   = *(blank | newline | comment | instruction)       ; at least one FROM
    comment     = "#" *character                                   ; only where an instruction could start
    instruction = keyword blank value
                | "PARAMETER" blank 1*(letter | digit | "_") blank value
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
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from modelfiles.errors import ModelfileError, Problem
from modelfiles.words import ROLES, nearest, printable

KEYWORDS = (
    "FROM",
    "PARAMETER",
    "TEMPLATE",
    "SYSTEM",
    "ADAPTER",
    "LICENSE",
    "MESSAGE",
    "REQUIRES",
    "RENDERER",
    "PARSER",
    "DRAFT",
)

MODCTL_KEYWORDS = frozenset(
    [
        "CONFIG",
        "MODEL",
        "CODE",
        "DATASET",
        "DOC",
        "NAME",
        "ARCH",
        "FAMILY",
        "FORMAT",
        "PARAMSIZE",
        "PRECISION",
        "QUANTIZATION",
    ]
)
"""The instructions of modctl's file of the same name (CNCF ModelPack), none of which is one here."""

_ALL_KEYWORDS = f"Instructions are {', '.join(KEYWORDS)}."

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
MAX_PROBLEMS = 100  # after these the file is probably something else; reading stops

_SPACE = re.compile(r"[ \t\r\n]*+")
_COMMENTS = re.compile(r"#[^\r\n]*+(?:[ \t\r\n]++#[^\r\n]*+)*+")
_LETTERS = re.compile(r"[A-Za-z]*+")
_NAME = re.compile(r"[A-Za-z0-9_]*+")
_TOKEN = re.compile(r"[^ \t\r\n]*+")
_LINE = re.compile(r"[^\r\n]*+")
_RESUME = re.compile(rf"(?<=[\r\n])(?:{'|'.join(KEYWORDS)})[ \t]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction as written.

    `keyword` is upper case; `name` is PARAMETER's name or MESSAGE's role, else None; `value` is without its
    quotes. `line` and `column` (from 1) are where the keyword starts; name and value start on that line too.
    `span`, `name_span` and `value_span` are (start, end) offsets into the text, the last one with the quotes.
    """

    keyword: str
    name: str | None
    value: str
    line: int
    column: int
    span: tuple[int, int]
    name_span: tuple[int, int] | None
    value_span: tuple[int, int]

    @property
    def name_column(self) -> int:
        start = self.span[0] if self.name_span is None else self.name_span[0]
        return self.column + start - self.span[0]

    @property
    def value_column(self) -> int:
        return self.column + self.value_span[0] - self.span[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """A run of comment lines with the blank lines among them, as written, from its first `#`."""

    text: str
    line: int
    column: int
    span: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """A Modelfile as written: the decoded text, its nodes in order, and what was odd about it."""

    filename: str
    text: str
    nodes: tuple[Instruction | Comment, ...]
    warnings: tuple[Problem, ...] = ()

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return tuple(node for node in self.nodes if isinstance(node, Instruction))


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
    decoded, warnings = _decode(text)
    scanner = _Scanner(decoded)
    scanner.run()
    modelfile = Modelfile(
        filename=filename,
        text=decoded,
        nodes=tuple(scanner.nodes),
        warnings=(*warnings, *scanner.warnings),
    )
    return modelfile, (_of_modctl(modelfile, scanner.problems) or tuple(scanner.problems))


def _of_modctl(modelfile: Modelfile, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """One problem for a file in modctl's grammar, in place of one for each of its lines; else none."""
    unknown = [problem for problem in problems if problem.rule == "unknown-instruction"]
    words = {modelfile.text[slice(*problem.span)].upper() for problem in unknown}
    if (
        not words
        or not words <= MODCTL_KEYWORDS
        or any(each.keyword == "FROM" for each in modelfile.instructions)
    ):
        return ()
    first = unknown[0]
    return (
        Problem(
            rule="modctl",
            message="This is a Modelfile of modctl, whose grammar is another one.",
            line=first.line,
            column=first.column,
            span=first.span,
            hint="Write FROM and the model's file, or build it with modctl and pull what that made.",
        ),
    )


def _decode(source: str | bytes) -> tuple[str, tuple[Problem, ...]]:
    """The text without a byte order mark; what is no character becomes U+FFFD, as it does in Ollama."""
    if isinstance(source, str):
        text = source.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
        surrogate = _SURROGATE.search(text)
        if surrogate is None:
            return text, ()
        text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
        return text, (_damaged(text, surrogate.start()),)
    encoding, data = "utf-8", source
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if source.startswith(mark):
            encoding, data = marked, source.removeprefix(mark)
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError as error:
        text = data.decode(encoding, "replace")
        start = len(data[: error.start].decode(encoding, "ignore"))
        return text, (_damaged(text, min(start, len(text) - 1)),)


def _damaged(text: str, start: int) -> Problem:
    line, column = _Lines(text).place(start)
    return Problem(
        rule="encoding",
        message="These bytes are no text and were read as U+FFFD.",
        line=line,
        column=column,
        span=(start, start + 1),
        hint="Save the file as UTF-8.",
    )


class _Lines:
    """Line and column of offsets that only grow, so that all of them together cost one pass."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._offset = self._line_start = 0
        self._line = 1

    def place(self, offset: int) -> tuple[int, int]:
        text, before = self._text, self._offset
        breaks = text.count("\n", before, offset) + text.count("\r", before, offset)
        if breaks:
            self._line += breaks - text.count("\r\n", before, offset)
            self._line_start = 1 + max(text.rfind("\n", before, offset), text.rfind("\r", before, offset))
        self._offset = offset
        return self._line, offset - self._line_start + 1


class _Scanner:
    """One pass over the text. Every method starts at `self.at` and leaves it behind what it has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.nodes: list[Instruction | Comment] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._lines = _Lines(text)
        self._line = self._column = 1  # of the instruction that is being read
        self._start = 0
        self._never_closes: set[str] = set()  # quotes that no line from here on ends in

    def run(self) -> None:
        while len(self.problems) < MAX_PROBLEMS:
            self.at = self._start = self._end_of(_SPACE)
            if self.at == len(self.text):
                break
            self._line, self._column = self._lines.place(self.at)
            if self.text[self.at] == "#":
                self._comment()
            else:
                self._instruction()
        keywords = {node.keyword for node in self.nodes if isinstance(node, Instruction)}
        if "FROM" not in keywords and not any(_is_about_from(problem) for problem in self.problems):
            self.problems.append(_NO_FROM)

    def _comment(self) -> None:
        start, self.at = self.at, self._end_of(_COMMENTS)
        text = self.text[start : self.at]
        self.nodes.append(Comment(text=text, line=self._line, column=self._column, span=(start, self.at)))

    def _instruction(self) -> None:
        word_end = self._end_of(_LETTERS)
        keyword = self.text[self.at : word_end].upper()
        if not self._blank_at(word_end) or keyword not in KEYWORDS:
            self._refuse_keyword(keyword, word_end)
            self._skip()
            return
        self.at = word_end + 1
        name_span = None
        if keyword in ("PARAMETER", "MESSAGE"):
            name_end = self._end_of(_NAME if keyword == "PARAMETER" else _LETTERS)
            name_span = (self.at, name_end)
            refuse = self._refuse_parameter if keyword == "PARAMETER" else self._refuse_role
            if refuse(*name_span):
                self._skip()
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
            line=self._line,
            column=self._column,
            span=(self._start, value_span[1]),
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
            self._refuse_open_quote(quote, opening, line_end)
            resumed = _RESUME.search(self.text, line_end)
            self.at = resumed.start() if resumed else len(self.text)
            return None
        early = self.text.find(quote, opening + len(quote), line_end)
        if early >= 0 and closing > line_end:
            self._warn_runs_on(quote, early)
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

    def _skip(self) -> None:
        """Go behind what is probably the rest of a refused instruction: its line, and its triple quote."""
        line_end = self._end_of(_LINE)
        opening = self.text.find('"""', self.at, line_end)
        closing = self._closing('"""', opening + 3) if opening > self._start else None
        self.at = line_end if closing is None else closing + 3

    def _end_of(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.at)
        return self.at if match is None else match.end()

    def _blank_at(self, offset: int) -> bool:
        return self.text[offset : offset + 1] in (" ", "\t")

    def _ends_at(self, offset: int) -> bool:
        return self.text[offset : offset + 1] in ("", "\r", "\n")

    def _first_visible(self, end: int) -> int:
        offset = self.at
        while offset < end and not _is_visible(self.text[offset]):
            offset += 1
        return offset

    def _line_is_over(self, offset: int) -> bool:
        while not self._ends_at(offset) and not _is_visible(self.text[offset]):
            offset += 1
        return self._ends_at(offset)

    # What is wrong, in words.

    def _report(
        self,
        rule: str,
        message: str,
        span: tuple[int, int],
        *,
        suggestion: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problems.append(self._problem(rule, message, span, suggestion=suggestion, hint=hint))

    def _problem(
        self, rule: str, message: str, span: tuple[int, int], *, suggestion: str | None, hint: str | None
    ) -> Problem:
        """A problem on the line that the current instruction starts on."""
        return Problem(
            rule=rule,
            message=message,
            line=self._line,
            column=self._column + span[0] - self._start,
            span=span,
            suggestion=suggestion,
            hint=hint,
        )

    def _refuse_keyword(self, keyword: str, word_end: int) -> None:
        start = self.at
        token_end = max(self._end_of(_TOKEN), start + 1)
        token = self.text[start:token_end]
        if keyword in KEYWORDS and self._ends_at(word_end):
            hint = f"Write it behind {keyword}, on the same line."
            self._report("no-value", f"{keyword} has no value.", (start, word_end), hint=hint)
        elif keyword in KEYWORDS:
            found = printable(self.text[word_end])
            message = f"{keyword} must be followed by a blank, not by {found!r}."
            self._report("no-blank", message, (start, word_end + 1), hint=f"Put a blank behind {keyword}.")
        elif not keyword:
            hint = f'{_ALL_KEYWORDS} Text over several lines goes between """.'
            message = f"No instruction starts with {printable(token)!r}."
            self._report("no-instruction", message, (start, token_end), hint=hint)
        else:
            nearby = nearest(token.upper(), KEYWORDS)
            known = None if nearby else _ALL_KEYWORDS
            message = f"There is no instruction {printable(token)}."
            self._report("unknown-instruction", message, (start, token_end), suggestion=nearby, hint=known)

    def _refuse_parameter(self, start: int, end: int) -> bool:
        if start < end and self._blank_at(end):
            return False
        if start == end and self._blank_at(end):
            self._report_second_blank("PARAMETER", "name", start)
        elif start == end and self._ends_at(end):
            hint = "Write PARAMETER name value, for example PARAMETER temperature 0.7."
            self._report("no-value", "PARAMETER has no name.", (self._start, start), hint=hint)
        elif self._ends_at(end):
            message = f"PARAMETER {printable(self.text[start:end])} has no value."
            hint = "Write the value behind the name, on the same line."
            self._report("no-value", message, (start, end), hint=hint)
        else:
            token_end = self._end_of(_TOKEN)
            token = self.text[start:token_end]
            spelled = token[:64].replace("-", "_").replace(".", "_")
            nearby = spelled if _NAME.fullmatch(spelled) else None
            message = f"{printable(token)!r} is no parameter name; those are letters, digits and underscores."
            self._report("parameter-name", message, (start, token_end), suggestion=nearby)
        return True

    def _refuse_role(self, start: int, end: int) -> bool:
        role = self.text[start:end]
        if role in ROLES and self._blank_at(end):
            return False
        token_end = self._end_of(_TOKEN)
        if start == end and self._blank_at(end):
            self._report_second_blank("MESSAGE", "role", start)
        elif self._ends_at(end) and (role in ROLES or not role):
            message = f"MESSAGE {role} has no text." if role else "MESSAGE has no role."
            hint = "Write MESSAGE role text, for example MESSAGE user Hello."
            self._report("no-value", message, (self._start, token_end), hint=hint)
        else:
            token = self.text[start:token_end]
            nearby = nearest(token.lower(), ROLES)
            roles = None if nearby else "The roles are " + ", ".join(ROLES) + "."
            message = f"{printable(token)!r} is no role of a message."
            self._report("role", message, (start, token_end), suggestion=nearby, hint=roles)
        return True

    def _report_second_blank(self, keyword: str, what: str, start: int) -> None:
        message = f"{keyword} takes one blank before its {what}."
        self._report("two-blanks", message, (start - 1, start + 1), hint="Remove the other blanks.")

    def _refuse_open_quote(self, quote: str, opening: int, line_end: int) -> None:
        early = self.text.find(quote, opening + len(quote), line_end)
        if early >= 0:
            message = f"There is text behind the closing {quote}, so the value never ends."
            hint = f"End the line behind {quote}, or leave out the quotes."
            self._report("open-quote", message, (early + len(quote), line_end), hint=hint)
        else:
            span = (opening, opening + len(quote))
            hint = f"Put {quote} at the end of the text; only blanks can follow it on its line."
            self._report("open-quote", f"The {quote} is never closed.", span, hint=hint)

    def _warn_runs_on(self, quote: str, early: int) -> None:
        message = f"This {quote} does not close the value, because text follows it; the value goes on below."
        hint = f"End the line behind {quote}, or leave out the quotes."
        span = (early, early + len(quote))
        self.warnings.append(self._problem("runs-on", message, span, suggestion=None, hint=hint))


def _is_visible(character: str) -> bool:
    return character.isprintable() and character != " "


def _quote(text: str) -> str:
    return next((quote for quote in ('"""', '"') if text.startswith(quote)), "")


_NO_FROM = Problem(
    rule="no-from",
    message="There is no FROM line.",
    line=1,
    column=1,
    span=(0, 0),
    hint="Name the model or file to start from, for example FROM qwen3:0.6b.",
)


def _is_about_from(problem: Problem) -> bool:
    return (problem.suggestion or "").startswith("FROM") or problem.message.startswith("FROM ")
