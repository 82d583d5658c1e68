"""Requests to a worker, in llama-server's HTTP."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from registry.errors import UsageError
from runtimes.events import HttpRequest
from runtimes.sampling import Sampling, chat_fields, completion_fields

COMPLETION = "/completion"
INFILL = "/infill"
CHAT = "/v1/chat/completions"
APPLY_TEMPLATE = "/apply-template"
TOKENIZE = "/tokenize"
DETOKENIZE = "/detokenize"
COUNT = "/v1/chat/completions/input_tokens"
EMBEDDINGS = "/v1/embeddings"
RERANK = "/v1/rerank"

ANY_OBJECT: Mapping[str, object] = {"type": "object"}
"""The schema of JSON mode: any JSON object."""

# llama-server makes llguidance's grammars of schemas, and those fail with some SentencePiece tokenizers; for
# JSON mode its own kind does, which works with all. RFC 8259, with little room for blanks
JSON_GRAMMAR = r"""
root ::= object
object ::= "{" ws ( member ( "," ws member )* )? "}"
member ::= string ":" ws value ws
array ::= "[" ws ( value ws ( "," ws value ws )* )? "]"
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ( [^"\\\x00-\x1F] | "\\" ( ["\\/bfnrt] | "u" [0-9a-fA-F]{4} ) )* "\""
number ::= "-"? ( "0" | [1-9] [0-9]{0,15} ) ( "." [0-9]{1,16} )? ( [eE] [-+]? [0-9]{1,3} )?
ws ::= ( " " | "\n" [ \t]{0,16} )?
"""

Effort = Literal["low", "medium", "high", "max"]

Think = bool | Effort
"""Whether a model that can is to reason first, and how much; what that means is up to its template."""

ToolUse = Literal["auto", "none", "required"]

Telling = Literal["prompt", "tokens"]
"""What `Progress` tells: the prompt's tokens before the first of the answer, or those of each piece, too."""

# what is read of the last event; without a choice it repeats the whole prompt and all settings
_LAST_FIELDS = (
    "content",
    "stop",
    "stop_type",
    "stopping_word",
    "tokens_evaluated",
    "tokens_predicted",
    "timings",
    "completion_probabilities",
)


def health_request() -> HttpRequest:
    return HttpRequest(method="GET", path="/health", headers={}, body=b"")


def completion_request(
    prompt: str | Sequence[int],
    sampling: Sampling | None = None,
    *,
    json_schema: Mapping[str, object] | None = None,
    grammar: str | None = None,
    ignore_end: bool = False,
    top_logprobs: int | None = None,
    logit_bias: Mapping[int, float] | None = None,
    progress: Telling | None = None,
    images: Sequence[str] = (),
    slot: int | None = None,
    fresh: bool = False,
) -> HttpRequest:
    """Continue `prompt`. Before a text the engine puts the token that begins one, and nothing else.

    `images`, in base64, belong where the engine's mark for them stands in a text.

    With `ignore_end` the answer goes on where the model would end it, up to the limit. `grammar` is GBNF, and
    comes before a schema. `top_logprobs` has the probability of each token told, with so many alternatives.
    `slot` is the engine's slot that answers, else it chooses one; with `fresh` nothing that was computed for
    an earlier prompt is used.
    """
    given: object = prompt if isinstance(prompt, str) else list(prompt)
    if images:
        given = {"prompt_string": prompt, "multimodal_data": list(images)}
    fields: dict[str, object] = {
        "prompt": given,
        "stream": True,
        "response_fields": _LAST_FIELDS,
    }
    fields |= (
        _completion_shape(json_schema, grammar) | _biased(logit_bias) | _told(progress) | _placed(slot, fresh)
    )
    if ignore_end:
        fields["ignore_eos"] = True
    if top_logprobs is not None:
        fields["n_probs"] = max(1, top_logprobs)
    return _post(COMPLETION, fields | completion_fields(sampling or Sampling()))


def infill_request(
    prefix: str,
    suffix: str,
    sampling: Sampling | None = None,
    *,
    json_schema: Mapping[str, object] | None = None,
    grammar: str | None = None,
    top_logprobs: int | None = None,
    logit_bias: Mapping[int, float] | None = None,
    slot: int | None = None,
    fresh: bool = False,
) -> HttpRequest:
    """Fill in what stands between, with the model's own tokens for that; its answer is a completion's."""
    fields: dict[str, object] = {
        "input_prefix": prefix,
        "input_suffix": suffix,
        "prompt": "",
        "stream": True,
        "response_fields": _LAST_FIELDS,
    }
    fields |= _completion_shape(json_schema, grammar) | _biased(logit_bias) | _placed(slot, fresh)
    if top_logprobs is not None:
        fields["n_probs"] = max(1, top_logprobs)
    return _post(INFILL, fields | completion_fields(sampling or Sampling()))


