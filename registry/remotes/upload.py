"""One blob on its way to a registry: in one request or in chunks, resumed, and begun again.

OCI distribution specification 1.1, "Pushing a blob monolithically" and "Pushing a blob in chunks". After a
failure the registry is asked how much it has; where it does not know the session any more, the upload begins
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote

from registry.errors import DigestMismatch, OperationFailed, SlmctlError, Unreachable
from registry.remotes.answers import TRANSIENT, refusal, words_of
from registry.remotes.base import Blob, OpenAt, TryAgain
from registry.remotes.connection import Connection, read_to_end
from registry.remotes.http import Answer
from registry.remotes.limits import chunk_bytes_of
from registry.remotes.retry import in_words
from registry.remotes.sessions import Session, least_chunk, session_of

MIN_CHUNK_BYTES = 1 << 20
MAX_HOPS = 5
PIECE_BYTES = 1 << 18

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_OCTETS = "application/octet-stream"


class _Lost(Exception):
    """The registry does not know the session any more."""


class Upload:
    """One blob on its way."""

    def __init__(
        self,
        connection: Connection,
        has: Callable[[], bool],
        begin: Callable[[], Session],
        blob: Blob,
        open_at: OpenAt,
        progress: Callable[[int], None],
    ) -> None:
        """`has` tells whether the registry has the blob, `begin` begins a session."""
        self._connection = connection
        self._has = has
        self._begin = begin
        self._blob = blob
        self._open_at = open_at
        self._progress = progress
        self._chunk = chunk_bytes_of(connection.repository.host)
        self._offset = 0  # how much the registry has, as far as we know
        self._told = 0  # how much `progress` was told of
        self._whole = blob.size <= self._chunk
        self._session: Session | None = None

    def run(self, session: Session | None) -> None:
        """Send the blob, in the session that was begun or in one of its own. What fails is cancelled."""
        self._session = session
        failures = 0
        best = -1
        try:
            while True:
                if self._session is None:
                    self._rewind(0)
                    self._session = self._begin()  # which has patience of its own
                    self._chunk = max(self._chunk, least_chunk(self._session.given_by))
                error = self._try(self._session)
                if error is None:
                    break
                if self._offset > best:  # a session that is lost again and again gets no further than before
                    best, failures = self._offset, 0
                failures += 1
                if failures >= self._connection.patience.attempts:
                    raise error
                self._wait(error, failures)
                if self._session is not None:
                    self._session = self._recovered(self._session)
                if self._session is None and self._has():
                    break  # it was only the last answer that did not come
        except SlmctlError:
            self._cancel()
            raise
        self._tell(self._blob.size - self._told)

    def _try(self, session: Session | None) -> SlmctlError | None:
        """Go on until the blob is there (None), or something fails that may not fail the next time."""
        try:
            while session is not None:
                before = (self._offset, self._chunk, self._whole)
                self._session = session = self._step(session)
                same = before[1:] == (self._chunk, self._whole)
                if session is not None and self._offset <= before[0] and same:
                    return OperationFailed(
                        f"{self._shown} takes bytes of the blob {self._blob.digest.short}, and has no more of"
                        " it than before.",
                        hint="Ask who runs the registry.",
                    )
        except TryAgain as failure:
            return failure
        except _Lost:
            self._session = None
            return TryAgain(f"{self._shown} forgot the upload of the blob {self._blob.digest.short}.")
        return None

    def _wait(self, error: SlmctlError, failures: int) -> None:
        patience = self._connection.patience
        asked = error.after if isinstance(error, TryAgain) else None
        if asked is not None and asked > patience.longest_asked:
            raise Unreachable(
                f"{error.message.rstrip('.')}; it wants to be left alone for {in_words(asked)}.",
                hint="Try again after that.",
            )
        wait = patience.wait_before(failures, asked)
        if isinstance(error, TryAgain):
            self._connection.on_wait(wait, error)
        patience.sleep(wait)

    def _step(self, session: Session) -> Session | None:
        """Send the next part; None when the blob is whole and there. Raises TryAgain, _Lost, ..."""
        if self._whole or self._offset == self._blob.size:
            return self._finish(session)
        count = min(self._chunk, self._blob.size - self._offset)
        headers = {"Content-Type": _OCTETS, "Content-Range": f"{self._offset}-{self._offset + count - 1}"}
        with read_to_end(self._send("PATCH", session, headers, count)) as answer:
            if answer.status in {201, 202, 204}:
                self._note(answer, self._offset + count)
                return session_of(answer, self._connection, session)
            return self._other(answer, session)

    def _finish(self, session: Session) -> Session | None:
        """Close the session; with all bytes where the blob goes in one piece."""
        count = self._blob.size if self._whole else 0
        separator = "&" if "?" in session.location else "?"
        location = f"{session.location}{separator}digest={quote(str(self._blob.digest), safe='')}"
        closing = Session(location=location, given_by=session.given_by)
        headers = {"Content-Type": _OCTETS}
        if self._whole:
            self._rewind(0)
        with read_to_end(self._send("PUT", closing, headers, count)) as answer:
            if answer.status in {200, 201, 204}:
                return None
            if answer.status == 202:  # not closed yet
                self._note(answer, self._blob.size)
                return session_of(answer, self._connection, session)
            words = words_of(answer) if answer.status == 400 else ""
            if "DIGEST" in words:
                raise DigestMismatch(
                    f"{self._shown} received something else than the blob {self._blob.digest.short}{words}.",
                    hint="Push again; if it stays so, something between here and the registry changes bytes.",
                )
            return self._other(answer, session)

    def _other(self, answer: Answer, session: Session) -> Session:
        """What follows an answer that is no success. Raises _Lost, TryAgain, and as `refusal`."""
        what = f"to take the blob {self._blob.digest.short}"
        if answer.status in TRANSIENT:
            raise refusal(answer, what, self._shown)
        if answer.status in {405, 501} and not self._whole and self._offset == 0:
            self._whole = True  # it knows no chunks
            return session
        if answer.status == 404:
            raise _Lost
        if answer.status in {413, 416}:
            at = self._offset
            known = self._status(session)
            if known is None:
                raise _Lost
            if self._offset == at and not self._smaller():
                raise OperationFailed(
                    f"{self._shown} does not take the blob {self._blob.digest.short} ({self._blob.size}"
                    f" bytes){words_of(answer)}.",
                    hint="Ask who runs the registry how large a layer may be.",
                )
            return known
        raise refusal(answer, what, self._shown)

    def _send(self, method: str, session: Session, headers: dict[str, str], count: int) -> Answer:
        """A request with `count` bytes from where the upload is; 307 and 308 are followed, anew each time."""
        for _ in range(MAX_HOPS + 1):
            answer = self._connection.send(
                method,
                session.location,
                headers=headers,
                payload=lambda: self._bytes(count) if count else b"",
                length=count,
                follow=False,
                came_from=session.given_by,
            )
            if answer.status not in {307, 308}:
                return answer
            with read_to_end(answer):
                session = session_of(answer, self._connection)
        raise Unreachable(f"{self._shown} sends an upload from one address to the next without an end.")

    def _bytes(self, count: int) -> Iterator[bytes]:
        self._rewind(self._offset)
        with self._open_at(self._offset) as file:
            while count:
                piece = file.read(min(PIECE_BYTES, count))
                if not piece:
                    raise OperationFailed(f"The blob {self._blob.digest.short} is shorter than it should be.")
                count -= len(piece)
                yield piece
                self._tell(len(piece))

    def _note(self, answer: Answer, sent: int) -> None:
        """Take the registry's word for how much it has, which is `sent` where it says nothing."""
        found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
        has = min(int(found[1]) + 1, self._blob.size + 1) if found else sent
        if has > sent:
            raise OperationFailed(
                f"{self._shown} says that it has {has} bytes of the blob {self._blob.digest.short}, and was"
                f" sent {sent}."
            )
        self._offset = 0 if has == 1 and sent != 1 else has  # "0-0" is how some say that they have nothing
        self._rewind(self._offset)

    def _status(self, session: Session) -> Session | None:
        """How much the registry has of a session, which goes on at a new address; None if it is lost."""
        answer = self._connection.send("GET", session.location, follow=False, came_from=session.given_by)
        with read_to_end(answer):
            if answer.status not in {200, 202, 204}:
                return None
            found = _RANGE.fullmatch(answer.headers.get("Range", "").strip())
            if found is None:
                return None
            self._note(answer, self._blob.size)
            return session_of(answer, self._connection, session)

    def _recovered(self, session: Session) -> Session | None:
        try:
            return self._status(session)
        except TryAgain:
            return None

    def _smaller(self) -> bool:
        """Send less at once from here on; whether that can be."""
        if self._chunk <= MIN_CHUNK_BYTES:
            return False
        self._chunk = max(MIN_CHUNK_BYTES, min(self._chunk, self._blob.size) // 4)
        self._whole = False
        return True

    def _cancel(self) -> None:
        """Tell the registry that the session will not be closed; whatever it says to that."""
        if self._session is not None:
            with suppress(SlmctlError):
                location, given_by = self._session.location, self._session.given_by
                self._connection.send("DELETE", location, follow=False, came_from=given_by).discard()

    def _tell(self, count: int) -> None:
        if count:
            self._told += count
            self._progress(count)

    def _rewind(self, offset: int) -> None:
        self._offset = offset
        self._tell(offset - self._told)

    @property
    def _shown(self) -> str:
        return self._connection.repository.shown
