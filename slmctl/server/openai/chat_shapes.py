"""Answers of /v1/chat/completions: the whole object, and the chunks of a stream.

A chunk is written for each token, so what is the same in all of them is made once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring, encode_basestring_ascii

from runtimes.protocol import Finished, TextDelta, ThinkingDelta, TokenLogprob, ToolCallDelta
from slmctl.server.answering import AnswerEvent
from slmctl.server.openai.answers import Gathered
from slmctl.server.streams import event, json_bytes


def quoted(text: str) -> bytes:
    """A text in JSON. A lone surrogate, which engines write for half a character, is escaped."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError:
        return encode_basestring_ascii(text).encode()


class ChunkWriter:
    """Writes the server-sent events of one answer of a stream; `common` stands in each of them."""

    def __init__(
        self, common: Mapping[str, object], index: int, *, includes_usage: bool, top_logprobs: int
    ) -> None:
        head = json_bytes({**common, "object": "chat.completion.chunk"})
        self._head = b"data: " + head[:-1] + b',"choices":[{"index":' + str(index).encode() + b',"delta":'
        self._end = b"}]" + (b',"usage":null' if includes_usage else b"") + b"}\n\n"
        self._top_logprobs = top_logprobs
        self._tail = b',"logprobs":null,"finish_reason":null' + self._end

    def role(self) -> bytes:
        """The first chunk."""
        return self._head + b'{"role":"assistant","content":""}' + self._tail

    def of(self, each: AnswerEvent) -> bytes:
        """The chunk for an event; nothing for one that OpenAI's clients are not told."""
        match each:
            case TextDelta(text=text, logprobs=logprobs):
                delta = b'{"content":' + quoted(text) + b"}"
            case ThinkingDelta(text=text, logprobs=logprobs):
                shown = quoted(text)  # DeepSeek's name for it, and Ollama's
                delta = b'{"reasoning_content":' + shown + b',"reasoning":' + shown + b"}"
            case ToolCallDelta():
                return self._head + json_bytes({"tool_calls": [_call_piece(each)]}) + self._tail
            case Finished():
                reason = each.reason.encode()
                return self._head + b'{},"logprobs":null,"finish_reason":"' + reason + b'"' + self._end
            case _:
                return b""
        if not logprobs:
            return self._head + delta + self._tail
        told = (
            b',"logprobs":' + json_bytes(logprobs_of(logprobs, self._top_logprobs)) + b',"finish_reason":null'
        )
        return self._head + delta + told + self._end


def usage_chunk(common: Mapping[str, object], usage: Mapping[str, object]) -> bytes:
    """The last chunk where the client wants to know."""
    return event({**common, "object": "chat.completion.chunk", "choices": [], "usage": usage})


def choice_of(index: int, answer: Gathered, top_logprobs: int | None) -> Mapping[str, object]:
    """One of the whole object's choices; `top_logprobs` None tells no probabilities."""
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for _, call in sorted(answer.calls.items())
    ]
    message: dict[str, object] = {
        "role": "assistant",
        "content": answer.text if answer.text or not calls else None,
        "refusal": None,
    }
    if thoughts := "".join(answer.thoughts):
        message |= {"reasoning_content": thoughts, "reasoning": thoughts}
    if calls:
        message["tool_calls"] = calls
    return {
        "index": index,
        "message": message,
        "logprobs": None if top_logprobs is None else logprobs_of(answer.logprobs, top_logprobs),
        "finish_reason": answer.finished.reason,
    }


def logprobs_of(logprobs: Sequence[TokenLogprob], most: int = 20) -> Mapping[str, object]:
    """OpenAI's `logprobs`: each token with the `most` likeliest in its place (engines tell one at least)."""
    return {
        "content": [
            {**_token(each), "top_logprobs": [_token(other) for other in each.top[:most]]}
            for each in logprobs
        ],
        "refusal": None,
    }


def _token(each: TokenLogprob) -> Mapping[str, object]:
    return {
        "token": each.token,
        "logprob": each.logprob,
        "bytes": None if each.data is None else list(each.data),
    }


def _call_piece(each: ToolCallDelta) -> Mapping[str, object]:
    function: dict[str, object] = {"arguments": each.arguments}
    if each.name is not None:
        function = {"name": each.name, **function}
    piece: dict[str, object] = {"index": each.index}
    if each.id is not None:
        piece |= {"id": each.id, "type": "function"}
    return {**piece, "function": function}
