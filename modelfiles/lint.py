"""What is odd in a Modelfile: accepted as Ollama accepts it, but hardly meant so.

Every rule is a function of one instruction that gives the warning or None; a rule's name is stable. Quotes
around a value silence the rules about how it is written. What it means is checked elsewhere: authoring.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from modelfiles.errors import Problem
from modelfiles.instructions import KEYWORDS, PARAMETER_INSTRUCTIONS, Instruction
from modelfiles.refusals import end_line_behind
from modelfiles.words import is_dropped_by_ollama, printable

_NAMES = frozenset(["FROM", "ADAPTER", "DRAFT", "REQUIRES", "RENDERER", "PARSER"])
_TEXTS = frozenset(["TEMPLATE", "SYSTEM", "MESSAGE", "LICENSE"])
_QUOTE_PAIRS = (
    ("'", "'"),
    ("\u2018", "\u2019"),
    ("\u201c", "\u201d"),
    ("\u201e", "\u201c"),
    ("\u00ab", "\u00bb"),
)
_PATH = re.compile(r"[./~\\]|[A-Za-z]:")
_FILE_ENDINGS = (".gguf", ".safetensors", ".bin")

_HASH = re.compile(r"[ \t]#")
_HASH_BEHIND_TEXT = re.compile(r"(?:[.!?;][ \t]|[ \t]{2}|\t)#[ \t]")
_ESCAPE = re.compile(r"\\[nrt](?=\Z|[A-Z0-9\\<\[#*-])")
_KEYWORD = rf"({'|'.join(KEYWORDS)})[ \t]"
_INSTRUCTION_INSIDE = {
    '"': re.compile(rf"[\r\n]{_KEYWORD}"),
    '"""': re.compile(rf'[\r\n]{_KEYWORD}[^\r\n"]*"""'),
}
_LINE_BREAK = re.compile(r"[\r\n]")


def oddities(instructions: Iterable[Instruction], text: str) -> Iterator[Problem]:
    """The warnings about `text`, from which the instructions were read, in their order."""
    rules = _RULES if _may_hold_dropped(text) else [rule for rule in _RULES if rule is not dropped_characters]
    carriage_returns_told = "\r" not in text
    for instruction in instructions:
        if not carriage_returns_told and "\r" in instruction.value:
            carriage_returns_told = True
            yield _carriage_returns(instruction)
        for rule in rules:
            warning = rule(instruction, text)
            if warning is not None:
                yield warning


def two_blanks(instruction: Instruction, text: str) -> Problem | None:
    """`PARAMETER  temperature 1`: the name stands behind exactly one blank, so this one is empty."""
    if instruction.keyword != "PARAMETER" or instruction.name or instruction.name_span is None:
        return None
    start = instruction.name_span[0]
    value = printable(instruction.value, limit=30)
    message = f"PARAMETER has two blanks behind it, so its name is empty and {value!r} is the value."
    return instruction.place.problem(
        "two-blanks", message, (start - 1, start + 1), hint="Remove the other blanks."
    )


def parameter_instruction(instruction: Instruction, text: str) -> Problem | None:
    """`PARAMETER system x`: Ollama keeps names and keywords in one list, so this is SYSTEM."""
    keyword = PARAMETER_INSTRUCTIONS.get(instruction.name or "")
    if instruction.keyword != "PARAMETER" or keyword is None or instruction.name_span is None:
        return None
    message = f"PARAMETER {instruction.name} is the instruction {keyword} to Ollama."
    span = (instruction.span[0], instruction.name_span[1])
    return instruction.place.problem(
        "parameter-instruction", message, span, hint=f"Write {keyword} in place of it."
    )


def empty_value(instruction: Instruction, text: str) -> Problem | None:
    """`FROM `, which means the Modelfile's folder to Ollama; `SYSTEM `, whose blank nobody sees."""
    keyword = instruction.keyword
    if instruction.value or keyword == "PARAMETER" or (instruction.quote and keyword != "FROM"):
        return None
    start = instruction.span[0]
    span = (start, max(start + len(keyword), instruction.value_span[1]))
    if keyword == "FROM":
        message = "FROM names nothing, which is the Modelfile's folder to Ollama."
        hint = "Name a model or a file; the folder is FROM . (a dot)."
        return instruction.place.problem("empty-from", message, span, hint=hint)
    head = keyword if instruction.name is None else f"{keyword} {instruction.name}"
    hint = f'Write {head} "" if that is meant; text over several lines goes between """.'
    return instruction.place.problem("empty-value", f"{head} has an empty value.", span, hint=hint)


