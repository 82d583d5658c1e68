"""Every case of the reference's table of Modelfiles (reference/ollama.md, section 2.5), by its number.

Outcomes are written as they are there: `model` is FROM, a parameter goes by its name, a message is `role: text`.
Cases from 21 on stand behind `FROM foo`, which is left out of their outcome. A case is read in UTF-8 and in both
UTF-16, with all three line ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from modelfiles.authoring import from_text
from modelfiles.errors import ModelfileError
from modelfiles.format import format_modelfile
from modelfiles.spec import Message, ModelSpec
from modelfiles.syntax import Instruction, Modelfile, parse

NUMBERS = frozenset(
    {*range(1, 11), 12, 14, 15, *range(18, 26), 27, 28, *range(30, 43), 44, *range(46, 56), 58, 59, 62, 64}
    | set(range(66, 77))
)
ELSEWHERE = {
    72: "about create's request, and needs files",
    74: "about create's request, and needs files",
    76: "about create's request, and needs a home folder",
}

_PARAMETERS = (
    *("numa", "num_ctx", "num_batch", "num_gqa", "num_gpu", "main_gpu", "use_mmap", "num_thread", "num_keep"),
    *("seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "penalize_newline"),
)
_QUOTES = """''"'""'""'"'''''""'""'"""
_UTF16 = "FROM bob\nPARAMETER param1 1\nPARAMETER param2 4096\nSYSTEM You are a utf16 file."

ACCEPTED: list[tuple[int, str, list[str]]] = [
    (1, "FROM foo", ["model=foo"]),
    (2, "from foo", ["model=foo"]),
    (2, "FrOm foo", ["model=foo"]),
    (2, "  FROM foo", ["model=foo"]),
    (2, "\tFROM foo", ["model=foo"]),
    (2, "FROM\tfoo", ["model=foo"]),
    (3, 'FROM "FOO  BAR  "', ["model=FOO  BAR  "]),
    (4, "FROM     FOOO BAR    ", ["model=FOOO BAR"]),
    (5, "FROM /what/is/the path ", ["model=/what/is/the path"]),
    (6, "FROM llama3:7b-instruct-q4_K_M", ["model=llama3:7b-instruct-q4_K_M"]),
    (9, "PARAMETER param1 value1\nFROM foo", ["param1=value1", "model=foo"]),
    (10, "PARAMETER what the \nFROM lemons make lemonade ", ["what=the", "model=lemons make lemonade"]),
    (12, "FROM ", ["model="]),
    (12, "FROM \n", ["model="]),
    (14, "FROM foo # c", ["model=foo # c"]),
    (15, "# c\nFROM foo", ["model=foo"]),
    (15, "  # c\nFROM foo", ["model=foo"]),
    (15, "FROM foo\n#c", ["model=foo"]),
    (18, "FROM foo\nFROM bar", ["model=foo", "model=bar"]),
    (19, _UTF16, ["model=bob", "param1=1", "param2=4096", "system=You are a utf16 file."]),
    (20, "FROM test\n\tSYSTEM 你好👋", ["model=test", "system=你好👋"]),
    (24, "PARAMETER temperature \n", ["temperature="]),
    (27, "PARAMETER Temp 1", ["Temp=1"]),
    (28, "PARAMETER 1x 2", ["1x=2"]),
    (30, "PARAMETER stop ### User:", ["stop=### User:"]),
    (30, "PARAMETER stop ### User: ", ["stop=### User:"]),
    (31, 'PARAMETER stop "### User: "', ["stop=### User: "]),
    (32, 'PARAMETER stop """### User:\n"""', ["stop=### User:\n"]),
    (33, "PARAMETER stop <|eot_id|>", ["stop=<|eot_id|>"]),
    (33, "PARAMETER stop </s>", ["stop=</s>"]),
    (34, 'PARAMETER stop "a"\nPARAMETER stop b', ["stop=a", "stop=b"]),
    (35, "PARAMETER stop #x", ["stop=#x"]),
    *((36, f"PARAMETER {name} V", [f"{name}=V"]) for name in _PARAMETERS),
    (37, "MESSAGE system You are a bot. Be concise.", ["message=system: You are a bot. Be concise."]),
    (37, "MESSAGE system You are a bot. Be concise.\n", ["message=system: You are a bot. Be concise."]),
    (
        38,
        "MESSAGE system Be kind.\nMESSAGE user Hey there!\nMESSAGE assistant Hello: I want to parse!\n",
        [
            "message=system: Be kind.",
            "message=user: Hey there!",
            "message=assistant: Hello: I want to parse!",
        ],
    ),
    (39, 'MESSAGE system """\nYou are a bot.\n"""', ["message=system: \nYou are a bot.\n"]),
    (46, 'SYSTEM """\nThis is a\nmultiline system.\n"""', ["system=\nThis is a\nmultiline system.\n"]),
    (47, 'SYSTEM """This is a\nmultiline system."""', ["system=This is a\nmultiline system."]),
    (50, 'SYSTEM """\nWith "quotes".\n"""', ['system=\nWith "quotes".\n']),
    (51, 'SYSTEM """"""', ["system="]),
    (51, 'SYSTEM ""', ["system="]),
    (52, 'SYSTEM "\'"', ["system='"]),
    (53, f'SYSTEM """{_QUOTES}"""', [f"system={_QUOTES}"]),
    (54, 'TEMPLATE """\n{{ .Prompt }}\n"""', ["template=\n{{ .Prompt }}\n"]),
    (59, 'SYSTEM "line1\nline2"', ["system=line1\nline2"]),
    (62, "SYSTEM \n", ["system="]),
    (64, 'SYSTEM """a\tb\x07c\n"""', ["system=a\tb\x07c\n"]),  # Ollama drops the U+0007; here it stays
    (66, "LICENSE MIT\nLICENSE Apache", ["license=MIT", "license=Apache"]),
    (67, 'LICENSE "MIT       "', ["license=MIT       "]),
    (68, "ADAPTER      adapter3", ["adapter=adapter3"]),
    (69, "ADAPTER a\nADAPTER b", ["adapter=a", "adapter=b"]),  # create takes the last
    (70, "RENDERER renderer1", ["renderer=renderer1"]),
    (70, "PARSER parser1", ["parser=parser1"]),
    (70, "DRAFT ./assistant", ["draft=./assistant"]),
    (71, "REQUIRES 0.14.0", ["requires=0.14.0"]),
]

REFUSED: list[tuple[int, str, int, int, str]] = [  # line, column and rule are ours
    (7, "", 1, 1, "no-from"),
    (7, "\n\n", 1, 1, "no-from"),
    (7, "#only", 1, 1, "no-from"),
    (8, "PARAMETER param1 value1", 1, 1, "no-from"),
    (21, "\nBADCOMMAND param1 value1", 3, 1, "unknown-instruction"),
    (22, "RUN x", 2, 1, "unknown-instruction"),
    (23, "PARAMETER param1\n", 2, 11, "no-value"),
    (25, "PARAMETER top-p 1", 2, 11, "parameter-name"),
    (25, "PARAMETER top.p 1", 2, 11, "parameter-name"),
    (40, "\nMESSAGE badguy I'm", 3, 9, "role"),
    (41, "MESSAGE system\n", 2, 1, "no-value"),
    (41, "MESSAGE system", 2, 1, "no-value"),
    (42, "MESSAGE User hi", 2, 9, "role"),
    (42, "MESSAGE tool hi", 2, 9, "role"),
    (42, "MESSAGE  user hi", 2, 8, "two-blanks"),
    (44, "MESSAGE user: hi", 2, 9, "role"),
    (48, 'SYSTEM """This is a multiline system.""', 2, 8, "open-quote"),
    (49, 'SYSTEM "\nThis is a multiline system.', 2, 8, "open-quote"),
    (55, 'SYSTEM "a" b\n', 2, 11, "open-quote"),
    (55, 'SYSTEM """a""" b\n', 2, 15, "open-quote"),
    (58, 'SYSTEM """"', 2, 8, "open-quote"),
    (62, "SYSTEM", 2, 1, "no-value"),
    (62, "SYSTEM\n", 2, 1, "no-value"),
]

ROUND_TRIPS = [  # case 75: read, written and read again is the same
    'FROM foo\nPARAMETER stop "a "\nSYSTEM ""\n',
    'FROM foo\nLICENSE "a licence with "quotes" in it"\nMESSAGE user hi\n',
    'FROM foo\nTEMPLATE """\n{{ .System }}\n"{{ .Prompt }}"\n"""\nREQUIRES 0.14.0\nRENDERER a\nPARSER b\n',
    "FROM ./a model.gguf\nADAPTER ./b\nDRAFT c\nSYSTEM 你好👋\n",
]

CONVERSATION = """FROM test
PARAMETER temperature 0.5
PARAMETER top_k 1
SYSTEM You are a bot.
LICENSE license1
LICENSE license2
MESSAGE user Hello there!
MESSAGE assistant Hi! How are you?
"""


def forms(text: str) -> Iterator[tuple[str, str | bytes]]:
    """Each line end with `text` in it, as text and in the encodings."""
    for newline in ("\n", "\r\n", "\r"):
        ended = text.replace("\n", newline)
        yield newline, ended
        yield newline, ended.encode()
        yield newline, ended.encode("utf-8-sig")
        yield newline, b"\xff\xfe" + ended.encode("utf-16-le")
        yield newline, b"\xfe\xff" + ended.encode("utf-16-be")


def command(instruction: Instruction) -> str:
    """As the reference writes it."""
    match instruction.keyword:
        case "FROM":
            return f"model={instruction.value}"
        case "PARAMETER":
            return f"{instruction.name}={instruction.value}"
        case "MESSAGE":
            return f"message={instruction.name}: {instruction.value}"
        case keyword:
            return f"{keyword.lower()}={instruction.value}"


def test_no_case_is_missing() -> None:
    here = {*(number for number, *_ in ACCEPTED), *(number for number, *_ in REFUSED), 73, 75}
    assert here | set(ELSEWHERE) == NUMBERS
    assert not here & set(ELSEWHERE)


@pytest.mark.parametrize(("number", "text", "commands"), ACCEPTED)
def test_accepted(number: int, text: str, commands: list[str]) -> None:
    lead = "FROM foo\n" if number > 20 else ""
    for newline, source in forms(lead + text):
        read = [command(each) for each in parse(source).instructions]
        assert read == [each.replace("\n", newline) for each in (["model=foo"] if lead else []) + commands]


@pytest.mark.parametrize(("number", "text", "line", "column", "rule"), REFUSED)
def test_refused(number: int, text: str, line: int, column: int, rule: str) -> None:
    lead = "FROM foo\n" if number > 20 else ""
    for _, source in forms(lead + text):
        with pytest.raises(ModelfileError) as caught:
            parse(source)
        (problem,) = caught.value.problems
        assert (problem.line, problem.column, problem.rule) == (line, column, rule)
        assert problem.advice
        assert caught.value.message.startswith(f"Modelfile:{line}:{column}: ")
        assert caught.value.hint == problem.advice


def test_case_73_a_request_with_a_conversation() -> None:
    authored = from_text(CONVERSATION)
    assert authored.sources == ("test",)
    assert authored.spec == ModelSpec(
        parameters={"temperature": 0.5, "top_k": 1},
        system="You are a bot.",
        licenses=("license1", "license2"),
        messages=(
            Message(role="user", content="Hello there!"),
            Message(role="assistant", content="Hi! How are you?"),
        ),
    )
    assert [type(value) for value in authored.spec.parameters.values()] == [float, int]


@pytest.mark.parametrize("text", ROUND_TRIPS)
def test_case_75_a_round_trip(text: str) -> None:
    def commands(modelfile: Modelfile) -> list[str]:
        return list(itertools.starmap(command, ((each,) for each in modelfile.instructions)))

    assert commands(parse(format_modelfile(parse(text)))) == commands(parse(text))
