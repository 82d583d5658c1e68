"""The worker contract: llama-server's HTTP, written once and without I/O.

A transport sends an `HttpRequest` with the worker's key and hands the answer's bytes to what reads them here:
`reader_for(request)` for a stream, the `parse_...` functions for a whole body. /health alone needs no key.
"""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Literal, NoReturn

from registry.errors import UsageError
from runtimes.errors import EngineRefused, EngineSpokeNonsense
from runtimes.sampling import Sampling, chat_fields, completion_fields
from runtimes.sse import SseParser

COMPLETION = "/completion"
CHAT = "/v1/chat/completions"
APPLY_TEMPLATE = "/apply-template"

ANY_OBJECT: Mapping[str, object] = {"type": "object"}
"""The schema of JSON mode: any JSON object."""

# llama-server makes llguidance's grammars of schemas, and those fail with some SentencePiece tokenizers; for
# JSON mode its own kind does, which works with all. RFC 8259, with little room for blanks
_JSON_GRAMMAR = r"""
root ::= object
object ::= "{" ws ( member ( "," ws member )* )? "}"
member ::= string ":" ws value ws
array ::= "[" ws ( value ws ( "," ws value ws )* )? "]"
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= "-"? ( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,3} )?
ws ::= ( " " | "\n" [ \t]{0,16} )?
"""

StopReason = Literal["stop", "length", "tool_calls"]

Effort = Literal["low", "medium", "high", "max"]

Think = bool | Effort
"""Whether a model that can is to reason first, and how much; what that means is up to its template."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a worker. Its repr shows neither the key nor the prompt."""

    method: Literal["GET", "POST"]
    path: str
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    body: bytes = dataclasses.field(repr=False)

    def with_key(self, key: str) -> HttpRequest:
        """The same request as the holder of the worker's key sends it."""
        return dataclasses.replace(self, headers={**self.headers, "Authorization": f"Bearer {key}"})


@dataclasses.dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """Text that the engine's reasoning parser took out of the answer."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of tool call number `index`: `id` and `name` come with its first piece, `arguments` in many."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The end of an answer. `prompt_tokens` counts the whole prompt, `cached_tokens` what was cached of it.

    Durations are in seconds. What the engine did not tell is None.
    """

    reason: StopReason
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    prompt_seconds: float | None = None
    generation_seconds: float | None = None


Event = TextDelta | ThinkingDelta | ToolCallDelta | Finished


def health_request() -> HttpRequest:
    return HttpRequest(method="GET", path="/health", headers={}, body=b"")


def completion_request(
    prompt: str | Sequence[int],
    sampling: Sampling | None = None,
    *,
    json_schema: Mapping[str, object] | None = None,
    ignore_end: bool = False,
) -> HttpRequest:
    """Continue `prompt`. Before a text the engine puts the token that begins one, and nothing else.

    With `ignore_end` the answer goes on where the model would end it, up to the limit.
    """
    fields: dict[str, object] = {
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "stream": True,
    }
    if json_schema == ANY_OBJECT:
        fields["grammar"] = _JSON_GRAMMAR
    elif json_schema is not None:
        fields["json_schema"] = json_schema
    if ignore_end:
        fields["ignore_eos"] = True
    return _post(COMPLETION, fields | completion_fields(sampling or Sampling()))


