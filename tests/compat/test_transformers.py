"""Chat templates in Jinja against Transformers' `apply_chat_template`: the same bytes. `make compat` installs it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modelfiles.template.jinja import render
from tests.modelfiles.template.golden import Case, cases
from tests.modelfiles.template.test_jinja import MESSAGES, RENDERED

transformers = pytest.importorskip("transformers", reason="Transformers is not installed: make compat")
tokenizers = pytest.importorskip("tokenizers")

NOW = datetime(2026, 11, 22, tzinfo=UTC)
CASES = list(cases("jinja"))
TIMELESS = [template for template, _ in RENDERED if "strftime_now" not in template]


def applied(
    template: str,
    messages: list[dict[str, Any]],
    *,
    bos_token: str | None = None,
    eos_token: str | None = None,
    tools: list[dict[str, Any]] | None = None,
    documents: list[dict[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    **variables: object,
) -> str:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({})),
        bos_token=bos_token,
        eos_token=eos_token,
    )
    text = tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        tools=tools or None,
        documents=documents or None,
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
        **variables,
    )
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("case", CASES, ids=[f"{case.format}-{case.name}" for case in CASES])
def test_formats(case: Case) -> None:
    keywords = {**case.given, **case.variables}
    assert applied(case.template, case.messages, **keywords) == case.expected


@pytest.mark.parametrize("template", TIMELESS)
def test_the_environment(template: str) -> None:
    assert applied(template, MESSAGES) == render(template, MESSAGES, now=NOW)


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning(name: str) -> None:
    messages = [{"role": "assistant", "content": "", name: "Hm."}]
    template = "{{ messages | tojson }}"
    assert applied(template, messages) == render(template, messages, now=NOW)
