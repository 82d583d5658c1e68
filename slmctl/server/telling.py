"""What each request tells the log, the metrics and its client of the model that answered it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from runtimes.protocol import Finished, TextDelta, ThinkingDelta, ToolCallDelta
from slmctl.server.answering import AnswerEvent, Cut
from slmctl.server.call import Call
from slmctl.server.scheduler import Served

DIGEST_HEADER = "x-slmctl-digest"
TRUNCATED_HEADER = "x-slmctl-truncated"
"""How many tokens of the prompt were left out."""


def begin(call: Call, served: Served) -> None:
    """Note which model answers, and name its digest in the answer's headers."""
    call.told.model = served.name
    call.told.digest = str(served.about.digest)
    call.told.queue_seconds = served.queue_seconds
    call.told.load_seconds = served.load_seconds
    call.headers[DIGEST_HEADER] = str(served.about.digest)


async def told(call: Call, events: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[AnswerEvent]:
    """The same events; what they say of tokens and times is noted on the way. Several answers to one request
    (`n`) add up."""
    note = call.told
    started = time.monotonic()
    async with aclosing(events):
        async for event in events:
            match event:
                case TextDelta() | ThinkingDelta() | ToolCallDelta():
                    if note.first_token_seconds is None:
                        note.first_token_seconds = time.monotonic() - started
                case Finished():
                    note.generation_seconds = time.monotonic() - started
                    note.finish_reason = event.reason
                    note.prompt_tokens = (note.prompt_tokens or 0) + (event.prompt_tokens or 0)
                    note.cached_tokens = (note.cached_tokens or 0) + (event.cached_tokens or 0)
                    note.generated_tokens = (note.generated_tokens or 0) + (event.generated_tokens or 0)
                case Cut():
                    note.cut_tokens = (note.cut_tokens or 0) + event.tokens
                    call.headers[TRUNCATED_HEADER] = str(note.cut_tokens)
            yield event
