from __future__ import annotations

import pytest

from slmctl.app.events import ByteCounter, Event, Progress


@pytest.mark.parametrize("total", [1, 1000, 100 << 20, 6 << 30, 400 << 30])
def test_bytes_are_counted_in_steps_that_somebody_can_use(total: int) -> None:
    told: list[Event] = []
    counter = ByteCounter(told.append, stage="hash", item="model.gguf", total=total)
    chunk = max(1, total // 10_000)
    for _ in range(0, total, chunk):
        counter(chunk)
    counter(chunk)  # what is read twice counts once
    done = [event.done for event in told if isinstance(event, Progress)]
    assert done == sorted(done)
    assert done[0] == chunk
    assert total in done
    assert len(done) <= max(1000, 2 * total // (64 << 20))
    assert max(after - before for before, after in zip([0, *done], done, strict=False)) <= max(
        chunk, (64 << 20) + chunk
    )
