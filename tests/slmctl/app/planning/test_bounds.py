"""A load that died of too little memory is not tried again, until there is reason to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runtimes.errors import ModelTooBig
from runtimes.hardware.profiles import profile
from runtimes.planning.plan import plan
from runtimes.planning.values import PlanRequest
from slmctl.app import clock
from slmctl.app.events import Event
from slmctl.app.planning.history_file import read_history
from slmctl.app.planning.learn import Lesson
from slmctl.app.planning.lessons import compare_load, remember_death
from tests.runtimes.planning.library import ggufs


@pytest.fixture
def lesson() -> Lesson:
    builds = [replace(each, digest=f"sha256:{each.variant}") for each in ggufs("qwen3:0.6b")]
    machine = profile("container-2gb")
    chosen = plan(builds, machine, PlanRequest(context=4096, context_is_pinned=True)).chosen
    assert chosen is not None
    return Lesson(model="qwen3:0.6b", chosen=chosen, build="b1", free={"host": chosen.budget["host"]})


def test_a_death_is_remembered_of_the_engine_s_build_and_said(tmp_path: Path, lesson: Lesson) -> None:
    said: list[Event] = []
    remember_death(tmp_path, lesson, ModelTooBig("It was killed."), said.append)
    history = read_history(tmp_path)
    (bound,) = history.bounds_of({"llama.cpp": "b1"}, clock.now())
    assert (bound.bytes, bound.shape) == (lesson.free["host"], lesson.chosen.candidate.shape)
    assert history.bounds_of({"llama.cpp": "b2"}, clock.now()) == ()
    assert "It is remembered for 7 days that this needs more than" in str(said)


def test_a_load_that_goes_well_after_all_takes_it_back(tmp_path: Path, lesson: Lesson) -> None:
    remember_death(tmp_path, lesson, ModelTooBig("It was killed."), lambda _: None)
    shape = lesson.chosen.candidate.shape
    smaller = replace(lesson.chosen.candidate, shape=replace(shape, context=shape.context - 1024))
    compare_load(
        tmp_path, replace(lesson, chosen=replace(lesson.chosen, candidate=smaller)), "", lambda _: None
    )
    assert read_history(tmp_path).bounds, "less memory was needed: that says nothing"
    compare_load(tmp_path, lesson, "", lambda _: None)
    assert not read_history(tmp_path).bounds