def inline_comment(instruction: Instruction, text: str) -> Problem | None:
    """`FROM x # y`: the value is `x # y`.

    For names and parameters, any `#` behind a blank, unless the value itself starts with one, as stop
    sequences do. For text, where `#` is often meant, only a lone `#` behind the end of a sentence, behind
    two blanks or behind a tab.
    """
    if instruction.quote or instruction.value.startswith("#"):
        return None
    pattern = _HASH_BEHIND_TEXT if instruction.keyword in _TEXTS else _HASH
    found = pattern.search(instruction.value)
    if found is None:
        return None
    start = instruction.value_span[0] + instruction.value.index("#", found.start())
    return instruction.place.problem(
        "inline-comment",
        "There are no comments behind a value; this one is part of it.",
        (start, instruction.value_span[1]),
        hint="Put the comment on a line of its own, or the value between quotes if # belongs to it.",
    )


def from_blanks(instruction: Instruction, text: str) -> Problem | None:
    """`FROM foo bar`: one name with a blank in it, which no model has."""
    value = instruction.value
    if instruction.keyword != "FROM" or instruction.quote or not (" " in value or "\t" in value):
        return None
    if _PATH.match(value) or value.lower().endswith(_FILE_ENDINGS) or _HASH.search(value):
        return None
    return instruction.place.problem(
        "from-blanks",
        f"FROM takes {printable(value, limit=40)!r} for one name, and names have no blanks.",
        instruction.value_span,
        hint="Name the model alone; a path with blanks goes between quotes.",
    )


def other_quotes(instruction: Instruction, text: str) -> Problem | None:
    """`SYSTEM 'x'`: only `"` is a quote, so these are part of the value."""
    value = instruction.value
    if instruction.quote or len(value) < 2:
        return None
    for opening, closing in _QUOTE_PAIRS:
        if value.startswith(opening) and value.endswith(closing) and value.strip(opening + closing):
            return instruction.place.problem(
                "other-quotes",
                f"{opening}...{closing} are no quotes here but part of the value.",
                instruction.value_span,
                hint='Write " in place of them, or leave them out.',
            )
    return None


def late_quotes(instruction: Instruction, text: str) -> Problem | None:
    '''`SYSTEM You are """`: quotes open a text only where the value starts.'''
    value = instruction.value
    if instruction.quote or not value.endswith('"""') or value.count('"""') != 1:
        return None
    end = instruction.value_span[1]
    message = 'This """ opens nothing, because text stands before it on its line.'
    hint = 'Put """ before the text.'
    return instruction.place.problem("late-quotes", message, (end - 3, end), hint=hint)


def unequal_quotes(instruction: Instruction, text: str) -> Problem | None:
    '''`SYSTEM "x"""`: what opens with one quote closes with one, so two are part of the value.'''
    value = instruction.value
    if instruction.quote != '"' or not value.endswith('""'):
        return None
    end = instruction.value_span[1]
    message = 'This text opens with " and ends in """; two of those are part of it.'
    hint = "Write the same quotes on both sides."
    return instruction.place.further(text, end - 3).problem(
        "unequal-quotes", message, (end - 3, end), hint=hint
    )


def continuation(instruction: Instruction, text: str) -> Problem | None:
    r"""`SYSTEM You are \`: lines do not go on behind a backslash."""
    if instruction.quote or not instruction.value.endswith((" \\", "\t\\")):
        return None
    end = instruction.value_span[1]
    message = "A line does not go on behind a backslash; it is part of the value."
    hint = 'Text over several lines goes between """.'
    return instruction.place.problem("continuation", message, (end - 1, end), hint=hint)


