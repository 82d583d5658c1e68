"""What a user sees while a registry asks to be left alone."""

from __future__ import annotations

import re

from tests.fakes.registry import error, fake_registry
from tests.fakes.wire import Request, reply
from tests.slmctl.cli.program import Program


def test_a_wait_is_told_before_it_begins_and_then_it_goes_on(slmctl: Program) -> None:
    slmctl.go_online()

    def busy(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        seen.append(1)
        return reply(429, b"", {"Retry-After": "2"}) if len(seen) == 1 else None

    with fake_registry(busy) as fake:
        done = slmctl("pull", f"http://{fake.server.place}/team/model:v1")
    assert done.code == 3
    assert "it answered 429" in done.err
    assert re.search(r"Trying again in [23] seconds\.", done.err)  # and a little by chance
    assert len(fake.requests) == 2


def test_who_wants_to_be_left_alone_for_longer_is(slmctl: Program) -> None:
    slmctl.go_online()
    with fake_registry(lambda _: reply(503, b"", {"Retry-After": "1000000000"})) as fake:
        done = slmctl("pull", f"http://{fake.server.place}/team/model:v1")
    assert done.code == 6
    assert "11574 days" in done.err
    assert len(fake.requests) == 1


def test_what_is_refused_is_not_asked_again(slmctl: Program) -> None:
    slmctl.go_online()
    with fake_registry(lambda _: error(403, "DENIED", "not you")) as fake:
        done = slmctl("pull", f"http://{fake.server.place}/team/model:v1")
    assert done.code == 7
    assert "not you" in done.err
    assert len(fake.requests) == 1