def chat_request(
    messages: Sequence[Mapping[str, object]],
    sampling: Sampling | None = None,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    json_schema: Mapping[str, object] | None = None,
    think: Think | None = None,
    as_written: bool = False,
) -> HttpRequest:
    """Answer `messages` (OpenAI's shape) with the model's chat template.

    With `as_written`, thoughts stay in the text of the answer.

    Raises UsageError when a message names media by anything but a data: URL: the engine would fetch it.
    """
    _refuse_foreign_media(messages)
    fields: dict[str, object] = {
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools:
        fields["tools"] = list(tools)
    if json_schema == ANY_OBJECT:
        fields["grammar"] = _JSON_GRAMMAR
    elif json_schema is not None:
        fields["response_format"] = {"type": "json_schema", "json_schema": {"schema": json_schema}}
    if think is not None:
        fields["chat_template_kwargs"] = template_variables(think)
    if as_written:
        fields["reasoning_format"] = "none"
    return _post(CHAT, fields | chat_fields(sampling or Sampling()))


def template_variables(think: Think | None) -> dict[str, object]:
    """How chat templates are told: Qwen's name for it, DeepSeek's and Granite's, and gpt-oss's."""
    if think is None:
        return {}
    wanted: dict[str, object] = {"enable_thinking": think is not False, "thinking": think is not False}
    if isinstance(think, str):
        wanted["reasoning_effort"] = think
    return wanted


def tokenize_request(text: str, *, add_special: bool = False) -> HttpRequest:
    """`add_special` adds the tokens that begin and end a text where the model has them."""
    return _post("/tokenize", {"content": text, "add_special": add_special})


def apply_template_request(
    messages: Sequence[Mapping[str, object]], *, tools: Sequence[Mapping[str, object]] = ()
) -> HttpRequest:
    _refuse_foreign_media(messages)
    fields: dict[str, object] = {"messages": list(messages)}
    if tools:
        fields["tools"] = list(tools)
    return _post(APPLY_TEMPLATE, fields)


def preview_request(question: HttpRequest) -> HttpRequest:
    """What asks for the prompt that the engine would make of a `chat_request`."""
    return dataclasses.replace(question, path=APPLY_TEMPLATE)


def parse_health(status: int) -> bool:
    """Whether the model is loaded: 200; while it loads llama-server answers 503."""
    return status == 200


def parse_tokens(body: bytes) -> tuple[int, ...]:
    """The answer of /tokenize."""
    tokens = _object(body).get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise EngineSpokeNonsense("The engine's answer to /tokenize has no list of tokens.")
    return tuple(tokens)


def parse_prompt(body: bytes) -> str:
    """The answer of /apply-template."""
    prompt = _object(body).get("prompt")
    if not isinstance(prompt, str):
        raise EngineSpokeNonsense("The engine's answer to /apply-template has no prompt.")
    return prompt


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

    def feed(self, piece: bytes) -> list[Event]:
        events: list[Event] = []
        for event in self._sse.feed(piece):
            if self._finished:
                break
            events += self._read(event.data)
            self._finished = any(isinstance(event, Finished) for event in events)
        return events

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
        events: list[Event] = [TextDelta(text)] if text else []
        if answer.get("stop") is True:
            timings = _mapping(answer, "timings")
            events.append(
                Finished(
                    reason="length" if answer.get("stop_type") == "limit" else "stop",
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
        return _delta_events(_mapping(choice, "delta"))

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
    return {COMPLETION: CompletionReader, CHAT: ChatReader}[request.path]()


def _delta_events(delta: Mapping[str, object]) -> list[Event]:
    events: list[Event] = []
    if thinking := _text(delta, "reasoning_content"):
        events.append(ThinkingDelta(thinking))
    if text := _text(delta, "content"):
        events.append(TextDelta(text))
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


def _refuse_foreign_media(messages: Sequence[Mapping[str, object]]) -> None:
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list | tuple) else ():
            if not isinstance(part, Mapping):
                continue
            for name, value in part.items():
                url = value.get("url") if isinstance(value, Mapping) else value
                names_media = name.endswith("url") or (isinstance(value, Mapping) and url is not None)
                if names_media and not (isinstance(url, str) and url.startswith("data:")):
                    raise UsageError(
                        "A message names an image by its address; the engine gets only what it contains.",
                        hint="Put the image into the message as a data: URL.",
                    )


def _post(path: str, fields: Mapping[str, object]) -> HttpRequest:
    body = json.dumps(fields, ensure_ascii=True, allow_nan=False).encode()
    return HttpRequest(method="POST", path=path, headers={"Content-Type": "application/json"}, body=body)


def _refuse(error: object, status: int | None) -> NoReturn:
    said = error if isinstance(error, Mapping) else {}
    unsaid = "no reason given" if status is None else f"HTTP status {status}"
    message = _text(said, "message") or (error if isinstance(error, str) else unsaid)
    raise EngineRefused(
        f"The engine refused the request: {' '.join(message.split()).rstrip('.')}.",
        status=_count(said, "code") or status,
        kind=_text(said, "type"),
    )


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
