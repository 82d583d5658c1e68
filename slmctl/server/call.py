"""One request on its way: what a handler works with, and what it answers to.

Handlers are `async def handler(call: Call) -> Response`. They are named in tables of `Endpoint`s, one table
per front; what stands in no table is not served. Around each handler stands the guard, which lets in, limits,
times, logs, counts and tells errors, and cancels the handler, its answer's stream included, when the client
goes away: handlers need no code for that but `async with aclosing(...)` around what they iterate.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from starlette.requests import Request
from starlette.responses import Response

from slmctl.app.api_keys import Scope
from slmctl.server.limit import Limit
from slmctl.server.problems import Family
from slmctl.server.reading import LONG_BYTES, read_json

if TYPE_CHECKING:
    from slmctl.server.state import ServerState


@dataclass(slots=True)
class Told:
    """What the log and the metrics say of a request; handlers fill in what they know.

    `model` must be the name of a model that exists (it becomes a label). Durations are in seconds.
    """

    model: str | None = None
    digest: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    queue_seconds: float | None = None
    load_seconds: float | None = None
    first_token_seconds: float | None = None
    generation_seconds: float | None = None
    error_code: str | None = None
    cut_tokens: int | None = None


@dataclass(slots=True, kw_only=True)
class Call:
    """A request that was let in. `principal` is the id of its key, None where no key is needed.

    `headers` are sent with the answer, in whatever form that comes.
    """

    state: ServerState
    request: Request
    endpoint: Endpoint
    request_id: str
    principal: str | None = None
    scopes: frozenset[Scope] = frozenset(("infer", "read", "manage"))
    limit: Limit | None = None
    """What ends the answer when its time is over; a stream is written inside it."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    told: Told = dataclasses.field(default_factory=Told)

    @property
    def family(self) -> Family:
        return self.endpoint.family

    async def json(self) -> Mapping[str, object]:
        """The body as a JSON object, whatever its Content-Type says.

        Raises UsageError for what is none, TooLarge for what is longer or deeper than is let in.
        """
        body = await self.request.body()
        if len(body) < LONG_BYTES:
            return read_json(body, self.family)
        return await asyncio.to_thread(read_json, body, self.family)


Handler = Callable[[Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One line of the table of what is served.

    `path` is Starlette's, `scope` what a key needs (None: everybody may, with no key, too), `family` how
    errors are told, `label` the endpoint's name in metrics and in the OpenAPI document. `reads_body` is False
    where the handler reads a long body by itself (`call.request.stream()`): the limit on the size of requests
    is then its own affair. `media_type` is what the answer is where that is no JSON, `successes` the statuses
    that are no error. What `takes_long` (a transfer) has no limit in time.
    """

    method: Literal["GET", "POST", "DELETE", "HEAD"]
    path: str
    handler: Handler
    scope: Scope | None
    family: Family
    label: str
    about: str
    reads_body: bool = True
    request_schema: Mapping[str, object] | None = None
    response_schema: Mapping[str, object] | None = None
    streams: Literal["ndjson", "sse"] | None = None
    media_type: str | None = None
    successes: tuple[int, ...] = (200,)
    takes_long: bool = False
