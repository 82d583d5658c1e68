"""Modelfile text to instructions: Ollama's cases, all errors at once, and the places they name."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfiles.errors import ModelfileError, render
from modelfiles.syntax import KEYWORDS, Comment, parse, scan
from modelfiles.words import nearest, printable
from tests.modelfiles import state_machine

_UTF16 = "FROM bob\nPARAMETER param1 1\nPARAMETER param2 4096\nSYSTEM You are a utf16 file."
_UTF16_COMMANDS = [
    ("FROM", None, "bob"),
    ("PARAMETER", "param1", "1"),
    ("PARAMETER", "param2", "4096"),
    ("SYSTEM", None, "You are a utf16 file."),
]
_BOT = "You are a bot. Be concise."
_QUOTES = """''"'""'""'"'''''""'""'"""


def _commands(text: str | bytes) -> list[tuple[str, str | None, str]]:
    return [(node.keyword, node.name, node.value) for node in parse(text).instructions]


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("FROM foo", "foo"),
        ("from foo", "foo"),
        ("FrOm foo", "foo"),
        ("  FROM foo", "foo"),
        ("\tFROM foo", "foo"),
        ("FROM\tfoo", "foo"),
        ('FROM "FOO  BAR  "', "FOO  BAR  "),
        ("FROM     FOOO BAR    ", "FOOO BAR"),
        ("FROM /what/is/the path ", "/what/is/the path"),
        ("FROM llama3:7b-instruct-q4_K_M", "llama3:7b-instruct-q4_K_M"),
        ("FROM ", ""),
        ("FROM \n", ""),
        ("FROM foo # c", "foo # c"),
        ("# c\nFROM foo", "foo"),
        ("  # c\nFROM foo", "foo"),
        ("FROM foo\n#c", "foo"),
        ("\ufeffFROM foo", "foo"),
        ("FROM foo\r\n", "foo"),
        ("FROM foo\r", "foo"),
    ],
)
def test_from(text: str, model: str) -> None:
    assert _commands(text) == [("FROM", None, model)]
    assert _commands(text.encode()) == [("FROM", None, model)]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("PARAMETER param1 value1\nFROM foo", [("PARAMETER", "param1", "value1"), ("FROM", None, "foo")]),
        (
            "PARAMETER what the \nFROM lemons make lemonade ",
            [("PARAMETER", "what", "the"), ("FROM", None, "lemons make lemonade")],
        ),
        ("FROM foo\nFROM bar", [("FROM", None, "foo"), ("FROM", None, "bar")]),
        ("FROM test\n\tSYSTEM 你好👋", [("FROM", None, "test"), ("SYSTEM", None, "你好👋")]),
        (_UTF16, _UTF16_COMMANDS),
    ],
)
def test_whole_files_in_every_encoding(text: str, commands: list[tuple[str, str | None, str]]) -> None:
    assert _commands(text) == commands
    assert _commands(text.encode("utf-8-sig")) == commands
    assert _commands(b"\xff\xfe" + text.encode("utf-16-le")) == commands
    assert _commands(b"\xfe\xff" + text.encode("utf-16-be")) == commands
    assert _commands(text.replace("\n", "\r\n")) == commands
    assert _commands(text.replace("\n", "\r")) == commands


_PARAMETERS = (
    *("numa", "num_ctx", "num_batch", "num_gqa", "num_gpu", "main_gpu", "use_mmap", "num_thread", "num_keep"),
    *("seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "penalize_newline"),
)
_PERSIAN = "\N{ARABIC LETTER MEEM}\N{ARABIC LETTER FARSI YEH}\u200c\N{ARABIC LETTER REH}"


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("PARAMETER temperature \n", [("PARAMETER", "temperature", "")]),
        ("PARAMETER Temp 1", [("PARAMETER", "Temp", "1")]),
        ("PARAMETER 1x 2", [("PARAMETER", "1x", "2")]),
        ("PARAMETER stop ### User:", [("PARAMETER", "stop", "### User:")]),
        ("PARAMETER stop ### User: ", [("PARAMETER", "stop", "### User:")]),
        ('PARAMETER stop "### User: "', [("PARAMETER", "stop", "### User: ")]),
        ('PARAMETER stop """### User:\n"""', [("PARAMETER", "stop", "### User:\n")]),
        ("PARAMETER stop <|eot_id|>", [("PARAMETER", "stop", "<|eot_id|>")]),
        ("PARAMETER stop </s>", [("PARAMETER", "stop", "</s>")]),
        ('PARAMETER stop "a"\nPARAMETER stop b', [("PARAMETER", "stop", "a"), ("PARAMETER", "stop", "b")]),
        ("PARAMETER stop #x", [("PARAMETER", "stop", "#x")]),
        *((f"PARAMETER {name} V", [("PARAMETER", name, "V")]) for name in _PARAMETERS),
        (f"MESSAGE system {_BOT}", [("MESSAGE", "system", _BOT)]),
        (f"MESSAGE system {_BOT}\n", [("MESSAGE", "system", _BOT)]),
        (
            f"MESSAGE system {_BOT}\nMESSAGE user Hey there!\nMESSAGE assistant Hello: I want to parse!\n",
            [
                ("MESSAGE", "system", _BOT),
                ("MESSAGE", "user", "Hey there!"),
                ("MESSAGE", "assistant", "Hello: I want to parse!"),
            ],
        ),
        (f'MESSAGE system """\n{_BOT}\n"""', [("MESSAGE", "system", f"\n{_BOT}\n")]),
        (
            'SYSTEM """\nThis is a\nmultiline system.\n"""',
            [("SYSTEM", None, "\nThis is a\nmultiline system.\n")],
        ),
        ('SYSTEM """This is a\nmultiline system."""', [("SYSTEM", None, "This is a\nmultiline system.")]),
        ('SYSTEM """\nWith "quotes".\n"""', [("SYSTEM", None, '\nWith "quotes".\n')]),
        ('SYSTEM """"""', [("SYSTEM", None, "")]),
        ('SYSTEM ""', [("SYSTEM", None, "")]),
        ("SYSTEM \n", [("SYSTEM", None, "")]),
        ("""SYSTEM "'\"""", [("SYSTEM", None, "'")]),
        (f'SYSTEM """{_QUOTES}"""', [("SYSTEM", None, _QUOTES)]),
        ('SYSTEM "line1\nline2"', [("SYSTEM", None, "line1\nline2")]),
        ('SYSTEM "line1\r\nline2"\r\n', [("SYSTEM", None, "line1\r\nline2")]),
        ('SYSTEM "a" \t\nFROM b', [("SYSTEM", None, "a"), ("FROM", None, "b")]),
        ('TEMPLATE """\n{{ .Prompt }}\n"""', [("TEMPLATE", None, "\n{{ .Prompt }}\n")]),
        ("LICENSE MIT\nLICENSE Apache", [("LICENSE", None, "MIT"), ("LICENSE", None, "Apache")]),
        ('LICENSE "MIT       "', [("LICENSE", None, "MIT       ")]),
        ("ADAPTER      adapter3", [("ADAPTER", None, "adapter3")]),
        ("ADAPTER a\nADAPTER b", [("ADAPTER", None, "a"), ("ADAPTER", None, "b")]),
        ("RENDERER renderer1", [("RENDERER", None, "renderer1")]),
        ("PARSER parser1", [("PARSER", None, "parser1")]),
        ("DRAFT ./assistant", [("DRAFT", None, "./assistant")]),
        ("REQUIRES 0.14.0", [("REQUIRES", None, "0.14.0")]),
        # Kept here, dropped by Ollama: control characters and what Go does not call printable.
        ('SYSTEM """a\tb\x07c\n"""', [("SYSTEM", None, "a\tb\x07c\n")]),
        (f"SYSTEM 👩\u200d👧 a\u00a0b {_PERSIAN}", [("SYSTEM", None, f"👩\u200d👧 a\u00a0b {_PERSIAN}")]),
        # Outside of the quotes they are ignored, so that what Ollama accepts is accepted.
        ('SYSTEM \u200b"a"\u200b\u00a0\n', [("SYSTEM", None, "a")]),
        ('SYSTEM """a"""\u200b\nLICENSE b', [("SYSTEM", None, "a"), ("LICENSE", None, "b")]),
    ],
)
def test_accepted_behind_from(text: str, commands: list[tuple[str, str | None, str]]) -> None:
    assert _commands("FROM foo\n" + text) == [("FROM", None, "foo"), *commands]


@pytest.mark.parametrize(
    ("text", "line", "column", "rule", "suggestion"),
    [
        ("BADCOMMAND param1 value1", 2, 1, "unknown-instruction", None),
        ("\nBADCOMMAND param1 value1", 3, 1, "unknown-instruction", None),
        ("RUN x", 2, 1, "unknown-instruction", None),
        ("SYSTM x", 2, 1, "unknown-instruction", "SYSTEM"),
        ("  paramter x 1", 2, 3, "unknown-instruction", "PARAMETER"),
        ("// c", 2, 1, "no-instruction", None),
        ("FROM: x", 2, 1, "no-blank", None),
        ('SYSTEM"x"', 2, 1, "no-blank", None),
        ("PARAMETER param1\n", 2, 11, "no-value", None),
        ("PARAMETER param1", 2, 11, "no-value", None),
        ("PARAMETER ", 2, 1, "no-value", None),
        ("PARAMETER top-p 1", 2, 11, "parameter-name", "top_p"),
        ("PARAMETER top.p 1", 2, 11, "parameter-name", "top_p"),
        ("MESSAGE badguy I'm", 2, 9, "role", None),
        ("MESSAGE system\n", 2, 1, "no-value", None),
        ("MESSAGE system", 2, 1, "no-value", None),
        ("MESSAGE ", 2, 1, "no-value", None),
        ("MESSAGE User hi", 2, 9, "role", "user"),
        ("MESSAGE tool hi", 2, 9, "role", None),
        ("MESSAGE  user hi", 2, 8, "two-blanks", None),
        ("MESSAGE user: hi", 2, 9, "role", "user"),
        ('SYSTEM """This is a multiline system.""', 2, 8, "open-quote", None),
        ('SYSTEM "\nThis is a multiline system.', 2, 8, "open-quote", None),
        ('SYSTEM "a" b\n', 2, 11, "open-quote", None),
        ('SYSTEM """a""" b\n', 2, 15, "open-quote", None),
        ('SYSTEM """"', 2, 8, "open-quote", None),
        ('SYSTEM "', 2, 8, "open-quote", None),
        ("SYSTEM", 2, 1, "no-value", None),
        ("SYSTEM\n", 2, 1, "no-value", None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_refused_behind_from(
    text: str, line: int, column: int, rule: str, suggestion: str | None, newline: str
) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(("FROM foo\n" + text).replace("\n", newline))
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.rule) == (line, column, rule)
    assert problem.suggestion == suggestion
    assert problem.advice
    assert caught.value.message.startswith(f"Modelfile:{line}:{column}: ")
    assert caught.value.hint == problem.advice


@pytest.mark.parametrize("text", ["", "\n\n", "#only", "PARAMETER param1 value1"])
def test_a_file_without_from_is_refused(text: str) -> None:
    with pytest.raises(ModelfileError, match="There is no FROM line") as caught:
        parse(text)
    assert [problem.rule for problem in caught.value.problems] == ["no-from"]


def test_a_misspelt_from_is_one_problem() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("FORM foo")
    assert [(problem.rule, problem.suggestion) for problem in caught.value.problems] == [
        ("unknown-instruction", "FROM")
    ]


_FIVE_PROBLEMS = '''FROM foo
SYSTM """
FROM this is text
"""
PARAMETER top-p 0.9
\tMESSAGE User 你好
TEMPLATE """never
closed
PARAMETER stop
'''


def test_all_problems_come_at_once_and_show_their_places() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse(_FIVE_PROBLEMS, filename="models/Modelfile")
    error = caught.value
    assert error.message == "models/Modelfile:2:1: There is no instruction SYSTM (and 4 more problems)."
    assert error.hint == "Did you mean SYSTEM?"
    assert error.code == "modelfile"
    assert error.render() == (
        "models/Modelfile:2:1: There is no instruction SYSTM.\n"
        '  2 | SYSTM """\n'
        "    | ~~~~^\n"
        "    = Did you mean SYSTEM?\n"
        "models/Modelfile:5:11: 'top-p' is no parameter name; those are letters, digits and underscores.\n"
        "  5 | PARAMETER top-p 0.9\n"
        "    |           ~~~~^\n"
        "    = Did you mean top_p?\n"
        "models/Modelfile:6:10: 'User' is no role of a message.\n"
        "  6 |  MESSAGE User 你好\n"
        "    |          ~~~^\n"
        "    = Did you mean user?\n"
        'models/Modelfile:7:10: The """ is never closed.\n'
        '  7 | TEMPLATE """never\n'
        "    |          ~~^\n"
        '    = Put """ at the end of the text; only blanks can follow it on its line.\n'
        "models/Modelfile:9:11: PARAMETER stop has no value.\n"
        "  9 | PARAMETER stop\n"
        "    |           ~~~^\n"
        "    = Write the value behind the name, on the same line."
    )