def escape(instruction: Instruction, text: str) -> Problem | None:
    r"""`PARAMETER stop "\n"`: a backslash and an n.

    In stop sequences, SYSTEM and MESSAGE of one line, before what usually follows a line break: the end, a
    capital, a digit, another escape, a tag, a heading, a list.
    """
    keyword, value = instruction.keyword, instruction.value
    if keyword not in ("SYSTEM", "MESSAGE") and (keyword, instruction.name) != ("PARAMETER", "stop"):
        return None
    found = None if _LINE_BREAK.search(value) else _ESCAPE.search(value)
    if found is None:
        return None
    start = instruction.value_span[0] + len(instruction.quote) + found.start()
    message = f"{found[0]} is a backslash and a letter here; Modelfiles have no escapes."
    hint = 'Text over several lines goes between """.'
    return instruction.place.problem("escape", message, (start, start + 2), hint=hint)


def runs_on(instruction: Instruction, text: str) -> Problem | None:
    """`SYSTEM "x" y` and more lines up to one that ends in `"`: the first line does not close the value.

    Pairs of `"` within the first line are no alarm: `TEMPLATE "{{ "x" }}` and more lines.
    """
    quote, value = instruction.quote, instruction.value
    line_break = _LINE_BREAK.search(value) if quote else None
    early = value.find(quote, 0, line_break.start()) if line_break else -1
    if (
        line_break is None
        or early < 0
        or (quote == '"' and value.count(quote, 0, line_break.start()) % 2 == 0)
    ):
        return None
    start = instruction.value_span[0] + len(quote) + early
    message = f"This {quote} does not close the value, because text follows it; the value goes on below."
    hint = end_line_behind(quote, value[early + len(quote) : line_break.start()])
    return instruction.place.problem("runs-on", message, (start, start + len(quote)), hint=hint)


def swallowed_instruction(instruction: Instruction, text: str) -> Problem | None:
    """A quote that was left open and closes at the end of another instruction.

    Between `"`, a line that starts with a keyword; between triple quotes, one that has triple quotes, too.
    """
    found = _INSTRUCTION_INSIDE[instruction.quote].search(instruction.value) if instruction.quote else None
    if found is None or runs_on(instruction, text):
        return None
    quoted = instruction.value_span[0] + len(instruction.quote)
    span = (quoted + found.start(1), quoted + found.end(1))
    line = instruction.line
    message = f"This is part of the {instruction.keyword} text that a quote opens in line {line}."
    place = instruction.place.further(text, span[0])
    return place.problem(
        "swallowed-instruction", message, span, hint=f"Close the text of line {line} where it ends."
    )


def dropped_characters(instruction: Instruction, text: str) -> Problem | None:
    """Control characters, other blanks and joiners, which Ollama leaves out of values; here they stay."""
    value = instruction.value
    if not _may_hold_dropped(value):
        return None
    dropped = frozenset(filter(is_dropped_by_ollama, set(value)))
    if not dropped:
        return None
    first = next(at for at, character in enumerate(value) if character in dropped)
    count = sum(map(dropped.__contains__, value))
    start = instruction.value_span[0] + len(instruction.quote) + first
    others = {1: "", 2: " and another such character"}.get(count, f" and {count - 1} such characters more")
    return instruction.place.further(text, start).problem(
        "dropped-characters",
        f"Ollama drops {_named(value[first])}{others} from this value; here they stay.",
        (start, start + 1),
        hint="Remove what came by accident, for example from a web page; nothing else is to do.",
    )


def _carriage_returns(instruction: Instruction) -> Problem:
    """Once in a file: values that run over lines keep their CRs."""
    return instruction.place.problem(
        "carriage-returns",
        f"The lines of this {instruction.keyword} end in CR, and the model is given that.",
        instruction.span,
        hint="Save the file with LF line ends, as most models' templates have them.",
    )


def _may_hold_dropped(text: str) -> bool:
    """A quick look at many characters: no for most files."""
    return not text.translate({9: None, 10: None, 13: None}).isprintable()


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    return f"{code} ({name.lower()})" if name else code


_Rule = Callable[[Instruction, str], Problem | None]
_RULES: tuple[_Rule, ...] = (
    two_blanks,
    parameter_instruction,
    empty_value,
    inline_comment,
    from_blanks,
    other_quotes,
    late_quotes,
    unequal_quotes,
    continuation,
    escape,
    runs_on,
    swallowed_instruction,
    dropped_characters,
)
