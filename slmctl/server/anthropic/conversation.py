"""From the Messages API's conversation to the one that models are asked with, whose shape is OpenAI's.

Anthropic's turns are lists of blocks: results of tools stand in the user's turn, calls and thoughts in the
assistant's. Turns of one role in a row are one turn, as there. The texts of a turn are joined by a line
break, as the engine joins parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from slmctl.server.anthropic.fields import (
    AnyMessage,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from slmctl.server.parsing import bad_field

JsonObject = Mapping[str, object]


def messages_of(turns: Sequence[AnyMessage]) -> list[JsonObject]:
    """`turns` in OpenAI's shape. Raises BadField for a result without its call."""
    messages: list[JsonObject] = []
    names: dict[str, str] = {}
    for role, blocks in _merged(turns):
        if role == "assistant":
            names |= {block.id: block.name for _, block in blocks if isinstance(block, ToolUseBlock)}
            messages.append(_assistant(blocks))
        elif role == "system":
            messages.append({"role": "system", "content": _text(blocks)})
        else:
            messages += _user(blocks, names)
    return messages


def system_of(system: str | Sequence[TextBlock] | None) -> str | None:
    if system is None or isinstance(system, str):
        return system
    return "\n".join(block.text for block in system)


def tools_of(tools: Sequence[Tool] | None) -> list[JsonObject]:
    """The tools in OpenAI's shape. Raises BadField for a name that two of them have."""
    names: set[str] = set()
    for number, tool in enumerate(tools or ()):
        if tool.name in names:
            raise bad_field(f"tools[{number}].name", "is the name of another tool, too")
        names.add(tool.name)
    return [{"type": "function", "function": _function(tool)} for tool in tools or ()]


def _function(tool: Tool) -> JsonObject:
    told: dict[str, object] = {"name": tool.name, "parameters": tool.input_schema}
    return told if tool.description is None else {**told, "description": tool.description}


Block = TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock

Placed = tuple[str, Block]
"""A block and where in the request it stands."""


def _merged(turns: Sequence[AnyMessage]) -> list[tuple[str, list[Placed]]]:
    merged: list[tuple[str, list[Placed]]] = []
    for number, turn in enumerate(turns):
        place = f"messages[{number}].content"
        blocks: list[Placed] = (
            [(place, TextBlock(type="text", text=turn.content))]
            if isinstance(turn.content, str)
            else [(f"{place}[{index}]", block) for index, block in enumerate(turn.content)]
        )
        if merged and merged[-1][0] == turn.role:
            merged[-1][1].extend(blocks)
        else:
            merged.append((turn.role, blocks))
    return merged


def _assistant(blocks: Sequence[Placed]) -> JsonObject:
    thoughts = [block.thinking for _, block in blocks if isinstance(block, ThinkingBlock)]
    calls = [_call(block) for _, block in blocks if isinstance(block, ToolUseBlock)]
    message: dict[str, object] = {"role": "assistant", "content": _text(blocks)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _text(blocks: Sequence[Placed]) -> str:
    return "\n".join(block.text for _, block in blocks if isinstance(block, TextBlock))


def _call(block: ToolUseBlock) -> JsonObject:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return {
        "id": block.id,
        "type": "function",
        "function": {"name": block.name, "arguments": arguments},
    }


def _user(blocks: Sequence[Placed], names: Mapping[str, str]) -> list[JsonObject]:
    """First the results of tools, each a message; then what the user says, and what the tools have shown."""
    results: list[JsonObject] = []
    parts: list[TextBlock | ImageBlock] = []
    for place, block in blocks:
        match block:
            case TextBlock() | ImageBlock():
                parts.append(block)
            case ToolResultBlock():
                name = names.get(block.tool_use_id)
                if name is None:
                    raise bad_field(f"{place}.tool_use_id", "is the id of no tool_use block before it")
                results.append(_result(block, name))
                if isinstance(block.content, list):
                    parts += [part for part in block.content if isinstance(part, ImageBlock)]
    return [*results, {"role": "user", "content": _content(parts)}] if parts or not results else results


def _result(block: ToolResultBlock, name: str) -> JsonObject:
    content = block.content or ""
    if not isinstance(content, str):
        content = "\n".join(part.text for part in content if isinstance(part, TextBlock))
    if block.is_error:
        content = f"Error: {content}" if content else "Error"
    return {"role": "tool", "tool_call_id": block.tool_use_id, "name": name, "content": content}


def _content(parts: Sequence[TextBlock | ImageBlock]) -> str | list[JsonObject]:
    """Plain text where there is nothing else, which every template can read."""
    if not any(isinstance(part, ImageBlock) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, TextBlock))
    return [_part(part) for part in parts]


def _part(part: TextBlock | ImageBlock) -> JsonObject:
    if isinstance(part, TextBlock):
        return {"type": "text", "text": part.text}
    url = f"data:{part.source.media_type};base64,{part.source.data}"
    return {"type": "image_url", "image_url": {"url": url}}
