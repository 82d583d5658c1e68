"""What is asked of a loaded model, by whichever API it came.

The fronts (`slmctl.server.ollama`, `.openai`, `.anthropic`) parse their own request into one of these, and
`slmctl.server.answering` carries it out. Everything here has been checked for type and range by then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from modelfiles.spec import ParameterValue
from runtimes.protocol import Telling, Think

Schema = Mapping[str, object]
"""A JSON Schema; `runtimes.protocol.ANY_OBJECT` is JSON mode."""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The model has to call this tool."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAsk:
    """Answer a conversation.

    `messages` have OpenAI's shape: role, content (text, or parts: text, and image_url with a data: URL),
    tool_calls, tool_call_id, name, and reasoning_content. `parameters` have Ollama's names and win over the
    package's. `template` (Go) takes the place of the package's. `top_logprobs` is how many alternatives are
    told beside each token; None tells no probabilities. `logit_bias` maps token ids to what is added.
    `truncate` lets the oldest messages go when the prompt is too long, which is then told by a `Cut`; without
    it that is a `PromptTooLong`. Of an answer that begins (`messages` end with role assistant) the rest is
    given. Thoughts end after `think_tokens` where the engine's own parser reads them. `progress` has
    `Progress` told on the way.
    """

    messages: Sequence[Mapping[str, object]]
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    system: str | None = None
    template: str | None = None
    tools: Sequence[Mapping[str, object]] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    schema: Schema | None = None
    grammar: str | None = None
    think: Think | None = None
    think_tokens: int | None = None
    progress: Telling | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    truncate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionAsk:
    """Continue a text or tokens as they are, behind the token that begins a text.

    With `suffix` the model fills in what stands between; a model that cannot refuses. The rest is ChatAsk's.
    """

    prompt: str | tuple[int, ...]
    suffix: str | None = None
    parameters: Mapping[str, ParameterValue] = dataclasses.field(default_factory=dict)
    schema: Schema | None = None
    grammar: str | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    truncate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedAsk:
    """Turn texts (or tokens) into vectors of length 1.

    `truncate` cuts a text that is longer than the context, which is then told; without it that is a
    `PromptTooLong`. `dimensions` keeps the first so many numbers and makes the length 1 again.
    """

    inputs: Sequence[str | tuple[int, ...]]
    truncate: bool = True
    dimensions: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """`vectors[i]` belongs to input i. `cut` are the numbers of inputs that were cut to fit, `cut_tokens` how
    many tokens of all of them were left out."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    cut: tuple[int, ...] = ()
    cut_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RankAsk:
    """How well each document answers the query."""

    query: str
    documents: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """`scores[i]` belongs to document i; larger is better."""

    scores: tuple[float, ...]
    prompt_tokens: int
