"""POST /api/pull and /api/push"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from starlette.responses import Response

from registry.errors import InvalidReference, NameTaken, NotFound, UsageError
from registry.names import ModelRef, Source, parse, parse_name
from runtimes.planning.values import PlanRequest
from slmctl.app.chooser import Chooser
from slmctl.app.clock import now
from slmctl.app.events import Event, Note, Progress, Transfer
from slmctl.app.finding import find_package
from slmctl.app.network import Network
from slmctl.app.places import Places
from slmctl.app.planning.picking import Picker
from slmctl.app.planning.planner import Planner
from slmctl.app.pull import pull as pull_model
from slmctl.app.pulls import by_name
from slmctl.app.push import PushRequest, destination_of
from slmctl.app.push import push as push_model
from slmctl.app.ships import is_shipped
from slmctl.server.call import Call
from slmctl.server.jobs import Job, Teller
from slmctl.server.ollama.fields import Fields, model_name
from slmctl.server.ollama.names import not_found
from slmctl.server.ollama.writing import without_empty
from slmctl.server.state import ServerState
from slmctl.server.streams import answer, line, ndjson

Line = dict[str, object]

FORCE_HINT = 'Send "force": true to replace it, or choose another name.'


async def pull(call: Call) -> Response:
    """Fetch a model by its name, as `slmctl pull` does. What was fetched before a failure stays."""
    fields = Fields(await call.json())
    ref = pullable(model_name(fields))
    insecure, force = fields.flag("insecure"), fields.flag("force")
    call.state.log.note(call, f"Pulls {str(ref)!r:.120}.")

    lines = finished(pulled(call.state, ref, plain_http=insecure, force=force))
    return await progress_answer(call, lines, stream=fields.flag("stream", default=True))


def pulled(
    state: ServerState, ref: ModelRef, *, plain_http: bool = False, force: bool = False
) -> AsyncGenerator[Line]:
    """The status lines of a pull, without "success"."""

    def work(on_event: Teller) -> None:
        _pull(state, ref, on_event, plain_http=plain_http, force=force)

    return progress(
        work, begins="pulling manifest", verb="pulling", ends=("verifying sha256 digest", "writing manifest")
    )


async def push(call: Call) -> Response:
    """Send a model to the registry that its name says."""
    fields = Fields(await call.json())
    name = model_name(fields)
    insecure = fields.flag("insecure")
    try:
        ref = parse_name(name)
        destination = destination_of(ref.full_name, None)
        find_package(call.state.reader, ref)
    except (NotFound, InvalidReference) as error:
        raise not_found(call.state, name, error) from None
    call.state.log.note(call, f"Pushes {name!r:.120}.")

    def work(on_event: Teller) -> None:
        state = call.state
        with Network(state.settings.network, plain_http=insecure) as network:
            request = PushRequest(
                entry=state.reader.resolve(ref),
                destination=destination,
                pace=network.settings.pace,
            )
            places = Places(network, on_event)
            push_model(state.store, state.reader, places, request, now=now(), on_event=on_event)

    lines = finished(progress(work, begins="retrieving manifest", verb="pushing", ends=("pushing manifest",)))
    return await progress_answer(call, lines, stream=fields.flag("stream", default=True))


def pullable(name: str) -> ModelRef:
    """What a client may pull: all that has a place in a network. Raises UsageError."""
    try:
        ref = parse(name)
    except InvalidReference as error:
        raise UsageError("invalid model name", hint=error.message) from None
    if ref.source is Source.FILE:
        raise UsageError("invalid model name", hint="The server pulls nothing from its own disk.")
    return ref


def _pull(state: ServerState, ref: ModelRef, on_event: Teller, *, plain_http: bool, force: bool) -> None:
    if is_shipped(ref):
        find_package(state.reader, ref, on_event)  # it is here, and nobody has to be asked
        return
    with Network(state.settings.network, plain_http=plain_http) as network:
        plan = PlanRequest(context=state.settings.context_length)
        chooser = Chooser(lambda: Picker(Planner(state.settings), plan, on_event))
        try:
            request = by_name(
                state.store, ref, search=network.settings.search, force=force, sized=chooser.size
            )
            request = replace(request, pace=network.settings.pace, picker=chooser, on_tick=on_event.check)
            told = state.metrics.counting(on_event)
            pull_model(state.store, Places(network, on_event), request, now=now(), on_event=told)
        except NotFound as error:
            raise NotFound("pull model manifest: file does not exist.", hint=error.message) from None
        except NameTaken as error:
            raise NameTaken(error.message, hint=FORCE_HINT) from None


async def progress(
    work: Callable[[Teller], object], *, begins: str, verb: str, ends: tuple[str, ...]
) -> AsyncGenerator[Line]:
    """The status lines of a job, without "success"."""
    yield {"status": begins}
    job = Job(work, name=f"slmctl-{verb}")
    async with aclosing(job.events()) as events:
        async for event in events:
            if (said := _line(event, verb)) is not None:
                yield said
    for text in ends:
        yield {"status": text}


async def finished(*jobs: AsyncGenerator[Line]) -> AsyncGenerator[Line]:
    """The status lines of jobs that follow each other, and "success" at their end."""
    async with AsyncExitStack() as stack:
        for job in jobs:
            await stack.enter_async_context(aclosing(job))
        for job in jobs:
            async for each in job:
                yield each
    yield {"status": "success"}


async def progress_answer(call: Call, lines: AsyncGenerator[Line], *, stream: bool) -> Response:
    """The status lines as a stream, or the last of them alone."""

    async def written() -> AsyncGenerator[bytes]:
        async with aclosing(lines):
            async for each in lines:
                yield line(each)

    if stream:
        return await ndjson(call, written())
    last: Line = {}
    async with aclosing(lines):
        async for each in lines:
            last = each
    return answer(call, last)


def _line(event: Event, verb: str) -> Line | None:
    match event:
        case Transfer():
            short = event.digest.short if event.digest is not None else event.item
            sizes = {
                "digest": str(event.digest or ""),
                "total": event.total,
                "completed": event.done,
            }
            return {"status": f"{verb} {short}"} | without_empty(sizes)
        case Progress():
            counts = without_empty({"total": event.total, "completed": event.done})
            return {"status": f"{event.stage} {event.item}"} | counts
        case Note():
            return {"status": event.text}
        case _:
            return None
