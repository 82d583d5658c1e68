"""Templates of strangers are rendered in a child process: what comes back, and what the caller is spared."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from modelfiles.template.errors import TemplateError
from modelfiles.template.jinja import render
from registry.errors import OperationFailed
from slmctl.app import prompt
from slmctl.app.prompt import RenderLimits, render_outside
from tests.processes import children
from tests.slmctl.app.hostile_templates import CORPUS, Hostile
from tests.slmctl.cli.program import REPOSITORY

NOW = datetime(2026, 11, 22, 9, 5, 0, tzinfo=UTC)
MESSAGES = [{"role": "user", "content": "Grüße\n\u2028 \U0001f600"}]
MEMORY_BYTES = 64 * 2**20
DEADLINE_SECONDS = 10.0  # ten times the second that benchmarks/templates.py measures


@dataclass(frozen=True)
class Outcome:
    text: str | None
    message: str | None
    seconds: float
    growth_bytes: int


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What became of each hostile template, in one caller that does nothing else."""
    caller = subprocess.run(
        [sys.executable, "-m", "tests.slmctl.app.render_caller"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        timeout=DEADLINE_SECONDS * len(CORPUS),
    )
    return {name: Outcome(**outcome) for name, outcome in json.loads(caller.stdout).items()}


@pytest.mark.xdist_group("hostile-templates")
@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_hostile(case: Hostile, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case.name]
    assert outcome.seconds < DEADLINE_SECONDS
    assert outcome.growth_bytes < MEMORY_BYTES
    assert outcome.text == case.text
    if case.text is None:
        assert outcome.message is not None
        assert re.search(case.says, outcome.message)
        assert outcome.message.isprintable()
        assert outcome.message.endswith(".")


def outside(template: str, limits: RenderLimits = prompt.DEFAULT_LIMITS, **variables: object) -> str:
    return render_outside(
        template, MESSAGES, now=NOW, environment=os.environ, variables=variables, limits=limits
    )


EVERYTHING = """{{ messages | tojson(indent=2) }}{{ messages[0].content }}
{{ strftime_now('%d %b %Y %z %A') }} {{ 'a b c d' | wordwrap(3) }} {{ [1, 'x'] | pprint }}
{{ 'see https://example.org' | urlize }} {{ '<a>' | e }} {{ '<a>b</a>' | striptags }} {{ 'é/' | urlencode }}
{{ messages | map(attribute='role') | list }} {{ [3, 1] | sort }} {{ 1234567 | filesizeformat }} {{ 0.1 | round(3) }}
{{ 'a' | center(9) }} {{ 'ab' | title }} {{ lipsum(n=1) | length > 9 }} {{ dict(a=1) | dictsort }} {{ x }}
{{ '\\N{BULLET}' }} {{ 'é'.encode('utf-8') | length }} {{ [1, 2, 3] | batch(2) | list }}"""


def test_the_same_as_inside() -> None:
    assert outside(EVERYTHING, x=1.5) == render(EVERYTHING, MESSAGES, now=NOW, x=1.5)


def test_all_that_is_given_is_there() -> None:
    template = "{{ bos_token }}{{ eos_token }}{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ deep }}"
    text = render_outside(
        template,
        MESSAGES,
        tools=[{"a": 1}],
        documents=[{"b": None}],
        add_generation_prompt=False,
        now=NOW,
        bos_token="<s>",
        eos_token="</s>",
        variables={"deep": {"c": [True]}},
        environment=os.environ,
    )
    assert text == "<s></s>[{'a': 1}][{'b': None}]False{'c': [True]}"


def test_lines_come_back() -> None:
    with pytest.raises(TemplateError) as caught:
        outside("a\n{{ raise_exception('no') }}")
    assert caught.value.message == "The chat template refuses this conversation: no."
    assert caught.value.line == 2


def test_a_large_conversation() -> None:
    messages = [{"role": "user", "content": "word " * 20_000}] * 30  # 3 MB, more than any pipe holds
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    text = render_outside(template, messages, now=NOW, environment=os.environ)
    assert text == "word " * 600_000


def test_output_up_to_the_limit() -> None:
    limits = RenderLimits(output_bytes=1000)
    longest = 1000 - len('{"text": ""}')
    assert outside("{{ 'x' * n }}", limits, n=longest) == "x" * longest
    with pytest.raises(TemplateError, match="writes more than"):
        outside("{{ 'x' * n }}", limits, n=longest + 1)


def test_refused_before_a_process_is_started() -> None:
    with pytest.raises(TemplateError, match="longer than 1,048,576 characters"):
        outside("x" * (2**20 + 1))
    with pytest.raises(TemplateError, match="cannot be named messages"):
        outside("x", messages=[])
    with pytest.raises(TemplateError, match="renders no mustache templates"):
        render_outside("x", [], syntax="mustache", now=NOW, environment={})
    with pytest.raises(TemplateError, match="cannot be given to a template"):
        outside("x", what=object())


# children that are not what they should be, and what is said of them
STRANGE = {
    "endless output": ("import os\nwhile True: os.write(1, b'x' * 65536)", "writes more than 4 MiB"),
    "silent": ("import time; time.sleep(1000)", "not rendered within 1 seconds"),
    "silent after closing": ("import os, time; os.close(1); time.sleep(1000)", "not rendered within 1 seconds"),
    "deaf to SIGTERM": ("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)", "not rendered within"),
    "killed": ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    "crashed": ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
    "too long in the kernel's eyes": ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "computes for more than"),
    "failed": ("raise SystemExit(7)", "failed with status 7"),
    "mute": ("pass", "answered with nonsense"),
    "garbage": ("import sys; sys.stdout.buffer.write(bytes(range(256)))", "answered with nonsense"),
    "deep garbage": ("print('[' * 100000)", "answered with nonsense"),
    "another document": ("print('{\"text\": 1}')", "answered with nonsense"),
    "an error without a message": ("print('{\"error\": {}}')", "answered with nonsense"),
    "cut": ("print('{\"text\": \"abc')", "answered with nonsense"),
}  # fmt: skip


