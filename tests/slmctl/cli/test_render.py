"""`slmctl render` prints what the model will see."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from modelfiles.template.syntax import syntax_of
from slmctl.app.ships import FOLDER
from tests.slmctl.cli.program import REPOSITORY, Program
from tools.hello.evaluate import client_for

FORMATS = sorted((REPOSITORY / "modelfiles" / "template" / "formats").iterdir())
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is GGUF?"},
    {"role": "assistant", "content": "A file format."},
    {"role": "user", "content": "Thanks!"},
]


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    path = tmp_path / "messages.json"
    path.write_text(json.dumps(CHAT))
    return path


def test_it_is_what_the_engine_makes_of_it(slmctl: Program, chat: Path) -> None:
    mine = slmctl("render", "hello", "--messages", str(chat)).out
    with (
        tempfile.TemporaryDirectory(prefix="slm") as folder,
        client_for(FOLDER / "hello" / "hello.gguf", Path(folder)) as client,
    ):
        assert client.apply_template(CHAT) == mine
    assert mine.endswith("<|im_start|>assistant\n")


def test_a_file_of_either_language(slmctl: Program, chat: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("{{ range .Messages }}[{{ .Role }}: {{ .Content }}]{{ end }}>")
    jinja = tmp_path / "jinja"
    jinja.write_text(
        "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    expected = "[system: Be brief.][user: What is GGUF?][assistant: A file format.][user: Thanks!]>"
    for file in (go, jinja):
        outcome = slmctl("render", "--template", str(file), "--messages", str(chat))
        assert (outcome.code, outcome.out) == (0, expected)
        document = slmctl("render", "--template", str(file), "--messages", str(chat), "--json").json
        assert (document["prompt"], document["syntax"]) == (expected, file.name)
    begun = slmctl("render", "--template", str(jinja), "--messages", str(chat), "--response", "You are")
    assert begun.out == expected + "You are"
    one = slmctl(
        "render",
        "--template",
        str(go),
        "--messages",
        "-",
        "--system",
        "S",
        stdin=b'[{"role":"user","content":"hi"}]',
    )
    assert one.out == "[system: S][user: hi]>"


def test_the_authors_system_and_messages_are_in_it(slmctl: Program, chat: Path) -> None:
    text = b"FROM hello\nSYSTEM Be kind.\nMESSAGE user Hi\nMESSAGE assistant Hello!\n"
    assert slmctl("create", "mine", "-f", "-", stdin=text).code == 0
    out = slmctl("render", "mine", "--messages", "-", stdin=b'[{"role": "user", "content": "x"}]').out
    assert out.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (("hello", "--messages", "-"), b"[1]", "no JSON list of objects"),
        (("hello", "--messages", "-"), b"[", "not valid JSON"),
        (("hello", "--messages", "-"), b"[{}]", "has no role"),
        (("--messages", "-"), b"[]", "takes a model's name, or --template"),
        (("--template", "/dev/null", "--messages", "-"), b"[]", "nothing of Go's or Jinja's"),
    ],
)
def test_bad_input_is_a_sentence(
    slmctl: Program, arguments: tuple[str, ...], stdin: bytes, said: str
) -> None:
    outcome = slmctl("render", *arguments, stdin=stdin)
    assert outcome.code == 2
    assert said in outcome.err


def test_a_missing_file_is_called_a_file(slmctl: Program) -> None:
    outcome = slmctl("render", "hello", "--messages", "nosuch.json")
    assert (outcome.code, "There is no file 'nosuch.json'" in outcome.err) == (3, True)


def test_a_model_without_a_template_says_so(slmctl: Program, tiny_model: Path, chat: Path) -> None:
    assert slmctl("create", "tiny", "--from", str(tiny_model)).code == 0
    outcome = slmctl("render", "tiny", "--messages", str(chat))
    assert outcome.code == 3
    assert "has no chat template" in outcome.err


@pytest.mark.parametrize("path", FORMATS, ids=lambda path: path.name)
def test_the_language_of_a_template_is_seen(path: Path) -> None:
    assert syntax_of(path.read_text()) == ("jinja" if path.suffix == ".jinja" else "go")


def test_plain_text_is_neither() -> None:
    assert syntax_of("Once upon a time") is None
    assert syntax_of("{{ bos_token }}{{ messages[0].content }}") == "jinja"
    assert syntax_of("{{ .Prompt }}") == "go"
