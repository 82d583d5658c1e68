"""What a request to the Messages API says, as pydantic models: https://docs.anthropic.com/en/api/messages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slmctl.server.parsing import Fields

HARMLESS = frozenset(
    {
        "billing_policy",
        "cache_control",
        "fallback_credit_token",
        "inference_geo",
        "metadata",
        "service_tier",
        "user_profile_id",
        "workspace_id",
    }
)
"""Fields that may say anything: they concern Anthropic's own service, and no answer would be another."""

REFUSED = {
    "compaction": "Nothing is summarized here; send what the model is to see.",
    "container": "Containers are no part of this server.",
    "context_management": "Nothing is taken out of a conversation here; send what the model is to see.",
    "diagnostics": "This server keeps no message that another one could be compared with.",
    "fallbacks": "Only the model that is asked answers here.",
    "mcp_servers": "This server connects to no MCP server; give its tools in 'tools' and run them yourself.",
    "thread": "No conversation is kept here; send all of it in 'messages'.",
}
"""Fields that ask for what cannot be done here, and the sentence that says so."""

NEUTRAL = {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}
"""The one value with which such a field asks for nothing."""

REFUSED_BLOCKS = {
    "document": "Documents are not read by this server; put their text into a text block.",
    "search_result": "Search results are not read by this server; put their text into a text block.",
    "container_upload": "Containers are no part of this server.",
    "server_tool_use": "This server runs no tools of its own.",
    "tool_reference": "This server keeps no tools that a reference could name; give them in 'tools'.",
    "web_search_tool_result": "This server runs no tools of its own.",
    "web_fetch_tool_result": "This server runs no tools of its own.",
    "code_execution_tool_result": "This server runs no tools of its own.",
    "bash_code_execution_tool_result": "This server runs no tools of its own.",
    "text_editor_code_execution_tool_result": "This server runs no tools of its own.",
    "tool_search_tool_result": "This server runs no tools of its own.",
}
"""Blocks of content that are refused, and the sentence that says so."""

MOST_BLOCKS = 10_000
"""In all messages together. Anthropic takes 100,000 messages; reading them would hold everybody up here."""

Mark = object
"""A field that is taken and changes nothing: where a cache may begin, whom a citation cites."""


class TextBlock(Fields):
    type: Literal["text"]
    text: str
    cache_control: Mark = None
    citations: Mark = None


class Base64Source(Fields):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str = Field(min_length=1)


class ImageBlock(Fields):
    type: Literal["image"]
    source: Base64Source
    cache_control: Mark = None


class ToolUseBlock(Fields):
    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, object]
    cache_control: Mark = None
    caller: Mark = None


class ToolResultBlock(Fields):
    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1)
    content: str | list[ResultPart] | None = None
    is_error: bool | None = None
    cache_control: Mark = None


class ThinkingBlock(Fields):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Fields):
    """Thoughts that only Anthropic can read: left out."""

    type: Literal["redacted_thinking"]
    data: str | None = None


ResultPart = Annotated[TextBlock | ImageBlock, Field(discriminator="type")]

UserBlock = Annotated[TextBlock | ImageBlock | ToolResultBlock, Field(discriminator="type")]

AssistantBlock = Annotated[
    TextBlock | ToolUseBlock | ThinkingBlock | RedactedThinkingBlock, Field(discriminator="type")
]


class UserMessage(Fields):
    role: Literal["user"]
    content: str | list[UserBlock]


class AssistantMessage(Fields):
    role: Literal["assistant"]
    content: str | list[AssistantBlock]


class SystemMessage(Fields):
    role: Literal["system"]
    content: str | list[Annotated[TextBlock, Field(discriminator="type")]]


AnyMessage = UserMessage | AssistantMessage | SystemMessage

Message = Annotated[AnyMessage, Field(discriminator="role")]


class Tool(Fields):
    """A function of the client's. `strict` says the same as nothing: a call that has to come is held to the
    schema, and one that may come is the model's own, with whatever input."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")
    description: str | None = None
    input_schema: dict[str, object]
    strict: bool | None = None
    cache_control: Mark = None
    eager_input_streaming: Mark = None


class ChooseAuto(Fields):
    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class ChooseAny(Fields):
    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class ChooseTool(Fields):
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class ChooseNone(Fields):
    type: Literal["none"]


ToolChoice = Annotated[ChooseAuto | ChooseAny | ChooseTool | ChooseNone, Field(discriminator="type")]

Display = Literal["summarized", "omitted"] | None
"""Thoughts are never summarized here: both that and null show them as they are."""


class ThinkingEnabled(Fields):
    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1)
    display: Display = None


class ThinkingAdaptive(Fields):
    type: Literal["adaptive"]
    display: Display = None


class ThinkingDisabled(Fields):
    type: Literal["disabled"]


Thinking = Annotated[ThinkingEnabled | ThinkingAdaptive | ThinkingDisabled, Field(discriminator="type")]


class JsonFormat(Fields):
    type: Literal["json_schema"]
    json_schema: dict[str, object] = Field(alias="schema")


class OutputConfig(Fields):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class CountRequest(Fields):
    """POST /v1/messages/count_tokens: what makes up the prompt."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1, max_length=MOST_BLOCKS)
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = Field(default=None, max_length=256)
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    speed: Literal["standard"] | None = None


class MessagesRequest(CountRequest):
    """POST /v1/messages"""

    max_tokens: int = Field(gt=0)
    stream: bool | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1, max_length=1000)]] | None = Field(
        default=None, max_length=64
    )
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
