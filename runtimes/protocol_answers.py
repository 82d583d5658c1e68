"""Reading what a worker answers, in llama-server's HTTP."""

from __future__ import annotations

import abc
import base64
import binascii
import json
import re
import struct
from collections.abc import Iterator, Mapping
from typing import NoReturn

from runtimes.errors import TOO_LONG, EngineRefused, EngineSpokeNonsense
from runtimes.events import (
    Event,
    Finished,
    HttpRequest,
    Progress,
    StopReason,
    TextDelta,
    ThinkingDelta,
    TokenLogprob,
    ToolCallDelta,
)
from runtimes.protocol_requests import CHAT, COMPLETION, INFILL
from runtimes.sse import SseParser


def parse_health(status: int) -> bool:
    """Whether the model is loaded: 200; while it loads llama-server answers 503."""
    return status == 200


def parse_tokens(body: bytes) -> tuple[int, ...]:
    """The answer of /tokenize."""
    tokens = _object(body).get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise EngineSpokeNonsense("The engine's answer to /tokenize has no list of tokens.")
    return tuple(tokens)


def parse_text(body: bytes) -> str:
    """The answer of /detokenize."""
    text = _object(body).get("content")
    if not isinstance(text, str):
        raise EngineSpokeNonsense("The engine's answer to /detokenize has no text.")
    return text


def parse_embeddings(body: bytes) -> tuple[tuple[tuple[float, ...], ...], int]:
    """The vectors that /v1/embeddings gives, in the order of the inputs, and the tokens of all inputs."""
    answer = _object(body)
    rows = answer.get("data")
    found: dict[int, tuple[float, ...]] = {}
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and (index := _count(row, "index")) is not None:
            found[index] = _vector(row.get("embedding"))
    if not found or sorted(found) != list(range(len(found))):
        raise EngineSpokeNonsense("The engine's answer to /v1/embeddings has no list of vectors.")
    tokens = _count(_mapping(answer, "usage"), "prompt_tokens") or 0
    return tuple(found[index] for index in range(len(found))), tokens


def parse_scores(body: bytes) -> tuple[tuple[float, ...], int]:
    """The scores that /v1/rerank gives, in the order of the documents, and the tokens of all inputs."""
    answer = _object(body)
    rows = answer.get("results")
    found: dict[int, float] = {}
    for row in rows if isinstance(rows, list) else []:
        score = row.get("relevance_score") if isinstance(row, dict) else None
        index = _count(row, "index") if isinstance(row, dict) else None
        if index is not None and isinstance(score, int | float):
            found[index] = float(score)
    if not found or sorted(found) != list(range(len(found))):
        raise EngineSpokeNonsense("The engine's answer to /v1/rerank has no list of scores.")
    tokens = _count(_mapping(answer, "usage"), "prompt_tokens") or 0
    return tuple(found[index] for index in range(len(found))), tokens


def parse_prompt(body: bytes) -> str:
    """The answer of /apply-template."""
    prompt = _object(body).get("prompt")
    if not isinstance(prompt, str):
        raise EngineSpokeNonsense("The engine's answer to /apply-template has no prompt.")
    return prompt


def parse_count(body: bytes) -> int:
    """The answer to a `count_request`."""
    tokens = _count(_object(body), "input_tokens")
    if tokens is None:
        raise EngineSpokeNonsense("The engine's answer to a count of tokens has none.")
    return tokens


def raise_for_status(status: int, body: bytes) -> None:
    """Raise EngineRefused for every status but 200, with the engine's message where it gave one."""
    if status == 200:
        return
    try:
        error = _object(body).get("error")
    except EngineSpokeNonsense:
        error = None
    _refuse(error, status)


