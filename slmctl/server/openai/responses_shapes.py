"""Answers of /v1/responses: the whole object, and the events of a stream."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runtimes.protocol import Finished, TokenLogprob
from slmctl.server.blocks import Began, Block, Change, Ended, Grew
from slmctl.server.openai.answers import created_now
from slmctl.server.openai.chat_shapes import logprobs_of
from slmctl.server.openai.responses_request import ResponseRequest
from slmctl.server.parsing import Fields
from slmctl.server.problems import Problem
from slmctl.server.streams import event

JsonObject = Mapping[str, object]


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(16)}"


@dataclass(slots=True)
class Shape:
    """The shapes of one response. `thoughts_tokens` counts up to the last thought, None while unknown."""

    request: ResponseRequest
    id: str = field(default_factory=lambda: new_id("resp"))
    created_at: int = field(default_factory=created_now)
    thoughts_tokens: int | None = None
    _ids: dict[int, str] = field(default_factory=dict)

    @property
    def as_summary(self) -> bool:
        """Whether thoughts are told as a summary."""
        wanted = self.request.reasoning
        return wanted is not None and (wanted.summary or wanted.generate_summary) is not None

    def response(
        self,
        status: str,
        blocks: Sequence[Block] = (),
        finished: Finished | None = None,
        error: JsonObject | None = None,
    ) -> JsonObject:
        """The response object. `status` is its own: in_progress, completed, incomplete or failed."""
        asked = self.request
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "completed_at": created_now() if status == "completed" else None,
            "error": error,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": asked.model,
            "output": [self.item(block, _status(block, blocks, status)) for block in blocks],
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": _dumped(asked.reasoning) or {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "temperature": asked.temperature,
            "text": _dumped(asked.text) or {"format": {"type": "text"}},
            "tool_choice": _dumped(asked.tool_choice) or "auto",
            "tools": [_dumped(tool) for tool in asked.tools or ()],
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": asked.top_p,
            "truncation": asked.truncation or "disabled",
            "usage": self._usage(finished) if finished is not None else None,
        }

    def _usage(self, finished: Finished) -> JsonObject:
        prompt, generated = finished.prompt_tokens or 0, finished.generated_tokens or 0
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": finished.cached_tokens or 0, "cache_write_tokens": 0},
            "output_tokens": generated,
            "output_tokens_details": {"reasoning_tokens": self.thoughts_tokens or 0},
            "total_tokens": prompt + generated,
        }

    def item(self, block: Block, status: str) -> JsonObject:
        """One item of the output; while it is in progress it has nothing in it."""
        is_begun = status == "in_progress"
        match block.kind:
            case "call":
                block.call_id = block.call_id or new_id("call")
                return {
                    "id": self.id_of(block),
                    "type": "function_call",
                    "status": status,
                    "call_id": block.call_id,
                    "name": block.name,
                    "arguments": "" if is_begun else block.text,
                }
            case "thinking":
                parts = [] if is_begun else [self.part(block)]
                return {
                    "id": self.id_of(block),
                    "type": "reasoning",
                    "status": status,
                    "summary": parts if self.as_summary else [],
                    "content": [] if self.as_summary else parts,
                    "encrypted_content": None,
                }
            case "text":
                return {
                    "id": self.id_of(block),
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": [] if is_begun else [self.part(block)],
                }

    def part(self, block: Block, *, is_empty: bool = False) -> JsonObject:
        """The one part of a message or of thoughts."""
        text = "" if is_empty else block.text
        if block.kind == "thinking":
            return {"type": "summary_text" if self.as_summary else "reasoning_text", "text": text}
        logprobs = [] if is_empty else _logprobs(block.logprobs)
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def id_of(self, block: Block) -> str:
        prefix = {"call": "fc", "thinking": "rs", "text": "msg"}[block.kind]
        return self._ids.setdefault(block.index, new_id(prefix))


@dataclass(slots=True)
class EventWriter:
    """Writes the stream's events, each with its number."""

    shape: Shape
    _number: int = 0

    def begins(self) -> Iterator[bytes]:
        yield self._sent("response.created", response=self.shape.response("in_progress"))
        yield self._sent("response.in_progress", response=self.shape.response("in_progress"))

    def ends(self, blocks: Sequence[Block], finished: Finished) -> bytes:
        status = status_of(finished)
        return self._sent(f"response.{status}", response=self.shape.response(status, blocks, finished))

    def fails(self, blocks: Sequence[Block], problem: Problem) -> list[bytes]:
        code = "invalid_prompt" if problem.status < 500 else "server_error"
        error = {"code": code, "message": problem.message}
        return [self._sent("response.failed", response=self.shape.response("failed", blocks, error=error))]

    def of(self, change: Change, *, is_cut: bool = False) -> Iterator[bytes]:
        """`is_cut`: whether the limit of tokens ended what ends here."""
        match change:
            case Grew():
                yield self._grew(change)
            case Began(block=block):
                yield from self._began(block)
            case Ended(block=block):
                yield from self._ended(block, "incomplete" if is_cut else "completed")

    def _began(self, block: Block) -> Iterator[bytes]:
        item = self.shape.item(block, "in_progress")
        yield self._sent("response.output_item.added", output_index=block.index, item=item)
        if block.kind != "call":
            part = self.shape.part(block, is_empty=True)
            yield self._sent(self._part_name(block, "added"), **self._place(block), part=part)

    def _grew(self, change: Grew) -> bytes:
        block = change.block
        more = {"logprobs": _logprobs(change.logprobs)} if block.kind == "text" else {}
        return self._sent(f"{self._name(block)}.delta", **self._place(block), delta=change.piece, **more)

    def _ended(self, block: Block, status: str) -> Iterator[bytes]:
        place = self._place(block)
        if block.kind == "call":
            told: dict[str, object] = {"name": block.name, "arguments": block.text}
        else:
            told = {"text": block.text}
            if block.kind == "text":
                told["logprobs"] = _logprobs(block.logprobs)
        yield self._sent(f"{self._name(block)}.done", **place, **told)
        if block.kind != "call":
            yield self._sent(self._part_name(block, "done"), **place, part=self.shape.part(block))
        item = self.shape.item(block, status)
        yield self._sent("response.output_item.done", output_index=block.index, item=item)

    def _place(self, block: Block) -> dict[str, object]:
        place: dict[str, object] = {"item_id": self.shape.id_of(block), "output_index": block.index}
        if block.kind != "call":
            place["summary_index" if self._is_summary(block) else "content_index"] = 0
        return place

    def _is_summary(self, block: Block) -> bool:
        return block.kind == "thinking" and self.shape.as_summary

    def _name(self, block: Block) -> str:
        if block.kind == "call":
            return "response.function_call_arguments"
        if block.kind == "text":
            return "response.output_text"
        return "response.reasoning_summary_text" if self.shape.as_summary else "response.reasoning_text"

    def _part_name(self, block: Block, what: str) -> str:
        return f"response.{'reasoning_summary' if self._is_summary(block) else 'content'}_part.{what}"

    def _sent(self, name: str, /, **fields: object) -> bytes:
        told = event({"type": name, "sequence_number": self._number, **fields}, name)
        self._number += 1
        return told


def status_of(finished: Finished) -> str:
    return "incomplete" if finished.reason == "length" else "completed"


def _status(block: Block, blocks: Sequence[Block], status: str) -> str:
    """Of an answer that was cut or broken off, its last item was."""
    return "incomplete" if status in ("incomplete", "failed") and block is blocks[-1] else "completed"


def _logprobs(logprobs: Sequence[TokenLogprob]) -> object:
    return logprobs_of(logprobs)["content"]


def _dumped(fields: Fields | str | None) -> object:
    """A part of the request as it was said."""
    return fields.model_dump(by_alias=True, exclude_none=True) if isinstance(fields, Fields) else fields
