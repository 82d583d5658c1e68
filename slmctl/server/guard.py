"""What stands around every handler: who is let in, how much may come, how long it may take, what is told.

    request id -> name of the host -> origin -> is it known? -> key -> scope -> draining? -> size -> handler

Everything is decided on `scope["path"]` by the table of endpoints; what stands in no table is not served.
"""

from __future__ import annotations

import asyncio
import functools
import time

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from registry.errors import SlmctlError, UsageError
from slmctl.server.call import Call
from slmctl.server.heads import (
    check_form,
    check_head,
    endpoint_of,
    preflight,
    request_id,
    standing_headers,
    trace_id,
)
from slmctl.server.hosts import Hosts, Peer
from slmctl.server.incoming import Incoming, Room
from slmctl.server.keys import Principal, authorize
from slmctl.server.limit import Limit
from slmctl.server.outgoing import Outgoing
from slmctl.server.problems import Busy, KeyMissing, Problem, WrongMethod
from slmctl.server.routes import Found, Routes, is_clean
from slmctl.server.state import ServerState
from slmctl.server.streams import json_bytes

MOST_BODIES = 8
"""How many bodies of the greatest length may be held at once; shorter ones are more."""

GONE = 499
"""The status in log and metrics of an answer whose client went away, as nginx has it."""

_NOT_REJECTED = frozenset({404, 405})
_DRAIN_SECONDS = 5


