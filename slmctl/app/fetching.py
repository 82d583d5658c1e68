"""Transfers as the application tells of them: how far each blob is, and all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from registry.digest import Digest
from registry.remotes.base import Blob
from registry.store.store import Session
from registry.transfer.download import Wanted, download
from registry.transfer.events import Finished, Moved, Present, Resumed, Retrying, TransferEvent, Waiting
from registry.transfer.pace import Pace
from slmctl.app.events import Note, OnEvent, Transfer, go_on

_LONG_PAUSE_SECONDS = 2.0
"""A shorter wait before the next try is not worth a line."""


def fetch(
    session: Session,
    wanted: Sequence[Wanted],
    pace: Pace,
    on_event: OnEvent,
    labels: Mapping[Digest, str] | None = None,
    on_tick: Callable[[], None] = go_on,
) -> None:
    """Have blobs in the store. `labels` are what they are called to people, `on_tick` is called several times
    a second and may raise to end it. Raises as `download` does."""
    counts = Counts("pull", [each.blob for each in wanted], labels or {}, on_event)
    download(session, wanted, pace, counts, on_tick)


@dataclass(slots=True)
class _Count:
    done: int = 0
    reused: int = 0
    waits: bool = False


class Counts:
    """Takes what a transfer tells about its blobs, and tells it on. `stage` is "pull" or "push"."""

    def __init__(
        self, stage: str, blobs: Sequence[Blob], labels: Mapping[Digest, str], on_event: OnEvent
    ) -> None:
        self._stage = stage
        self._labels = labels
        self._on_event = on_event
        self._counts = {blob.digest: _Count() for blob in blobs}
        self._total = sum({blob.digest: blob.size for blob in blobs}.values())
        self._all_done = 0
        self._all_reused = 0

    @property
    def moved(self) -> int:
        """Bytes that were really transferred."""
        return self._all_done - self._all_reused

    def __call__(self, event: TransferEvent) -> None:
        count = self._counts[event.blob.digest]
        if isinstance(event, Retrying):
            if event.seconds >= _LONG_PAUSE_SECONDS:
                said = event.reason.removesuffix(".")
                self._on_event(Note(text=f"{said}; trying again in {event.seconds:.0f} s."))
            return
        if isinstance(event, Waiting):
            if not count.waits:
                count.waits = True
                name = self._label(event.blob)
                self._on_event(Note(text=f"Another slmctl is fetching {name}; waiting for it."))
            self._set(event.blob, count, event.done, event.done)
        elif isinstance(event, Present | Finished):
            reused = event.blob.size if isinstance(event, Present) else count.reused
            self._set(event.blob, count, event.blob.size, reused)
        elif isinstance(event, Resumed):
            self._set(event.blob, count, event.count, event.count)
        elif isinstance(event, Moved):
            self._set(event.blob, count, count.done + event.count, count.reused)

    def _set(self, blob: Blob, count: _Count, done: int, reused: int) -> None:
        done = max(0, min(done, blob.size))
        reused = min(reused, done)
        self._all_done += done - count.done
        self._all_reused += reused - count.reused
        count.done, count.reused = done, reused
        self._on_event(
            Transfer(
                stage=self._stage,
                item=self._label(blob),
                done=done,
                total=blob.size,
                all_done=self._all_done,
                all_total=self._total,
                reused=self._all_reused,
                digest=blob.digest,
            )
        )

    def _label(self, blob: Blob) -> str:
        return self._labels.get(blob.digest) or blob.digest.short