@pytest.mark.parametrize(("program", "said"), STRANGE.values(), ids=STRANGE)
def test_strange_children(program: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_PROGRAM", program)
    before = children(os.getpid())
    with pytest.raises(TemplateError, match=said) as caught:
        outside("x" * 500_000, RenderLimits(deadline_seconds=1.0 if "within" in said else 60.0))
    assert caught.value.hint is not None
    assert children(os.getpid()) == before


def test_an_interrupt_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a template is rendered."""
    monkeypatch.setattr(prompt, "_PROGRAM", "import time; time.sleep(1000)")
    before = children(os.getpid())
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            outside("x", RenderLimits(deadline_seconds=60.0))
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert children(os.getpid()) == before


def test_within_the_limits_of_the_caller() -> None:
    """A caller that may do less than a child is granted has children that may do less."""
    program = (
        "import os, resource, datetime\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (2, 2))\n"
        "resource.setrlimit(resource.RLIMIT_AS, (200 * 2**20, 200 * 2**20))\n"
        "from slmctl.app.prompt import render_outside\n"
        "print(render_outside('{{ 1 + 1 }}', [], now=datetime.datetime.now(), environment=os.environ))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OperationFailed, match="can be started"):
        outside("x")


def test_from_many_threads_at_once() -> None:
    texts: list[str] = []
    threads = [threading.Thread(target=lambda n=n: texts.append(outside("{{ n }}", n=n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(texts) == list("01234567")


def test_the_child_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "_PROGRAM", "import os, json; print(json.dumps({'text': repr(os.environ)}))")
    environment = {**os.environ, "HF_TOKEN": "secret-token", "PYTHONPATH": "/nowhere", "HOME": "/a-home"}
    said = render_outside("x", [], now=NOW, environment=environment)
    assert "secret-token" not in said
    assert "/nowhere" not in said
    assert "/a-home" in said