def test_the_marker_stands_under_wide_and_strange_characters() -> None:
    _, (problem,) = scan("FROM 你好\nMESSAGE 你\x1b好e\u0301 x")
    shown = render(problem, filename="M", text="FROM 你好\nMESSAGE 你\x1b好e\u0301 x").split("\n")
    assert shown[1] == "  2 | MESSAGE 你\N{REPLACEMENT CHARACTER}好e\u0301 x"
    assert shown[2] == "    |         " + "~" * 5 + "^"


def test_a_long_line_is_shown_in_part() -> None:
    text = "FROM x\nMESSAGE " + "y" * 5000
    _, problems = scan(text)
    shown = render(problems[0], filename="M", text=text)
    assert max(map(len, shown.split("\n"))) < 160


def test_the_message_is_one_printable_line_whatever_the_file_is_called() -> None:
    with pytest.raises(ModelfileError) as caught:
        parse("\x1b\u2028x y\n\x00", filename="a\nb\x1b[2J")
    assert caught.value.message.isprintable()
    assert all(line.isprintable() for line in caught.value.render().split("\n"))


def test_reading_stops_after_a_hundred_problems() -> None:
    _, problems = scan("FROM x\n" + "1\n" * 1000)
    assert len(problems) == 100


def test_comments_and_places_are_kept() -> None:
    text = '# one\n\n  # two\nFROM foo\n  PARAMETER stop  "a\nb" \n# three'
    nodes = parse(text).nodes
    assert [node.line for node in nodes] == [1, 4, 5, 7]
    assert [node.text for node in nodes if isinstance(node, Comment)] == ["# one\n\n  # two", "# three"]
    stop = parse(text).instructions[1]
    assert (stop.column, stop.name_column, stop.value_column) == (3, 13, 19)
    assert text[slice(*stop.span)] == 'PARAMETER stop  "a\nb"'
    assert text[slice(*(stop.name_span or (0, 0)))] == "stop"
    assert text[slice(*stop.value_span)] == '"a\nb"'


