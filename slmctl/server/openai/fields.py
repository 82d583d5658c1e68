"""What requests of OpenAI's API have in common: the model, how to sample, and our extensions.

The extensions have llama.cpp's and Ollama's names: top_k, min_p, typical_p, repeat_penalty, repeat_last_n,
grammar, keep_alive, and Ollama's `options`, by which the context can be set (num_ctx). A parameter that is
not said stays what the model's Modelfile says; OpenAI's defaults of 1.0 are never put in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from modelfiles.spec import ParameterValue
from registry.errors import UsageError
from slmctl.app.durations import parse_duration
from slmctl.app.parameters import LOAD_PARAMETERS
from slmctl.server.call import Call
from slmctl.server.parsing import Fields, bad_field
from slmctl.server.problems import BadField
from slmctl.server.scheduler import Purpose, Want

MOST_ANSWERS = 16
"""The largest `n`."""

MOST_STOPS = 16
"""OpenAI takes 4."""

MOST_BIASES = 300

HARMLESS = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
"""Fields that ask for nothing that an answer could lack."""

_INT32 = 2**31 - 1

MOST_TOKENS = 262_144
"""In a list of tokens that takes the place of a text."""

Name = Annotated[str, Field(min_length=1, max_length=1024)]
Token = Annotated[int, Field(ge=0, le=_INT32)]
Tokens = Annotated[list[Token], Field(fail_fast=True, min_length=1, max_length=MOST_TOKENS)]
Whole = Annotated[int, Field(ge=-1, le=_INT32)]
StopText = Annotated[str, Field(min_length=1, max_length=1024)]
Stop = StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)]
Biases = dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]]
_YEAR = 366 * 86400
KeepAlive = (
    Annotated[int, Field(ge=-_INT32, le=_YEAR)]
    | Annotated[float, Field(ge=-_INT32, le=_YEAR)]
    | Annotated[str, Field(max_length=60)]
)
"""Seconds, or Go's notation (5m); negative: until it is told to go."""


class Sampled(Fields):
    """The parameters of sampling that requests and `options` share, under Ollama's names."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Whole | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    typical_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=2**20)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: Stop | None = None


class Options(Sampled):
    """Ollama's `options`."""

    num_predict: Annotated[int, Field(ge=-2, le=_INT32)] | None = None
    num_keep: Whole | None = None
    num_ctx: Annotated[int, Field(ge=1, le=_INT32)] | None = None
    num_batch: Annotated[int, Field(ge=1, le=_INT32)] | None = None
    num_gpu: Whole | None = None
    main_gpu: Annotated[int, Field(ge=0, le=_INT32)] | None = None
    num_thread: Annotated[int, Field(ge=0, le=_INT32)] | None = None
    use_mmap: bool | None = None
    draft_num_predict: Annotated[int, Field(ge=0, le=_INT32)] | None = None


class StreamOptions(Fields):
    """`include_obfuscation` is harmless: nothing is obfuscated."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ModelFields(Fields):
    """Which model, how long it stays, and how it is loaded."""

    model: Name
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class SampledFields(ModelFields, Sampled):
    """What all requests for an answer share."""


class GeneratingFields(SampledFields):
    """What chats and completions share."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=_INT32)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS)] | None = None
    logit_bias: Annotated[Biases, Field(max_length=MOST_BIASES)] | None = None
    grammar: Annotated[str, Field(min_length=1)] | None = None

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage is True

    @property
    def biases(self) -> Mapping[int, float]:
        return {int(token): bias for token, bias in (self.logit_bias or {}).items()}


def parameters_of(request: GeneratingFields, longest: int | None) -> dict[str, ParameterValue]:
    """The sampling parameters that were said, `longest` being how many tokens the answer may have.

    Raises BadField for one that stands in the request and, with another value, in its options.
    """
    if request.stream_options is not None and not request.stream:
        raise bad_field("stream_options", "is only for a stream")
    return sampling_said(request, longest)


def sampling_said(request: SampledFields, longest: int | None) -> dict[str, ParameterValue]:
    """As `parameters_of`."""
    said = _said(request, Sampled.model_fields)
    if longest is not None:
        said["num_predict"] = longest
    for name, value in _said(request.options, Options.model_fields).items():
        if said.get(name, value) != value:
            raise bad_field(f"options.{name}", "is not what the request says beside its options")
        if name not in LOAD_PARAMETERS:
            said[name] = value
    return said


def want_of(call: Call, request: ModelFields, purpose: Purpose = "text") -> Want:
    """Which model a request needs, and how it is loaded. Raises BadField for a bad keep_alive."""
    options = _said(request.options, Options.model_fields)
    return Want(
        name=request.model,
        purpose=purpose,
        parameters={name: value for name, value in options.items() if name in LOAD_PARAMETERS},
        keep_seconds=_seconds(request.keep_alive),
        principal=call.principal,
    )


def inputs_of(said: str | list[int] | list[str] | list[list[int]]) -> list[str | tuple[int, ...]]:
    """The texts, or texts as tokens, of a field that holds one or a list of them."""
    if isinstance(said, str):
        return [said]
    tokens = tuple(each for each in said if isinstance(each, int))
    if tokens:
        return [tokens]
    return [each if isinstance(each, str) else tuple(each) for each in said if not isinstance(each, int)]


def another_seed(parameters: Mapping[str, ParameterValue], number: int) -> Mapping[str, ParameterValue]:
    """The parameters of answer `number` of several to one request: with one seed all would be the same."""
    seed = parameters.get("seed")
    if number == 0 or not isinstance(seed, int) or seed < 0:
        return parameters
    return {**parameters, "seed": (seed + number) % 2**63}


def either(request: Fields, name: str, other: str) -> object:
    """The value of a field that has two names. Raises BadField when both are said and differ."""
    first, second = getattr(request, name), getattr(request, other)
    if first is not None and second is not None and first != second:
        raise bad_field(name, f"and '{other}' differ")
    return second if first is None else first


def unsupported(name: str, why: str) -> BadField:
    """The error for a field that we know and cannot honour; `why` is a sentence about it."""
    return BadField(why, parameter=name, code="unsupported_parameter")


def _said(request: Fields | None, names: Mapping[str, object]) -> dict[str, ParameterValue]:
    if request is None:
        return {}
    said = {name: value for name in names if (value := getattr(request, name)) is not None}
    if isinstance(stop := said.get("stop"), str | list):
        said["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
    return said


def _seconds(keep_alive: KeepAlive | None) -> float | None:
    if keep_alive is None:
        return None
    if isinstance(keep_alive, str):
        try:
            return parse_duration(keep_alive, what="keep_alive")
        except UsageError as error:
            raise BadField(error.message, parameter="keep_alive") from None
    return math.inf if keep_alive < 0 else float(keep_alive)
