"""Chat templates in Jinja: the environment that Transformers gives them, and where they go wrong."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfiles.template.errors import TemplateError
from modelfiles.template.jinja import pieces, render

NOW = datetime(2026, 11, 22, 9, 5, 0, tzinfo=UTC)
MESSAGES = [{"role": "user", "content": "Grüße <b>"}]

RENDERED = [
    # blocks take the line break behind them and the blanks before them
    ("{% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
    ("{{ 'a' }}\n{{ 'b' }}", "a\nb"),
    ("a\n", "a"),
    # tojson is json.dumps: no HTML escapes, no ASCII escapes
    ("{{ messages[0].content | tojson }}", '"Grüße <b>"'),
    ("{{ messages | tojson }}", '[{"role": "user", "content": "Grüße <b>"}]'),
    ("{{ {'b': 1, 'a': 2} | tojson }}", '{"b": 1, "a": 2}'),
    ("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'),
    ("{{ {'b': 1} | tojson(indent=2) }}", '{\n  "b": 1\n}'),
    ("{{ {'b': [1, 2]} | tojson(separators=(',', ':')) }}", '{"b":[1,2]}'),
    ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
    # the clock is the caller's
    ("{{ strftime_now('%d %b %Y %H:%M') }}", "22 Nov 2026 09:05"),
    # loop controls and generation blocks
    ("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "02"),
    ("{% generation %}\n  said\n{% endgeneration %}\n.", "  said\n."),
    ("{% set a = 1 %}{% generation %}{% set a = 2 %}{{ a }}{% endgeneration %}{{ a }}", "21"),
    ("{% set n = namespace(a=1, self=2) %}{% set n.a = n.a + n.self %}{{ n.a }}", "3"),
    # what is not given: tools and documents are none, tokens are undefined, and so is everything else
    ("{{ tools is none }} {{ documents is none }} {{ tools is defined }}", "True True True"),
    ("[{{ bos_token }}][{{ eos_token is defined }}][{{ enable_thinking is defined }}]", "[][False][False]"),
    ("{{ add_generation_prompt }}", "True"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "text"), RENDERED)
def test_rendered(template: str, text: str) -> None:
    assert render(template, MESSAGES, now=NOW) == text


def test_all_that_is_given_is_there() -> None:
    template = (
        "{{ bos_token }}{{ eos_token }}{{ tools[0].name }}{{ documents[0].text }}"
        "{{ add_generation_prompt }}{{ enable_thinking }}{{ template }}"
    )
    text = render(
        template,
        MESSAGES,
        tools=[{"name": "look"}],
        documents=[{"text": "words"}],
        add_generation_prompt=False,
        now=NOW,
        bos_token="<s>",
        eos_token="</s>",
        enable_thinking=False,
        template="T",
    )
    assert text == "<s></s>lookwordsFalseFalseT"


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_reasoning_is_found_under_its_usual_names(name: str) -> None:
    template = "{{ messages[0].reasoning_content }} {{ messages[0].thinking }}"
    assert render(template, [{"role": "assistant", name: "Hm."}], now=NOW) == "Hm. Hm."


FAILURES = [
    ("a\n{% if %}", 2, "has a mistake on line 2: Expected an expression"),
    ("{% generation %}", 1, "has a mistake on line 1: Unexpected end of template"),
    ("a\nb\n{{ nothing.of.it }}", 3, "uses what is not there on line 3: 'nothing' is undefined."),
    ("{{ raise_exception('Only one\nsystem message.') }}", 1, "refuses this conversation: Only one system message."),
    ("\n{{ 1 % 0 }}", 2, "fails on line 2: integer modulo by zero (ZeroDivisionError)."),
    ("{{ messages.pop() }}", 1, "reaches for what is closed to templates on line 1"),
    ("{{ ''.__class__.__mro__ }}", 1, "reaches for what is closed to templates on line 1"),
    ("{% set n = namespace(_a=1) %}", 1, "reaches for what is closed to templates on line 1"),
    ("{% set n = namespace() %}\n{% set n.__html__ = 1 %}", 2, "reaches for what is closed to templates on line 2"),
    ("{% include 'other' %}", 1, "wants another file on line 1"),
    ("{{ " + "(" * 100_000, None, "is nested too deeply"),
    ("{{ messages[0].content + 1 }}", 1, "fails on line 1: can only concatenate str"),
    ("{{ undefined | tojson }}", 1, "fails on line 1: Object of type Undefined is not JSON serializable"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "line", "said"), FAILURES, ids=[said for _, _, said in FAILURES])
def test_failures(template: str, line: int | None, said: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render(template, MESSAGES, now=NOW)
    assert said in caught.value.message
    assert caught.value.line == line


def test_a_message_is_one_short_line() -> None:
    with pytest.raises(TemplateError) as caught:
        render("{{ raise_exception('\x1b[2J\n' + 'long ' * 1000) }}", MESSAGES, now=NOW)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400


def test_pieces_come_as_they_are_written() -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}ab{% endfor %}{% endfor %}"
    written = pieces(endless, MESSAGES, now=NOW)
    assert [next(written) for _ in range(3)] == ["ab", "ab", "ab"]


@given(st.text(alphabet="{}%#-+ \n'\"()[]|.,:=~*/0123456789abcdefinorstm_é", max_size=80))
def test_any_text_renders_or_raises_ours(template: str) -> None:
    with contextlib.suppress(TemplateError):
        assert isinstance(render(template, MESSAGES, now=NOW), str)
