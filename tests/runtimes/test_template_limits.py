"""Looking at a process that takes too much."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from registry.errors import MalformedFile
from runtimes.template_limits import TemplateLimits, TemplateWatch
from tests.processes import until

QUICK = TemplateLimits(computing_seconds=0.1, deadline_seconds=600.0, memory_bytes=64 * 2**20)


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program that has said its first line; it goes on when it may read one."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys, time; print(flush=True); sys.stdin.readline(); {program}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
    finally:
        child.kill()
        child.communicate()


def let_go(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()


@pytest.mark.parametrize(
    ("program", "limits", "said"),
    [
        ("exec('while True: pass')", QUICK, "computes for more than 0.1 seconds"),
        ("a = bytearray(200_000_000); time.sleep(600)", QUICK, "needs more memory than it may have"),
        ("time.sleep(600)", TemplateLimits(deadline_seconds=0.2), "is not done after 0 seconds"),
    ],
)
def test_what_is_too_much(program: str, limits: TemplateLimits, said: str) -> None:
    with running(program) as child:
        watch = TemplateWatch(child.pid, limits)
        let_go(child)
        explanation = until(watch.overuse)
    assert explanation.sentence == f"The model's chat template {said}."
    assert explanation.error is MalformedFile


def test_what_was_taken_before_does_not_count() -> None:
    with running("time.sleep(600)") as child:
        assert TemplateWatch(child.pid, TemplateLimits(memory_bytes=0)).overuse() is None


def test_a_process_that_is_gone_takes_nothing() -> None:
    with running("") as child:
        watch = TemplateWatch(child.pid, QUICK)
    assert watch.overuse() is None
    assert TemplateWatch(child.pid, QUICK).overuse() is None


def test_a_long_conversation_may_take_longer() -> None:
    longer = QUICK.for_question(2**20)
    assert longer.computing_seconds == pytest.approx(1.1)
    assert longer.prompt_bytes > QUICK.prompt_bytes + 2**20