def test_a_value_that_runs_over_its_closing_quote_is_warned_about() -> None:
    modelfile = parse('FROM x\nSYSTEM "a" b\nPARAMETER stop "c"')
    assert [node.value for node in modelfile.instructions] == ["x", 'a" b\nPARAMETER stop "c']
    assert [(warning.rule, warning.line, warning.column) for warning in modelfile.warnings] == [
        ("runs-on", 2, 10)
    ]


@pytest.mark.parametrize(
    ("source", "column"),
    [
        (b"FROM x\nSYSTEM caf\xe9\n", 11),
        (b"\xef\xbb\xbfFROM x\nSYSTEM caf\xe9\n", 11),
        ("FROM x\nSYSTEM caf\udce9\n", 11),
        (b"\xff\xfe" + "FROM x\nSYSTEM caf".encode("utf-16-le") + b"\x00", 11),
    ],
)
def test_bytes_that_are_no_text_are_replaced_and_warned_about(source: str | bytes, column: int) -> None:
    modelfile = parse(source)
    assert modelfile.instructions[1].value == "caf\N{REPLACEMENT CHARACTER}"
    (warning,) = modelfile.warnings
    assert (warning.rule, warning.line, warning.column) == ("encoding", 2, column)


def test_nearest() -> None:
    assert nearest("LICENCE", KEYWORDS) == "LICENSE"
    assert nearest("TEMP", KEYWORDS) == "TEMPLATE"
    assert nearest("xyz", KEYWORDS) is None


