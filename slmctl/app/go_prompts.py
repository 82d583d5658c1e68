"""Prompts from an author's TEMPLATE, which is Go's language and slmctl's to render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from runtimes.protocol import Think
from slmctl.app.prompt import render_outside
from slmctl.app.questions import Messages, in_plain_text


def go_prompt(
    template: str,
    messages: Messages,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    think: Think | None = None,
    environment: Mapping[str, str],
) -> str:
    """What `template` makes of a conversation, in a child process. Blocking; raises TemplateError."""
    return render_outside(
        template,
        in_plain_text(messages),
        syntax="go",
        tools=tools,
        now=datetime.now().astimezone(),
        variables={"think": think},
        environment=environment,
    )


def go_infill(template: str, prefix: str, suffix: str, *, environment: Mapping[str, str]) -> str:
    """What `template` makes of the text before and the text behind. Blocking; raises TemplateError."""
    return render_outside(
        template,
        (),
        syntax="go",
        now=datetime.now().astimezone(),
        variables={"prompt": prefix, "suffix": suffix},
        environment=environment,
    )
