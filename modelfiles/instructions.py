"""The instructions of a Modelfile as written, and all keywords."""

from __future__ import annotations

from dataclasses import dataclass

from modelfiles.errors import Problem
from modelfiles.places import Place

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

PARAMETER_INSTRUCTIONS = {
    "model": "FROM",
    **{keyword.lower(): keyword for keyword in KEYWORDS if keyword not in ("FROM", "PARAMETER")},
}
"""The instructions that some names behind PARAMETER are to Ollama, which has both in one list."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction as written.

    `keyword` is upper case; `name` is PARAMETER's name (empty behind two blanks) or MESSAGE's role, else
    None; `value` is without its quotes. `line` and `column` (from 1) are where the keyword starts; name and
    value start on that line too. `span`, `name_span` and `value_span` are (start, end) offsets into the text,
    the last one with the quotes.
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
    def place(self) -> Place:
        return Place(self.span[0], self.line, self.column)

    @property
    def name_column(self) -> int:
        start = self.span[0] if self.name_span is None else self.name_span[0]
        return self.column + start - self.span[0]

    @property
    def value_column(self) -> int:
        return self.column + self.value_span[0] - self.span[0]

    @property
    def quote(self) -> str:
        """The quote on each side of the value: none, one or three characters."""
        return '"' * ((self.value_span[1] - self.value_span[0] - len(self.value)) // 2)


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
