"""What is here: /, /api/version, /api/status, /api/tags, /api/ps"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from starlette.responses import PlainTextResponse, Response

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.names import parse_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from slmctl import __version__
from slmctl.app.about_model import capabilities_in_order, details_of
from slmctl.app.ollama import OLLAMA_VERSION
from slmctl.app.package import Package
from slmctl.server.call import Call
from slmctl.server.ollama.writing import FOREVER, moment
from slmctl.server.scheduler import InstanceStatus
from slmctl.server.streams import answer

_LONG_AGO = "0001-01-01T00:00:00Z"
"""Go's zero time: what is said of a name whose time nobody noted."""


async def root(call: Call) -> Response:
    """What clients look for to see whether anybody is there."""
    return PlainTextResponse("Ollama is running", headers=call.headers)


async def version(call: Call) -> Response:
    return answer(call, {"version": OLLAMA_VERSION, "slmctl": __version__})


async def status(call: Call) -> Response:
    """There are no models in a cloud here."""
    return answer(call, {"cloud": {"disabled": True, "source": "slmctl"}})


async def tags(call: Call) -> Response:
    """The models that are here, the newest first."""
    return answer(call, {"models": await asyncio.to_thread(_models, call.state.reader)})


async def ps(call: Call) -> Response:
    """The models that are loaded, or about to be."""
    rows = [row for row in call.state.scheduler.status() if row.state != "broken"]
    about = await asyncio.to_thread(_details_by_row, call.state.reader, rows)
    now, usual = datetime.now(UTC), call.state.serve.keep_seconds
    return answer(call, {"models": [_running(row, about[n], now, usual) for n, row in enumerate(rows)]})


def _models(reader: StoreReader) -> list[dict[str, object]]:
    """What Ollama lists of each model that can be read."""
    found = []
    for entry in reader.names().entries.values():
        with suppress(SlmctlError):  # a damaged one is told by 'slmctl list' and 'slmctl verify'
            found.append(_listed(reader, entry))
    return sorted(found, key=lambda model: str(model["modified_at"]), reverse=True)


def _listed(reader: StoreReader, entry: Entry) -> dict[str, object]:
    digest = entry.descriptor.digest
    if (known := _KNOWN.get(digest)) is None:
        package = Package.of(reader, entry)
        variant = package.choose(None)
        known = {
            "size": package.size if len(package.variants) == 1 else variant.size,
            "digest": digest.hex,
            "details": details_of(variant),
            "capabilities": capabilities_in_order(reader, variant),
        }
        if all(each.local for each in package.variants):  # else which one is usual may change
            while len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.pop(next(iter(_KNOWN)), None)
            _KNOWN[digest] = known
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": entry.linked or _LONG_AGO,
        **known,
    }


_MOST_KNOWN = 4096
_KNOWN: dict[Digest, dict[str, object]] = {}
"""What is listed of models, by the digest of the manifest: what a digest names does not change."""


def _details_by_row(reader: StoreReader, rows: Iterable[InstanceStatus]) -> list[dict[str, object]]:
    """The details of what each row runs; none where the name means something else by now."""
    found: list[dict[str, object]] = []
    for row in rows:
        details: dict[str, object] = {}
        with suppress(SlmctlError):
            package = Package.open(reader, parse_name(row.name))
            details = details_of(next(each for each in package.variants if each.id == row.variant))
        found.append(details)
    return found


def _running(
    row: InstanceStatus, details: dict[str, object], now: datetime, usual_seconds: float
) -> dict[str, object]:
    return {
        "name": row.name,
        "model": row.name,
        "size": row.size_bytes,
        "digest": row.digest.removeprefix("sha256:"),
        "details": details,
        "expires_at": moment(now + _left(row, usual_seconds)),
        "size_vram": row.vram_bytes,
        "context_length": row.context_length,
        # ours:
        "variant": row.variant,
        "purpose": row.purpose,
        "engine": row.engine,
        "state": row.state,
        "parallel": row.parallel,
        "running": row.running,
        "waiting": row.waiting,
        "pinned": row.pinned,
        "seconds_left": row.seconds_left,
    }


def _left(row: InstanceStatus, usual_seconds: float) -> timedelta:
    """How long it stays. What is in use stays for as long as it is usual after that."""
    seconds = row.seconds_left
    if seconds is None and (row.running or row.state == "loading"):
        seconds = usual_seconds
    if seconds is None or math.isinf(seconds) or seconds > FOREVER.total_seconds():
        return FOREVER
    return timedelta(seconds=max(0.0, seconds))