class StreamReader(abc.ABC):
    """Reads the body of one streamed answer: `feed` it, and `close` it at the end of the body.

    Both raise EngineRefused for an error inside the stream and EngineSpokeNonsense for a broken one. `close`
    raises when the last event has not come: whoever wrote the stream is dead.
    """

    def __init__(self) -> None:
        self._sse = SseParser()
        self._finished = False

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events in `piece`, to be taken to the last; those before an error come before it."""
        for message in self._sse.feed(piece):
            if self._finished:
                return
            for event in self._read(message.data):
                if type(event) is Finished:
                    self._finished = True
                yield event

    @property
    def finished(self) -> bool:
        return self._finished

    def close(self) -> None:
        if not self._finished:
            raise EngineSpokeNonsense("The engine's answer broke off before its end.")

    @abc.abstractmethod
    def _read(self, data: str) -> list[Event]:
        """The events in one line of data."""


class CompletionReader(StreamReader):
    """/completion: {"content", "stop": false} ... {"stop": true, "stop_type", "timings"}"""

    def _read(self, data: str) -> list[Event]:
        answer = _checked(data)
        text = _text(answer, "content")
        told = answer.get("completion_probabilities")
        logprobs = _written(told) if told else ()
        events: list[Event] = _progress(answer) if answer.get("stop") is not True else []
        if text or logprobs:
            events.append(TextDelta(text or "", logprobs))
        if answer.get("stop") is True:
            timings = _mapping(answer, "timings")
            stopped_by = _text(answer, "stopping_word") if answer.get("stop_type") == "word" else None
            events.append(
                Finished(
                    reason="length" if answer.get("stop_type") == "limit" else "stop",
                    stopped_by=stopped_by,
                    prompt_tokens=_count(answer, "tokens_evaluated"),
                    cached_tokens=_count(timings, "cache_n"),
                    generated_tokens=_count(answer, "tokens_predicted"),
                    prompt_seconds=_seconds(timings, "prompt_ms"),
                    generation_seconds=_seconds(timings, "predicted_ms"),
                )
            )
        return events


class ChatReader(StreamReader):
    """/v1/chat/completions: OpenAI's chunks, one with finish_reason, one with usage and timings, [DONE]"""

    def __init__(self) -> None:
        super().__init__()
        self._reason: StopReason | None = None
        self._usage: Mapping[str, object] = {}
        self._timings: Mapping[str, object] = {}

    def _read(self, data: str) -> list[Event]:
        if data == "[DONE]":
            return [self._finish()]
        chunk = _checked(data)
        self._usage = _mapping(chunk, "usage") or self._usage
        self._timings = _mapping(chunk, "timings") or self._timings
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices:
            return []
        choice = choices[0] if isinstance(choices[0], dict) else {}
        match choice.get("finish_reason"):
            case "stop" | "length" | "tool_calls" as reason:
                self._reason = reason
        told = choice.get("logprobs")
        logprobs = _written(told.get("content")) if isinstance(told, dict) else ()
        return _progress(chunk) + _delta_events(_mapping(choice, "delta"), logprobs)

    def _finish(self) -> Finished:
        if self._reason is None:
            raise EngineSpokeNonsense("The engine ended its answer without saying why.")
        return Finished(
            reason=self._reason,
            prompt_tokens=_count(self._usage, "prompt_tokens"),
            cached_tokens=_count(_mapping(self._usage, "prompt_tokens_details"), "cached_tokens"),
            generated_tokens=_count(self._usage, "completion_tokens"),
            prompt_seconds=_seconds(self._timings, "prompt_ms"),
            generation_seconds=_seconds(self._timings, "predicted_ms"),
        )


def reader_for(request: HttpRequest) -> StreamReader:
    """What reads the streamed answer to `request`."""
    return {COMPLETION: CompletionReader, INFILL: CompletionReader, CHAT: ChatReader}[request.path]()


def _progress(chunk: Mapping[str, object]) -> list[Event]:
    """What was asked for by `progress`; without it such a chunk has neither."""
    if prompt := _mapping(chunk, "prompt_progress"):
        cached = _count(prompt, "cache")
        return [Progress(prompt_tokens=_count(prompt, "total"), cached_tokens=cached, generated_tokens=0)]
    if timings := _mapping(chunk, "timings"):
        cached = _count(timings, "cache_n") or 0
        return [
            Progress(
                prompt_tokens=cached + (_count(timings, "prompt_n") or 0),
                cached_tokens=cached,
                generated_tokens=_count(timings, "predicted_n"),
            )
        ]
    return []


