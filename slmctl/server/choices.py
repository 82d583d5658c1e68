"""Tools: how their calls are read, and what `tool_choice` demands of an answer.

An engine that knows no tools by a model's template answers a demanded call with plain text and says nothing,
so what comes is looked at, whoever made it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.protocol import Event, Finished, TextDelta, ToolCallDelta
from slmctl.app.asks import ChatAsk, NamedTool
from slmctl.app.stages import Stage
from slmctl.app.tool_formats import format_of
from slmctl.app.toolcalls import ToolCalls
from slmctl.server.problems import SchemaNotMet
from slmctl.server.prompting import FREE, Shape, is_demanded, offered_tools, tool_name


@dataclass(frozen=True, slots=True)
class ToolReading:
    """How an answer to a prompt of ours is read: its stages, what the prompt is continued with, and the shape
    that a call which has to come is held to."""

    stages: tuple[Stage, ...] = ()
    opening: str = ""
    shape: Shape = FREE


def tool_reading(ask: ChatAsk, template: str | None, call: Shape) -> ToolReading:
    """Of an answer whose prompt `template` made; `call` is what a call that has to come is held to."""
    tools = offered_tools(ask)
    if not tools:
        return ToolReading()
    kind = format_of(template or "")
    names = frozenset(tool_name(tool) for tool in tools)
    if not is_demanded(ask):
        return ToolReading((ToolCalls(kind, names),))
    return ToolReading((ToolCalls(kind, names, begun=True),), kind.required, call)


def choice_stages(ask: ChatAsk) -> Sequence[Stage]:
    """What holds an answer to `tool_choice` and `parallel_tool_calls`."""
    stages: list[Stage] = []
    if ask.tools and not ask.parallel_tool_calls:
        stages.append(OneCall())
    if is_demanded(ask):
        stages.append(Demanded(ask))
    return stages


class OneCall:
    """Lets the first call pass and no other."""

    def read(self, event: Event) -> Sequence[Event]:
        return () if isinstance(event, ToolCallDelta) and event.index > 0 else (event,)


class Demanded:
    """Text waits for the call that has to come. Raises SchemaNotMet when none comes."""

    def __init__(self, ask: ChatAsk) -> None:
        self._name = ask.tool_choice.name if isinstance(ask.tool_choice, NamedTool) else None
        self._offered = frozenset(tool_name(tool) for tool in offered_tools(ask))
        self._held: list[Event] = []
        self._called = False

    def read(self, event: Event) -> Sequence[Event]:
        if isinstance(event, ToolCallDelta):
            if event.name is not None and event.name not in self._offered:
                raise SchemaNotMet(
                    "The model called a tool that it was not asked for.",
                    hint="Ask again, or take a model that is better with tools.",
                )
            self._called = True
        elif isinstance(event, TextDelta) and not self._called:
            self._held.append(event)
            return ()
        elif isinstance(event, Finished) and not self._called and event.reason != "length":
            wanted = "a tool" if self._name is None else f"the tool {self._name[:80]}"
            raise SchemaNotMet(
                f"The model answered without a call of {wanted}, which tool_choice demands.",
                hint="Ask again, or take a model that is better with tools.",
            )
        elif not isinstance(event, Finished):
            return (event,)
        held, self._held = self._held, []
        if isinstance(event, Finished) and self._called and event.reason == "stop":
            event = dataclasses.replace(event, reason="tool_calls")
        return (*held, event)