def test_printable_cuts() -> None:
    assert printable("a" * 61) == "a" * 57 + "..."
    assert printable("a\nb\x1b") == "a b\N{REPLACEMENT CHARACTER}"


_fragments = st.sampled_from(
    [
        *KEYWORDS,
        "from",
        "system",
        "user",
        "stop",
        "x",
        "_",
        "-",
        " ",
        " ",
        "\t",
        "\n",
        "\n",
        "\r",
        '"',
        '"""',
        "#",
    ]
)
_texts = st.lists(_fragments, max_size=40).map("".join)


@given(st.one_of(st.text(), st.binary(), _texts))
def test_nothing_but_a_modelfile_error_is_raised(source: str | bytes) -> None:
    modelfile, problems = scan(source)
    if not problems:
        assert parse(source) == modelfile
        return
    with pytest.raises(ModelfileError) as caught:
        parse(source)
    assert caught.value.message.isprintable()
    joiners = str.maketrans("", "", "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")
    assert all(line.translate(joiners).isprintable() for line in caught.value.render().split("\n"))


@given(st.one_of(_texts, _texts.map("FROM m\n".__add__)))
def test_it_reads_what_the_state_machine_reads(text: str) -> None:
    try:
        expected = state_machine.read(text)
    except state_machine.Refused:
        with pytest.raises(ModelfileError):
            parse(text)
    else:
        assert _commands(text) == expected