class Guard:
    """The application: one for each server."""

    def __init__(self, state: ServerState, routes: Routes) -> None:
        """Raises UsageError for settings that will not do."""
        self._state = state
        self._routes = routes
        self._hosts = Hosts(state.serve)
        self._room = Room(MOST_BODIES * state.serve.max_request_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await _live(receive, send)
            case _:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        headers = Headers(scope=scope)
        found = self._routes.find(scope)
        endpoint = endpoint_of(found, scope["path"])
        scope["path_params"] = dict(found.parameters) if found is not None else {}
        incoming = Incoming(
            receive,
            headers,
            most_bytes=self._state.serve.max_request_bytes if endpoint.reads_body else None,
            room=self._room if endpoint.reads_body else None,
            wait_seconds=self._state.serve.header_seconds,
        )
        call = Call(
            state=self._state,
            request=Request(scope, incoming.receive),
            endpoint=endpoint,
            request_id=request_id(headers),
            limit=Limit(None if endpoint.takes_long else self._state.serve.request_seconds),
        )
        out = Outgoing(send, incoming, standing_headers(call))
        visit = _Visit(self._state, self._hosts, call, found, headers, incoming, out)
        self._state.metrics.begun()
        try:
            await visit.run()
        finally:
            incoming.close()
            visit.tell(time.monotonic() - began)


class _Visit:
    """One request."""

    def __init__(
        self,
        state: ServerState,
        hosts: Hosts,
        call: Call,
        found: Found | None,
        headers: Headers,
        incoming: Incoming,
        out: Outgoing,
    ) -> None:
        self._state = state
        self._hosts = hosts
        self._call = call
        self._found = found
        self._headers = headers
        self._incoming = incoming
        self._out = out
        self._peer: Peer | None = None
        self._reason: str | None = None

    async def run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._answer(task)
        except asyncio.CancelledError:
            task.uncancel()
            if not self._incoming.is_gone:  # the server ends, and this one has not ended when it was cut
                self._out.closes = True
                await self._fail(Busy("The server ends.", retry_after_seconds=_DRAIN_SECONDS))
        except ClientDisconnect:
            pass
        except (SlmctlError, Exception) as error:  # noqa: BLE001 - the last line of defence
            await self._fail(error)

    async def _fail(self, error: BaseException) -> None:
        problem = self._state.log.failure(self._call, error)
        self._reason = problem.code
        if not self._out.status:  # else it is too late to tell: the connection is closed in the middle
            await self._send(self._told(problem))

    async def _answer(self, task: asyncio.Task[object]) -> None:
        early = self._let_in()
        if early is not None:
            await self._send(early)
            return
        call = self._call
        assert call.limit is not None
        counted = call.endpoint.scope is not None and call.endpoint.path != "/metrics"
        if counted:  # from here on: whoever was let in is answered, however long its body takes to come
            self._state.running.add(call.limit)
        try:
            if call.endpoint.reads_body:
                async with call.limit:
                    await self._read_body()
            self._incoming.when_gone(functools.partial(self._leave, task))
            async with call.limit:
                response = await call.endpoint.handler(call)
            await self._send(response)
        finally:
            if counted:
                self._state.running.discard(call.limit)

    async def _read_body(self) -> None:
        call = self._call
        body = await self._incoming.whole()
        call.request._body = body  # noqa: SLF001 - where Starlette keeps it
        if call.endpoint.scope == "infer":
            self._state.log.prompt(call, body)

    def _leave(self, task: asyncio.Task[object]) -> None:
        """The client has gone: so does what answers it."""
        if not self._out.is_whole:
            task.cancel()

    async def _send(self, response: Response) -> None:
        self._out.headers.update(self._call.headers)
        await response(self._call.request.scope, self._incoming.receive, self._out.send)

    def _let_in(self) -> Response | None:
        """Raise for what is not let in; an answer for what needs no handler."""
        call, headers, method = self._call, self._headers, self._call.request.method
        self._out.closes = True  # who cannot be understood is not listened to any longer
        check_head(call.request.scope, headers, self._state.serve.max_header_bytes)
        self._out.closes = False
        self._peer = self._hosts.check_host(call.request.scope, headers)
        origin = self._hosts.check_origin(method, headers, self._peer)
        if origin is not None:
            self._out.headers.update({"access-control-allow-origin": origin, "vary": "Origin"})
            self._out.headers["access-control-expose-headers"] = "x-request-id, x-slmctl-digest"
        if self._found is None:
            if not is_clean(call.request.scope["path"]):
                raise UsageError("The request's path is no path of this server.")
            return PlainTextResponse("404 page not found", status_code=404)
        if method == "OPTIONS" and "access-control-request-method" in headers and origin is not None:
            return preflight(self._found, headers)
        self._authorize()
        if self._found.endpoint is None:
            self._out.headers["allow"] = self._found.allow
            raise WrongMethod(f"{method:.20} is not possible here, but {self._found.allow}.")
        if self._state.draining and call.endpoint.scope is not None and call.endpoint.path != "/metrics":
            self._out.closes = True
            raise Busy("The server is about to end.", retry_after_seconds=_DRAIN_SECONDS)
        check_form(headers)
        self._incoming.check_length()
        return None

    def _authorize(self) -> None:
        call = self._call
        if call.endpoint.scope is None:
            return
        try:
            principal = self._principal()
        except KeyMissing:
            self._out.headers["www-authenticate"] = 'Bearer realm="slmctl"'
            raise
        call.principal, call.scopes = principal.id, principal.scopes
        if self._found is not None and self._found.endpoint is not None:
            authorize(principal, call.endpoint.scope)

    def _principal(self) -> Principal:
        return self._state.keys.principal(self._headers, self._state.local_token)

    def _told(self, problem: Problem) -> Response:
        """An error in the words of its API."""
        family = self._call.family
        headers = {**problem.headers}
        if family == "plain":
            return PlainTextResponse(problem.message, status_code=problem.status, headers=headers)
        body = json_bytes(problem.body(family, self._call.request_id))
        return Response(body, status_code=problem.status, media_type="application/json", headers=headers)

    def tell(self, seconds: float) -> None:
        """Count and log the request."""
        call, told = self._call, self._call.told
        gone = self._incoming.is_gone and not self._out.is_whole
        code = GONE if gone else self._out.status
        endpoint = call.endpoint.path if self._found is not None else "unknown"
        self._state.metrics.ended(told, endpoint=endpoint, code=code, seconds=seconds)
        if self._reason is not None and code >= 400 and code not in _NOT_REJECTED:
            self._state.metrics.rejected(self._reason)
        if endpoint in {"/livez", "/readyz"} or (endpoint == "/metrics" and code < 400):
            return
        if code == 401 and not self._state.log.may_tell("unauthorized"):
            return
        self._state.log.request(
            call,
            code=code,
            seconds=seconds,
            client=self._peer.client if self._peer is not None else None,
            trace_id=trace_id(self._headers),
            path=call.endpoint.path if self._found is not None else None,
        )


async def _live(receive: Receive, send: Send) -> None:
    """What happens at start and end belongs to whoever runs the server."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
