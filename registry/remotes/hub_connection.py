"""Requests to the Hugging Face Hub itself: with the token, which goes to no other server."""

from __future__ import annotations

from collections.abc import Mapping

from registry.errors import BadContent, Unreachable, UsageError
from registry.remotes.http import Answer, HttpClient
from registry.remotes.hub_documents import MAX_DOCUMENT_BYTES, next_page
from registry.remotes.hub_refusals import HubAccess, refusal
from registry.remotes.network import NOTHING
from registry.remotes.retry import OnWait, Patience, patient
from registry.remotes.urls import BadUrl, Url, join, parse

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_STEPS = 5


class HubConnection:
    """The hub at one endpoint, as one user asks it. Raises UsageError for an endpoint that is none."""

    def __init__(self, http: HttpClient, access: HubAccess, patience: Patience, on_wait: OnWait) -> None:
        try:
            self._endpoint = parse(access.endpoint.rstrip("/"))
        except BadUrl as error:
            raise UsageError(
                f"HF_ENDPOINT cannot be asked: {error}.", hint="It is an http or https address."
            ) from None
        self._base = str(self._endpoint).rstrip("/")
        self.http = http
        self.access = access
        self.patience = patience
        self.on_wait = on_wait

    def is_ours(self, answer: Answer) -> bool:
        """Whether the hub itself gave the answer."""
        return answer.way.url.origin == self._endpoint.origin

    def get(self, path: str, headers: Mapping[str, str] = NOTHING) -> Answer:
        """Ask for a path, following redirects as long as they stay with the hub.

        The answer is the hub's; where it is a redirect, that leads to somebody else. Raises as
        `HttpClient.send`.
        """
        if self.access.offline is not None:
            raise Unreachable(
                f"{self._endpoint.place} was not asked because {self.access.offline}.",
                hint="What is in the store still runs.",
            )
        authorization = self.access.authorization
        url, came_from = f"{self._base}{path}", None
        for _ in range(_MAX_STEPS + 1):
            answer = self.http.send(
                "GET", url, headers=headers, authorization=authorization, follow=False, came_from=came_from
            )
            if answer.status not in REDIRECTS:
                return answer
            target = target_of(answer)
            if target.origin != self._endpoint.origin:
                return answer
            answer.discard()
            url, came_from = str(target), answer
        raise Unreachable(f"{self._endpoint.place} redirects more than {_MAX_STEPS} times.")

    def document(self, path: str, *, repository: str, what: str) -> tuple[bytes, str | None]:
        """A document of the hub's API, and the path of its next page. Nobody else may answer for it.

        Raises as `refusal` says, Unreachable, BadContent.
        """

        def ask() -> tuple[bytes, str | None]:
            with self.get(path) as answer:
                if answer.status in REDIRECTS:
                    raise Unreachable(f"The hub sends us for {what} of hf.co/{repository} to another server.")
                if answer.status != 200:
                    raise refusal(answer, repository=repository, what=what, access=self.access)
                link = next_page(", ".join(answer.values("link")))
                return answer.document(MAX_DOCUMENT_BYTES), None if link is None else self._own(answer, link)

        return patient(ask, self.patience, self.on_wait)

    def _own(self, answer: Answer, link: str) -> str:
        """The path of a page; raises BadContent unless it is the hub's own."""
        try:
            url = join(answer.way.url, link)
        except BadUrl as error:
            raise BadContent(f"The hub gives an address for its next page that cannot be: {error}.") from None
        if not str(url).startswith(f"{self._base}/"):
            raise BadContent(
                f"The hub says that its list of files goes on at {url.place}, which is not the hub."
            )
        return str(url).removeprefix(self._base)


def target_of(answer: Answer) -> Url:
    """Where a redirect leads. Raises Unreachable, with the answer closed, for no address."""
    locations = set(answer.values("location"))
    try:
        if len(locations) != 1:
            raise BadUrl("it names none, or several")
        return join(answer.way.url, locations.pop())
    except BadUrl as error:
        answer.close()
        raise Unreachable(f"The hub redirects to an address that cannot be followed: {error}.") from None
