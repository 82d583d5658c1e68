"""A chat template in a model's file is a program of a stranger, which the engine runs: it ends in a sentence."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from tests.gguf_copies import write_copy
from tests.processes import until
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.terminal.driver import Terminal, plain

MEMORY_BYTES = 64 * 2**20
DEADLINE_SECONDS = 10.0  # ten times the second that it takes

TAKES = (  # which of them comes first is up to the machine
    "The model's chat template (?:computes for more than 0.4 seconds|needs more memory than it may have"
    "|is not done after 5 seconds|writes more than 4 MiB)."
)
CRASHES = "The model's chat template brought the engine down."
UNREADABLE = "llama.cpp cannot read the model's chat template: "

LOOPS = "{% for a in range(100000) %}{% for b in range(100000) %}BODY{% endfor %}{% endfor %}"
DOUBLING = "{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}"
RECURSION = "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"
BRANCHING = "{% macro f(x) %}{% if x < 60 %}{{ f(x + 1) }}{{ f(x + 1) }}{% endif %}{% endmacro %}{{ f(1) }}"
EIGHT_MIB = "{% for a in range(8) %}{% for b in range(1000) %}" + "a" * 1000 + "{% endfor %}{% endfor %}"
SPEAK = "{% for m in messages %}{{ m.content }}{% endfor %}"


@dataclasses.dataclass(frozen=True)
class Case:
    """`says` is how the error begins."""

    name: str
    template: str
    code: int
    says: str


AT_ONCE = [
    Case("endless-loops", LOOPS.replace("BODY", ""), 5, TAKES),
    Case("gigabyte", LOOPS.replace("BODY", "a" * 1000), 5, TAKES),
    Case("branching-recursion", BRANCHING, 5, TAKES),
    Case("recursion", RECURSION, 5, CRASHES),
    Case("long-string", "{{ ('a' * 3000000000) | length }}", 5, f"{TAKES}|{CRASHES}"),
    Case("doubling", DOUBLING, 5, TAKES),
    Case("long-range", "{% for i in range(1000000000000) %}x{% endfor %}", 5, TAKES),
    Case("open-parentheses", "{{ " + "(" * 100_000, 5, CRASHES),
    Case("changed-message", "{{ messages.append(messages) }}", 5, f"{CRASHES}|{TAKES}"),
    Case("attribute-escape", "{{ cycler.__init__.__globals__.os.popen('id').read() }}", 4, UNREADABLE),
    Case("power", "{{ 9**(9**7) }}", 4, UNREADABLE),
    Case("mistake", "{% if %}", 4, UNREADABLE),
    Case("unclosed", "{{ messages ", 4, UNREADABLE),
    Case("refuses-all", "{{ raise_exception('never') }}", 4, UNREADABLE + "never"),
    Case("file", "{% include '/etc/passwd' %}", 4, UNREADABLE),
]
WITH_A_QUESTION = [
    Case("endless-loops", LOOPS.replace("BODY", ""), 5, TAKES),
    Case("gigabyte", LOOPS.replace("BODY", "a" * 1000), 5, TAKES),
    Case("eight-mebibytes", EIGHT_MIB, 5, TAKES),
    Case("recursion", RECURSION, 5, CRASHES),
    Case("doubling", DOUBLING, 5, TAKES),
    Case("refuses", "{{ raise_exception('not this one') }}", 1, "The model's chat template refuses this conversation: not this one."),
    Case("undefined", "{{ nothing.at.all() }}", 1, "The model's chat template fails for this conversation: Callee"),
    Case("unknown-filter", "{{ [1] | map('bold') | list }}", 1, "The model's chat template fails for this conversation: "),
]  # fmt: skip


def when_asked_for_harm(template: str) -> str:
    return "{% if messages[-1].content == 'harm' %}" + template + "{% endif %}" + SPEAK


def make(slmctl: Program, folder: Path, template: str) -> None:
    write_copy(folder / "m.gguf", chat_template=template)
    assert slmctl("create", "m", "--from", str(folder / "m.gguf")).code == 0


def ask(slmctl: Program, case: Case, *arguments: str) -> None:
    """Ask m something harmful: what is said, what slmctl itself takes for it, and how long."""
    process = slmctl.start("run", "m", *arguments, "harm")
    held = 0

    def ended() -> bool | None:
        nonlocal held
        if sys.platform == "linux":
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            held = max(held, int(found[1]) * 1024 if found else 0)
        return True if process.poll() is not None else None

    until(ended, deadline_seconds=DEADLINE_SECONDS)
    out, err = process.communicate()
    assert (process.returncode, out) == (case.code, b"")
    sentence, hint = err.decode().splitlines()
    assert re.match(f"slmctl: (?:{case.says})", sentence)
    assert sentence.isprintable()
    assert sentence.endswith(".")
    assert hint.strip()
    assert held < MEMORY_BYTES


@pytest.mark.parametrize("case", AT_ONCE, ids=lambda case: case.name)
def test_when_the_engine_looks_at_it(slmctl: Program, tmp_path: Path, case: Case) -> None:
    make(slmctl, tmp_path, case.template)
    ask(slmctl, case)


@pytest.mark.parametrize("case", WITH_A_QUESTION, ids=lambda case: case.name)
def test_with_the_question_that_it_waits_for(slmctl: Program, tmp_path: Path, case: Case) -> None:
    make(slmctl, tmp_path, when_asked_for_harm(case.template))
    assert slmctl("run", "m", "--max-tokens", "1", "hi").code == 0
    ask(slmctl, case)


@pytest.mark.parametrize("case", [AT_ONCE[0], AT_ONCE[3]], ids=lambda case: case.name)
def test_when_it_was_to_stay_loaded(slmctl: Program, tmp_path: Path, case: Case) -> None:
    make(slmctl, tmp_path, case.template)
    ask(slmctl, case, "--keep", "5m")
    assert slmctl("ps", "--json").json["models"] == []


@pytest.mark.parametrize("case", WITH_A_QUESTION[:5], ids=lambda case: case.name)
def test_when_it_stayed_loaded(slmctl: Program, tmp_path: Path, case: Case) -> None:
    make(slmctl, tmp_path, when_asked_for_harm(case.template))
    assert slmctl("run", "m", "--keep", "5m", "--max-tokens", "1", "hi").code == 0
    ask(slmctl, case)
    assert until(lambda: slmctl("ps", "--json").json["models"] == [] or None)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.filterwarnings("ignore:.*use of forkpty:DeprecationWarning")
def test_a_conversation_goes_on_with_another_worker(slmctl: Program, tmp_path: Path) -> None:
    make(slmctl, tmp_path, when_asked_for_harm(RECURSION))
    with Terminal(slmctl, "m", "--max-tokens", "3") as terminal:
        assert "slmctl: " not in terminal.ask("hi")
        first = terminal.worker
        assert CRASHES in plain(terminal.ask("harm"))
        assert "slmctl: " not in terminal.ask("hi")
        assert terminal.worker != first
        assert terminal.leave() == 0


def test_an_authors_template_takes_its_place(slmctl: Program, tmp_path: Path) -> None:
    make(slmctl, tmp_path, RECURSION)
    template = "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
    text = f'FROM m\nPARAMETER temperature 0\nTEMPLATE """{template}"""\n'
    assert slmctl("create", "mended", "-f", "-", stdin=text.encode()).code == 0
    mended = slmctl("run", "mended", "What is GGUF?")
    assert (mended.code, mended.out) == (0, slmctl("run", "hello", "What is GGUF?").out)
