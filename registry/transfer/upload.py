"""Sending blobs: several at once, and only those that are not there yet.

Manifests are the caller's: they go after the blobs they name, so a registry never shows half a model.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import BinaryIO, Protocol

from registry.digest import Digest
from registry.errors import OperationFailed, SlmctlError
from registry.manifest import Descriptor
from registry.remotes.base import Blob, Limits, PushRemote, TryAgain
from registry.transfer.crew import Crew
from registry.transfer.events import Finished, Moved, OnEvent, Present, Retrying, TransferEvent, silent
from registry.transfer.pace import Pace, Throttle

_TICK_SECONDS = 0.1
_GRACE_SECONDS = 0.3
_AT_ONCE = 4
"""Blobs that are sent at once, of however many connections a pace has: a registry takes them one by one, and
writes each to its disk."""


OpenBlob = Callable[[Blob, int], BinaryIO]
"""Opens a blob at an offset; may be called again."""


def from_reader(reader: Reader) -> OpenBlob:
    """Opens the blobs of a store or a bundle."""

    def open_at(blob: Blob, offset: int) -> BinaryIO:
        stream = reader.open_blob(Descriptor(media_type="", digest=blob.digest, size=blob.size))
        stream.seek(offset)
        return stream

    return open_at


class Reader(Protocol):
    """Where the blobs lie: a store or a bundle."""

    def open_blob(self, descriptor: Descriptor) -> BinaryIO: ...


class TooLarge(OperationFailed):
    """The place does not take blobs or manifests of that size."""

    code = "too_large"


def check_limits(remote: PushRemote, blobs: Sequence[Blob], manifests: Sequence[bytes] = ()) -> None:
    """Raise TooLarge when the place would refuse something: before anything is sent."""
    limits: Limits = remote.limits
    largest = max((blob.size for blob in blobs), default=0)
    if limits.layer_bytes is not None and largest > limits.layer_bytes:
        raise TooLarge(
            f"{remote.shown} takes blobs of at most {limits.layer_bytes} bytes, and one has {largest}.",
            hint="Push a smaller quantization, or a model in several files (shards).",
        )
    longest = max(map(len, manifests), default=0)
    if limits.manifest_bytes is not None and longest > limits.manifest_bytes:
        raise TooLarge(
            f"{remote.shown} takes manifests of at most {limits.manifest_bytes} bytes, and one has {longest}."
        )


def upload(
    open_blob: OpenBlob,
    remote: PushRemote,
    blobs: Sequence[Blob],
    pace: Pace | None = None,
    on_event: OnEvent = silent,
    *,
    mounts: Mapping[Digest, Sequence[str]] | None = None,
) -> None:
    """Have all of `blobs` in the remote's repository; on return they are there.

    `mounts` names repositories of the same host that may have a blob already. Raises TooLarge before anything
    is sent, and what the remote or `open_blob` raises.
    """
    check_limits(remote, blobs)
    _Upload(open_blob, remote, pace or Pace(), on_event, mounts or {}).run(blobs)


class _Upload:
    def __init__(
        self,
        open_blob: OpenBlob,
        remote: PushRemote,
        pace: Pace,
        on_event: OnEvent,
        mounts: Mapping[Digest, Sequence[str]],
    ) -> None:
        self._open_blob = open_blob
        self._remote = remote
        self._pace = pace
        self._tell = on_event
        self._mounts = mounts
        self._throttle = Throttle(pace.limit_rate)
        self._stopped = threading.Event()
        self._events: SimpleQueue[TransferEvent | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._moved: dict[Blob, int] = {}
        self._error: BaseException | None = None
        self._left = 0

    def run(self, blobs: Sequence[Blob]) -> None:
        todo = deque({blob.digest: blob for blob in blobs}.values())
        self._left = len(todo)
        crew = Crew("push", max(1, min(_AT_ONCE, self._pace.connections, self._left)), self._die)
        for blob in todo:
            crew.do(lambda blob=blob: self._send(blob))  # type: ignore[misc]
        try:
            while self._left or not self._events.empty():
                event: TransferEvent | None = None
                with suppress(Empty):
                    event = self._events.get(timeout=_TICK_SECONDS)
                self._tell_moved()
                if self._error is not None:
                    raise self._error
                if event is not None:
                    self._tell(event)
        finally:
            self._stopped.set()
            crew.end(time.monotonic() + _GRACE_SECONDS)

    def _tell_moved(self) -> None:
        with self._lock:
            moved, self._moved = self._moved, {}
        for blob, count in moved.items():
            self._tell(Moved(blob=blob, count=count))

    def _die(self, error: BaseException) -> None:
        with self._lock:
            self._error = self._error or error
        self._stopped.set()
        self._events.put(None)

    def _send(self, blob: Blob) -> None:
        """Get one blob there, however often it takes."""
        patience, failures, since = self._pace.patience, 0, 0.0
        worth = _Worth()
        while not self._stopped.is_set():
            try:
                event = self._try(blob, worth)
            except TryAgain as error:
                now = time.monotonic()
                failures = 1 if worth.take() >= patience.worth_bytes else failures + 1
                since = now if failures == 1 else since
                pause = patience.pause(failures, error.after)
                if pause is None or now + pause > since + patience.total_seconds:
                    raise
                self._events.put(
                    Retrying(blob=blob, source=self._remote.shown, reason=error.message, seconds=pause)
                )
                self._stopped.wait(pause)
                continue
            with self._lock:
                self._left -= 1
                moved = self._moved.pop(blob, 0)
            if moved:
                self._events.put(Moved(blob=blob, count=moved))
            self._events.put(event)
            return

    def _try(self, blob: Blob, worth: _Worth) -> Present | Finished:
        if self._remote.has(blob):
            return Present(blob=blob)
        for repository in self._mounts.get(blob.digest, ()):
            if self._remote.mount(blob, repository):
                return Present(blob=blob)

        def progress(count: int) -> None:
            if self._stopped.is_set():
                raise _StoppedError("The upload was stopped.")
            if count > 0:
                self._throttle.spend(count, self._stopped)
            worth.add(count)
            with self._lock:
                self._moved[blob] = self._moved.get(blob, 0) + count

        self._remote.upload(blob, lambda offset: self._open_blob(blob, offset), progress)
        return Finished(blob=blob)


class _StoppedError(SlmctlError):
    """Another blob failed, or the user has had enough: nobody hears of this one."""


class _Worth:
    """Bytes that were sent, and stayed, since the last failure."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, count: int) -> None:
        self._count += count

    def take(self) -> int:
        count, self._count = self._count, 0
        return count
