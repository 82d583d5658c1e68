"""The lines of an answer: what generate and chat make of the events of an answer, and their last line."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from runtimes.errors import EngineSpokeNonsense
from runtimes.protocol import Finished, TextDelta, ThinkingDelta, TokenLogprob, ToolCallDelta
from slmctl.server.answering import AnswerEvent, Cut
from slmctl.server.ollama.writing import nanoseconds, now, without_empty

Line = dict[str, object]


class Talk:
    """One answer on its way to the client. `started` is when the request began, on the monotonic clock."""

    def __init__(self, model: str, started: float) -> None:
        self.model = model
        self._started = started
        self._loaded = started
        self.cut: Cut | None = None
        self.said: list[str] = []
        self.finished: Finished | None = None

    def loaded(self) -> None:
        """The model is there: what comes now is the answer."""
        self._loaded = time.monotonic()

    async def pieces(self, events: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[Line]:
        """What each event adds: response, thinking, tool_calls, logprobs. Tool calls come whole."""
        calls: dict[int, list[ToolCallDelta]] = {}
        async with aclosing(events):
            async for event in events:
                match event:
                    case TextDelta():
                        self.said.append(event.text)
                        piece: Line = {"content": event.text}
                        if event.logprobs:
                            piece["logprobs"] = [_logprob(each) for each in event.logprobs]
                        yield piece
                    case ThinkingDelta():
                        yield {"content": "", "thinking": event.text}
                    case ToolCallDelta():
                        calls.setdefault(event.index, []).append(event)
                    case Cut():
                        self.cut = event
                    case Finished():
                        self.finished = event
        if calls:
            yield {"content": "", "tool_calls": [_tool_call(index, calls[index]) for index in sorted(calls)]}

    def head(self) -> Line:
        return {"model": self.model, "created_at": now()}

    def end(self) -> Line:
        """The fields of the last line: why it ended, counts and durations; and what was left out."""
        end = self.finished or Finished(reason="stop")
        done: Line = {"done": True, "done_reason": "length" if end.reason == "length" else "stop"}
        if self.cut is not None:
            done["truncated"] = {"messages": self.cut.messages, "tokens": self.cut.tokens}
        return done | without_empty(
            {
                "total_duration": nanoseconds(time.monotonic() - self._started),
                "load_duration": nanoseconds(self._loaded - self._started),
                "prompt_eval_count": end.prompt_tokens,
                "prompt_eval_duration": nanoseconds(end.prompt_seconds),
                "eval_count": end.generated_tokens,
                "eval_duration": nanoseconds(end.generation_seconds),
            }
        )


def _logprob(of: TokenLogprob) -> Line:
    said = _alternative(of)
    if of.top:
        said["top_logprobs"] = [_alternative(each) for each in of.top]
    return said


def _alternative(of: TokenLogprob) -> Line:
    data = of.token.encode(errors="surrogatepass") if of.data is None else of.data
    return {"token": of.token, "logprob": of.logprob, "bytes": list(data)}


def _tool_call(index: int, pieces: list[ToolCallDelta]) -> Mapping[str, object]:
    """A call whose pieces are all here. Raises EngineSpokeNonsense where its arguments are no JSON object."""
    name = next((piece.name for piece in pieces if piece.name), "")
    text = "".join(piece.arguments for piece in pieces)
    try:
        arguments = json.loads(text or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise EngineSpokeNonsense("The model called a tool with arguments that are no JSON object.")
    call = next((piece.id for piece in pieces if piece.id), None)
    said: Line = {"function": {"index": index, "name": name, "arguments": arguments}}
    return said if call is None else {"id": call, **said}
