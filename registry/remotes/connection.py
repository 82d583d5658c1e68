"""One repository's requests: who goes with them, what a refused token does, and patience for small ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from registry.remotes.answers import TRANSIENT, refusal
from registry.remotes.auth import Authorizer
from registry.remotes.http import Answer, HttpClient
from registry.remotes.network import NOTHING
from registry.remotes.realms import origin_of
from registry.remotes.repository import Repository
from registry.remotes.retry import OnWait, Patience, patient, silent

T = TypeVar("T")

Payload = Callable[[], bytes | Iterable[bytes]]
"""Makes the bytes of a request, anew for each try."""


@contextmanager
def read_to_end(answer: Answer) -> Iterator[Answer]:
    """An answer of which what is short and was not read is read at the end, so that its connection is
    kept."""
    try:
        yield answer
    finally:
        answer.discard()


class Connection:
    """Sends requests to the registry of one repository; several threads may use it."""

    def __init__(
        self,
        http: HttpClient,
        repository: Repository,
        authorizer: Authorizer,
        patience: Patience,
        on_wait: OnWait = silent,
    ) -> None:
        """`on_wait` is told of each wait before something is asked again."""
        self.http = http
        self.on_wait = on_wait
        self.repository = repository
        self._authorizer = authorizer
        self.patience = patience
        self._scope = f"repository:{repository.path}:pull"

    def will_push(self) -> None:
        """From here on tokens are asked for that may push too."""
        self._scope = f"repository:{self.repository.path}:pull,push"

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] = NOTHING,
        payload: Payload | None = None,
        length: int | None = None,
        follow: bool = True,
        came_from: Answer | None = None,
        reading: str | None = None,
    ) -> Answer:
        """The answer to one request, whatever its status, but for the registry's 401. A refused token is
        renewed once. `reading` is another repository of the registry that the request reads too.

        Our authorization goes to the registry's own origin only; another address gets none, and the rules of
        redirects from `came_from`, the answer that named it, hold for it. Raises Unauthorized, and as
        `HttpClient.send` and `Authorizer.renewed`.
        """
        ours = origin_of(url) == self.repository.origin
        scopes = (self._scope, *((f"repository:{reading}:pull",) if reading else ()))
        authorization = self._authorizer.current(scopes) if ours else None
        tries = 0
        while True:
            tries += 1
            answer = self.http.send(
                method,
                url,
                headers=headers,
                authorization=authorization,
                body=payload() if payload else None,
                body_length=length,
                follow=follow,
                came_from=None if ours else came_from,
            )
            if answer.status != 401 or not ours or not self.is_ours(answer):
                return answer
            with read_to_end(answer):
                if tries > 1:
                    raise self._authorizer.denied(answer)
                authorization = self._authorizer.renewed(answer, scopes, authorization)

    def is_ours(self, answer: Answer) -> bool:
        """Whether the registry itself has answered, and not who it has sent us to."""
        return origin_of(answer.url) == self.repository.origin

    def ask(
        self,
        method: str,
        url: str,
        what: str,
        use: Callable[[Answer], T],
        *,
        headers: Mapping[str, str] = NOTHING,
        expected: Sequence[int] = (200,),
        payload: Payload | None = None,
        length: int | None = None,
        reading: str | None = None,
    ) -> T:
        """A small request, tried again with patience: `use` gets the answer if its status is expected.

        `what` is asked for, in words. Raises what `refusal` makes of other answers, and as `send`.
        """

        def once() -> T:
            sent = self.send(method, url, headers=headers, payload=payload, length=length, reading=reading)
            with read_to_end(sent) as answer:
                if answer.status not in expected or answer.status in TRANSIENT:
                    raise refusal(answer, what, self.repository.shown)
                return use(answer)

        return self.patiently(once)

    def patiently(self, call: Callable[[], T]) -> T:
        """Call until it works, or patience is over."""
        return patient(call, self.patience, self.on_wait)