def chat_request(
    messages: Sequence[Mapping[str, object]],
    sampling: Sampling | None = None,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    tool_choice: ToolUse = "auto",
    parallel_tool_calls: bool | None = None,
    json_schema: Mapping[str, object] | None = None,
    grammar: str | None = None,
    think: Think | None = None,
    as_written: bool = False,
    top_logprobs: int | None = None,
    logit_bias: Mapping[int, float] | None = None,
    think_tokens: int | None = None,
    progress: Telling | None = None,
    slot: int | None = None,
    fresh: bool = False,
) -> HttpRequest:
    """Answer `messages` (OpenAI's shape) with the model's chat template.

    With `as_written`, thoughts stay in the text of the answer. `grammar` is GBNF, and comes before a schema;
    the engine takes none beside tools. `tool_choice` and `parallel_tool_calls` count where there are tools.
    After `think_tokens` the engine ends the thoughts. `slot` and `fresh` are `completion_request`'s.

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
        if tool_choice != "auto":
            fields["tool_choice"] = tool_choice
        if parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = parallel_tool_calls
    fields |= _chat_shape(json_schema, grammar) | _biased(logit_bias) | _told(progress) | _placed(slot, fresh)
    if think_tokens is not None:
        fields["thinking_budget_tokens"] = think_tokens
    if think is not None:
        fields["chat_template_kwargs"] = template_variables(think)
    if as_written:
        fields["reasoning_format"] = "none"
    if top_logprobs is not None:
        fields["logprobs"] = True
        fields["top_logprobs"] = max(1, top_logprobs)
    return _post(CHAT, fields | chat_fields(sampling or Sampling()))


def template_variables(think: Think | None) -> dict[str, object]:
    """How chat templates are told: Qwen's name for it, DeepSeek's and Granite's, and gpt-oss's."""
    if think is None:
        return {}
    wanted: dict[str, object] = {"enable_thinking": think is not False, "thinking": think is not False}
    if isinstance(think, str):
        wanted["reasoning_effort"] = think
    return wanted


def tokenize_request(text: str, *, add_special: bool = False, with_pieces: bool = False) -> HttpRequest:
    """`add_special` adds the tokens that begin and end a text where the model has them; `with_pieces` asks
    for the text of each token too."""
    fields: dict[str, object] = {"content": text, "add_special": add_special}
    if with_pieces:
        fields["with_pieces"] = True
    return _post(TOKENIZE, fields)


def detokenize_request(tokens: Sequence[int]) -> HttpRequest:
    return _post(DETOKENIZE, {"tokens": list(tokens)})


def embeddings_request(inputs: Sequence[str | Sequence[int]]) -> HttpRequest:
    """The vectors of texts or tokens; the engine refuses all when one is too long or empty."""
    given = [each if isinstance(each, str) else list(each) for each in inputs]
    return _post(EMBEDDINGS, {"input": given, "encoding_format": "base64"})


def rerank_request(query: str, documents: Sequence[str]) -> HttpRequest:
    return _post(RERANK, {"query": query, "documents": list(documents)})


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


def count_request(question: HttpRequest) -> HttpRequest:
    """What asks how many tokens the prompt of a `chat_request` has."""
    return dataclasses.replace(question, path=COUNT)


def _told(progress: Telling | None) -> dict[str, object]:
    if progress is None:
        return {}
    fields: dict[str, object] = {"return_progress": True}
    return fields | {"timings_per_token": True} if progress == "tokens" else fields


def _completion_shape(json_schema: Mapping[str, object] | None, grammar: str | None) -> dict[str, object]:
    if grammar is not None:
        return {"grammar": grammar}
    if json_schema == ANY_OBJECT:
        return {"grammar": JSON_GRAMMAR}
    return {} if json_schema is None else {"json_schema": json_schema}


def _chat_shape(json_schema: Mapping[str, object] | None, grammar: str | None) -> dict[str, object]:
    shape = _completion_shape(json_schema, grammar)
    if "json_schema" in shape:
        return {"response_format": {"type": "json_schema", "json_schema": {"schema": json_schema}}}
    return shape


def _placed(slot: int | None, fresh: bool) -> dict[str, object]:
    fields: dict[str, object] = {} if slot is None else {"id_slot": slot}
    return fields | {"cache_prompt": False} if fresh else fields


def _biased(logit_bias: Mapping[int, float] | None) -> dict[str, object]:
    return {"logit_bias": [[token, bias] for token, bias in logit_bias.items()]} if logit_bias else {}


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
    """Raises UsageError for texts that are none in UTF-8: the engine's refusal would quote them."""
    try:
        body = json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise UsageError("A text holds half a character (a lone surrogate).") from None
    return HttpRequest(method="POST", path=path, headers={"Content-Type": "application/json"}, body=body)