@given(_texts)
def test_places_agree_with_the_text(text: str) -> None:
    modelfile, problems = scan(text)
    unified = text.replace("\r\n", " \n").replace("\r", "\n")
    lines = unified.split("\n")
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    for place in (*modelfile.nodes, *problems, *modelfile.warnings):
        assert starts[place.line - 1] + place.column - 1 == place.span[0]


def _seconds(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        scan(text)
        best = min(best, time.process_time() - start)
    return best


@pytest.mark.parametrize(
    "line",
    [
        "PARAMETER stop abc\n",
        '""" text of a licence " with quotes """ x\n',
        'SYSTEM "a" b\n',
        'SYSTEM """a" b\nLICENSE "x" y\n',
        "# comment\n",
        "\r\n",
        "\r",
        '"',
        '"   ',
    ],
)
def test_time_is_linear(line: str) -> None:
    def text(size: int) -> str:
        return 'FROM x\nLICENSE """\n' * (line[0] == '"') + line * (size // len(line))

    small, large = _seconds(text(100_000)), _seconds(text(1_000_000))
    assert large < 40 * small + 0.05  # ten times the text; quadratic would be a hundred times


def test_modctls_grammar_is_named_once() -> None:
    text = "# model\nNAME gemma\nARCH transformer\nCONFIG config.json\nMODEL *.safetensors\n"
    with pytest.raises(ModelfileError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert (problem.rule, problem.line, problem.column) == ("modctl", 2, 1)
    assert "modctl" in str(caught.value)
    with pytest.raises(ModelfileError) as caught:  # a slip in a file of ours stays one
        parse("FROM x\nNAME gemma\n")
    assert [problem.rule for problem in caught.value.problems] == ["unknown-instruction"]
