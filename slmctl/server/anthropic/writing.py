"""The Messages API's answers: one message, or the events that build it up."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

from runtimes.protocol import Finished
from slmctl.server.blocks import Began, Block, Blocks, Change, Ended, Grew
from slmctl.server.problems import Problem
from slmctl.server.streams import event

JsonObject = Mapping[str, object]

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def whole(id_: str, model: str, blocks: Blocks, finished: Finished) -> JsonObject:
    """The answer as one message. A call that the limit of tokens cut off is left out."""
    kept = [block for block in blocks.all if finished.reason != "length" or block.is_whole]
    return _message(id_, model, [_block(block) for block in kept], finished)


def _message(id_: str, model: str, content: list[JsonObject], finished: Finished | None) -> JsonObject:
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None if finished is None else _stop_reason(finished),
        "stop_sequence": None if finished is None else finished.stopped_by,
        "usage": {**_usage(finished), "service_tier": "standard"},
    }


def _stop_reason(finished: Finished) -> str:
    return "stop_sequence" if finished.stopped_by is not None else STOP_REASONS[finished.reason]


def _usage(finished: Finished | None) -> JsonObject:
    """Anthropic counts what was read from the cache apart from `input_tokens`."""
    told = finished or Finished(reason="stop")
    cached = told.cached_tokens or 0
    return {
        "input_tokens": (told.prompt_tokens or 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": told.generated_tokens or 0,
    }


def _block(block: Block) -> JsonObject:
    match block.kind:
        case "call":
            return {**_begun(block), "input": block.arguments()}
        case "thinking":
            return {**_begun(block), "thinking": block.text}
        case "text":
            return {**_begun(block), "text": block.text}


def _begun(block: Block) -> JsonObject:
    """The block as a stream tells it at its beginning: still empty."""
    match block.kind:
        case "call":
            block.call_id = block.call_id or new_id("toolu")
            return {"type": "tool_use", "id": block.call_id, "name": block.name, "input": {}}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "text":
            return {"type": "text", "text": "", "citations": None}


def start_event(
    id_: str, model: str, prompt_tokens: int | None = None, cached_tokens: int | None = None
) -> bytes:
    """The stream's first event; it counts the prompt's tokens where the engine has told them by then."""
    known = Finished(reason="stop", prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)
    return _sent("message_start", message={**_message(id_, model, [], None), "usage": _usage(known)})


def change_event(change: Change) -> bytes:
    match change:
        case Began(block=block):
            return _sent("content_block_start", index=block.index, content_block=_begun(block))
        case Grew(block=block, piece=piece):
            kind, name = _DELTAS[block.kind]
            return _sent("content_block_delta", index=block.index, delta={"type": kind, name: piece})
        case Ended(block=block):
            return _sent("content_block_stop", index=block.index)


_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "call": ("input_json_delta", "partial_json"),
}


def end_events(finished: Finished) -> Iterator[bytes]:
    delta = {"stop_reason": _stop_reason(finished), "stop_sequence": finished.stopped_by}
    yield _sent("message_delta", delta=delta, usage=_usage(finished))
    yield _sent("message_stop")


def problem_events(problem: Problem, request_id: str) -> list[bytes]:
    """What ends a stream in which something went wrong."""
    return [event(problem.body("anthropic", request_id), "error")]


def _sent(name: str, /, **fields: object) -> bytes:
    return event({"type": name, **fields}, name)
