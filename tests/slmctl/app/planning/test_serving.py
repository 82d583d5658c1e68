"""Plans for workers of the server: how many slots, and what vectors take."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.errors import DoesNotFit
from registry.names import parse_name
from registry.store.store import Store
from slmctl.app.finding import locate
from slmctl.app.load import LoadRequest, Purpose, Serving
from slmctl.app.planning.running import RunPlan
from slmctl.app.planning.serving import need_of, plan_served
from slmctl.app.planning.wishes import NO_WISHES
from slmctl.config import Settings
from tests.slmctl.cli.program import Program
from tools.random_reranker import write_random_reranker


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("plans")
    ranker = folder / "ranker.gguf"
    write_random_reranker(ranker)
    with tempfile.TemporaryDirectory(prefix="slm") as runtime:
        program = Program(folder / "home", Path(runtime))
        assert program("create", "ranker", "--from", str(ranker)).code == 0
        yield program


def planned(
    program: Program,
    name: str,
    *,
    parallel: int | None = None,
    purpose: Purpose = "text",
    context: int | None = None,
    max_memory: int | None = None,
    room: int = 0,
) -> RunPlan:
    settings = Settings.load(program.environment)
    reader, package = locate(Store(settings.store), parse_name(name))
    serving = Serving(purpose=purpose, parallel=parallel)
    request = LoadRequest(
        package=package,
        parameters={} if context is None else {"num_ctx": context},
        wishes=dataclasses.replace(NO_WISHES, max_memory=max_memory),
        serving=serving,
    )
    return plan_served(reader, settings, request, serving, room=room)


def slots(found: RunPlan) -> int:
    assert found.launch is not None
    return found.launch.parallel


def test_there_are_four_where_memory_is_plenty(program: Program) -> None:
    assert slots(planned(program, "hello", max_memory=1 << 40)) == 4


def test_each_slot_has_the_whole_context(program: Program) -> None:
    one, four = (planned(program, "hello", parallel=number, context=512) for number in (1, 4))
    assert one.launch is not None
    assert four.launch is not None
    assert one.launch.context == four.launch.context == 512
    assert need_of(four)[0] > need_of(one)[0]


def test_further_slots_take_at_most_half_of_what_the_first_leaves(program: Program) -> None:
    one, two, four = (need_of(planned(program, "hello", parallel=number))[0] for number in (1, 2, 4))
    enough_for_four, enough_for_two = one + 2 * (four - one), one + 2 * (two - one)
    assert slots(planned(program, "hello", max_memory=enough_for_four + 1024)) == 4
    assert slots(planned(program, "hello", max_memory=enough_for_four - 1024)) == 2
    assert slots(planned(program, "hello", max_memory=enough_for_two - 1024)) == 1
    assert slots(planned(program, "hello", max_memory=one)) == 1


def test_more_slots_never_cost_context(program: Program) -> None:
    for megabytes in range(50, 80, 2):
        try:
            one = planned(program, "hello", parallel=1, max_memory=megabytes << 20)
        except DoesNotFit:
            continue
        chosen = planned(program, "hello", max_memory=megabytes << 20)
        assert one.launch is not None
        assert chosen.launch is not None
        assert chosen.launch.context == one.launch.context


def test_who_asks_for_slots_gets_them_or_hears_that_they_do_not_fit(program: Program) -> None:
    assert slots(planned(program, "hello", parallel=7, max_memory=1 << 40)) == 7
    with pytest.raises(DoesNotFit):
        planned(program, "hello", parallel=64, context=1024, max_memory=64 << 20)


def test_room_is_as_if_others_had_gone(program: Program) -> None:
    huge = 1 << 50
    with pytest.raises(DoesNotFit):
        planned(program, "hello", parallel=250_000, context=1024)
    assert slots(planned(program, "hello", parallel=250_000, context=1024, room=huge)) == 250_000


def test_a_text_whose_every_token_counts_is_one_batch(program: Program) -> None:
    found = planned(program, "ranker", purpose="rank", parallel=1)
    assert found.launch is not None
    assert found.launch.context == 256  # what it was trained for
    assert found.launch.micro_batch >= 256
    vectors = planned(program, "hello", purpose="embedding", parallel=1)
    assert vectors.launch is not None
    assert (vectors.launch.context, vectors.launch.micro_batch) == (1024, 512)  # the last token's: in pieces
