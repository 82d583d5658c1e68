"""Modelfiles that a reader could take too long for: each is a beginning, a piece that is repeated, and an end."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    piece: str
    before: str = "FROM x\n"
    after: str = ""

    def text(self, size: int) -> str:
        """About `size` characters."""
        return self.before + self.piece * (size // len(self.piece)) + self.after


SHAPES = (
    Shape("instructions", "PARAMETER stop abc\n"),
    Shape("smallest instructions", "DRAFT \n"),
    Shape("indented instructions", "  \t message\tuser  hi  \r\n"),
    Shape("quoted instructions", 'SYSTEM """a\n"b"\n"""\n'),
    Shape("one value in a line", "word ", before="FROM x\nSYSTEM "),
    Shape("one value over lines", "a line of text\n", before='FROM x\nSYSTEM """', after='"""'),
    Shape("one value of blanks", " ", before="FROM x\nSYSTEM ", after="x"),
    Shape("one value of emoji", "\U0001f469\u200d\U0001f467", before="FROM x\nSYSTEM "),
    Shape("one value of joiners", "\u200d", before="FROM x\nSYSTEM "),
    Shape("one value of many characters", "".join(map(chr, range(0xE000, 0xF8FF))), before="FROM x\nSYSTEM "),
    Shape("one keyword", "x"),
    Shape("one role", "x", before="FROM x\nMESSAGE "),
    Shape("one parameter name", "x-", before="FROM x\nPARAMETER "),
    Shape("comments", "# comment\n"),
    Shape("comments with blank lines", "#\n\n \t\n"),
    Shape("blank lines", "\r\n"),
    Shape("carriage returns", "\r"),
    Shape("blanks", " "),
    Shape("errors", "1\n"),
    Shape("prose", "all work and no play makes a dull boy\n"),
    Shape("warnings", "SYSTEM 'x'\n"),
    Shape("inline comments", "ADAPTER x # y\n"),
    Shape("dropped characters", "SYSTEM a\u00a0b\n"),
    Shape("hashes", "#", before="FROM x\nSYSTEM a "),
    Shape("blanks and hashes", " #", before="FROM x\nSYSTEM a"),
    Shape("escapes", "\\na ", before="FROM x\nSYSTEM "),
    Shape("late quotes", 'SYSTEM x """\n'),
    Shape("values that run on", 'SYSTEM "a" b\n'),
    Shape("triple quotes that run on", 'SYSTEM """a" b\nLICENSE "x" y\n'),
    Shape("quotes that never close", 'SYSTEM "a\n', after="x"),
    Shape("quotes that close behind text", 'SYSTEM "a" b\nSYSTEM """a""" b\n', after="x"),
    Shape("triple quotes inside lines", 'x """ y\n', before='FROM x\nLICENSE """'),
    Shape("triple quotes and a line's end", 'x """ y\n', before='FROM x\nLICENSE """', after='"""'),
    Shape("refused triple quotes", 'SYSTM """ a\n"""\n'),
    Shape("quotes", '"', before='FROM x\nSYSTEM "', after="x"),
    Shape("quotes and blanks", '"   ', before='FROM x\nSYSTEM "', after="x"),
    Shape("quotes behind joiners", '"\u200d', before='FROM x\nSYSTEM "', after="x"),
    Shape("instructions inside a text", 'PARAMETER stop "x" y\n', before='FROM x\nSYSTEM "\n', after='"'),
    Shape("keywords inside a text", "SYSTEM x\n", before='FROM x\nSYSTEM """\n', after='"""'),
    Shape("keyword lines of quotes", 'SYSTEM " ', before='FROM x\nSYSTEM """\n', after='"""'),
    Shape("modctl", "NAME x\n", before=""),
    Shape("zero bytes", "\0", before=""),
)