def _delta_events(delta: Mapping[str, object], logprobs: tuple[TokenLogprob, ...]) -> list[Event]:
    events: list[Event] = []
    text = _text(delta, "content")
    if thinking := _text(delta, "reasoning_content"):
        events.append(ThinkingDelta(thinking, () if text else logprobs))
        logprobs = logprobs if text else ()
    if text or logprobs:
        events.append(TextDelta(text or "", logprobs))
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict):
            function = _mapping(call, "function")
            events.append(
                ToolCallDelta(
                    index=_count(call, "index") or 0,
                    id=_text(call, "id"),
                    name=_text(function, "name"),
                    arguments=_text(function, "arguments") or "",
                )
            )
    return events


# models that look at a whole text at once (BERT) take no more than one batch has
_TOO_LARGE = re.compile(
    r"input \((\d{1,18}) tokens\) is too large to process\..*\(current batch size: (\d{1,18})\)"
)


def _refuse(error: object, status: int | None) -> NoReturn:
    said = error if isinstance(error, Mapping) else {}
    unsaid = "no reason given" if status is None else f"HTTP status {status}"
    message = _text(said, "message") or (error if isinstance(error, str) else unsaid)
    kind, tokens, context = _text(said, "type"), _count(said, "n_prompt_tokens"), _count(said, "n_ctx")
    if too_large := _TOO_LARGE.match(message):
        kind, tokens, context = TOO_LONG, int(too_large[1]), int(too_large[2])
    raise EngineRefused(
        f"The engine refused the request: {' '.join(message.split()).rstrip('.')}.",
        status=_count(said, "code") or status,
        kind=kind,
        prompt_tokens=tokens,
        context=context,
    )


def _written(told: object) -> tuple[TokenLogprob, ...]:
    """Those of the tokens that write something: the one that ends an answer writes nothing."""
    return tuple(each for each in _logprobs(told) if each.data != b"")


def _logprobs(told: object) -> tuple[TokenLogprob, ...]:
    """llama-server's list of {"token", "bytes", "logprob", "top_logprobs": [...]}."""
    if not isinstance(told, list):
        return ()
    return tuple(_logprob(each) for each in told if isinstance(each, dict))


def _logprob(told: Mapping[str, object]) -> TokenLogprob:
    value = told.get("logprob")
    data = told.get("bytes")
    return TokenLogprob(
        token=_text(told, "token") or "",
        logprob=float(value) if isinstance(value, int | float) else 0.0,
        data=bytes(data) if isinstance(data, list) else None,
        top=_logprobs(told.get("top_logprobs")),
    )


def _vector(told: object) -> tuple[float, ...]:
    """32-bit floats in base64, little-endian, or a list of numbers."""
    if isinstance(told, list):
        return tuple(float(each) for each in told if isinstance(each, int | float))
    try:
        data = base64.b64decode(told if isinstance(told, str) else "!", validate=True)
        return struct.unpack(f"<{len(data) // 4}f", data)
    except (binascii.Error, struct.error):
        raise EngineSpokeNonsense("The engine sent a vector that is none.") from None


def _checked(data: str) -> Mapping[str, object]:
    answer = _object(data)
    if "error" in answer:
        _refuse(answer["error"], None)
    return answer


def _object(text: str | bytes) -> Mapping[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise EngineSpokeNonsense("The engine answered with something that is no JSON.") from None
    if not isinstance(value, dict):
        raise EngineSpokeNonsense("The engine answered with JSON that is no object.")
    return value


def _mapping(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _count(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    return value if type(value) is int else None


def _seconds(fields: Mapping[str, object], name_ms: str) -> float | None:
    value = fields.get(name_ms)
    return value / 1000 if isinstance(value, int | float) and not isinstance(value, bool) else None
