"""Ollama's rules: which variables a template gets, and how often it is rendered."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelfiles.template.errors import TemplateError
from modelfiles.template.go.meter import Limits
from modelfiles.template.ollama import Chat, collate, parse_template, render
from modelfiles.template.records import Message, ToolCall
from registry.errors import UsageError
from tests.modelfiles.template.data import WEATHER_TOOL

TODAY = dt.date(2026, 3, 1)

SYSTEM = Message(role="system", content="Be brief.")
HI = Message(role="user", content="Hi")
HELLO = Message(role="assistant", content="Hello.")
WHO = Message(role="user", content="Who are you?")

TURNS = "{{if .System}}<s>{{.System}}{{end}}{{if .Prompt}}<u>{{.Prompt}}{{end}}<a>{{.Response}}</a>\n"
CHAT = "{{range .Messages}}<{{.Role}}>{{.Content}}{{end}}<assistant>"


def prompt(template: str, *messages: Message, **others: Any) -> str:
    return render(parse_template(template), Chat(messages=messages, **others), today=TODAY)


def test_messages_are_rendered_once() -> None:
    assert prompt(CHAT, HI, HELLO, WHO) == "<user>Hi<assistant>Hello.<user>Who are you?<assistant>"


def test_turns_are_rendered_one_by_one_and_the_last_ends_at_the_response() -> None:
    assert prompt(TURNS, SYSTEM, HI, HELLO, WHO) == "<s>Be brief.<u>Hi<a>Hello.</a>\n<u>Who are you?<a>"


def test_a_template_without_response_gets_one_at_its_end() -> None:
    template = "[INST] {{.Prompt}} [/INST] "
    assert prompt(template, HI, HELLO, WHO) == "[INST] Hi [/INST] Hello.[INST] Who are you? [/INST] "


def test_a_template_that_reads_messages_gets_none() -> None:
    assert parse_template("{{.Messages}}").variables == {"messages"}
    assert parse_template("{{.Prompt}}").variables == {"prompt", "response"}
    assert parse_template("{{range $.Messages}}{{end}}").variables == {"$", "messages"}
    assert parse_template('{{define "x"}}{{.Response}}{{end}}{{template "x" .}}').variables == {"response"}


def test_the_word_counts_in_any_case() -> None:
    assert prompt("{{range .messages}}{{end}}x{{.Response}}y", HI) == "xy"  # once, with the whole of it


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("a{{.Response}}b", "aHello."),
        ("a{{if .Response}}{{.Response}}b{{end}}c", "aHello."),
        ("a{{with .Response}}{{.}}{{end}}c{{.Response}}d", "aHello.cHello."),
        ("a{{if .System}}b{{.Response}}c{{else}}d{{.Response}}e{{end}}f", "adHello."),
        ("{{print .Response 1 2}}b", "Hello."),
        ("{{print (print .Response) 1}}b", "Hello."),
        ("{{$.Response}}b", "Hello.b"),  # only a field is seen as the place
        ("{{.Response}}{{template `t`}}{{define `t`}}t{{end}}", "Hello."),
        ("{{template `t`}}{{.Response}}{{define `t`}}t{{end}}", "tHello."),
    ],
)
def test_what_the_last_turn_leaves_out(template: str, output: str) -> None:
    assert prompt(template, HELLO) == output


def test_a_template_of_turns_knows_no_messages_tools_or_suffix() -> None:
    template = "{{.Tools}}|{{.Suffix}}|{{.Prompt}}|{{.Response}}"
    assert prompt(template, HI, tools=[WEATHER_TOOL]) == "<no value>|<no value>|Hi|"


def test_the_system_text_comes_first_unless_the_messages_have_one() -> None:
    assert prompt(CHAT, HI, system="Be kind.") == "<system>Be kind.<user>Hi<assistant>"
    assert prompt(CHAT, SYSTEM, HI, system="Be kind.") == "<system>Be brief.<user>Hi<assistant>"
    assert prompt(TURNS, HI, system="Be kind.") == "<s>Be kind.<u>Hi<a>"


def test_system_is_all_system_messages() -> None:
    template = "{{.System}}|{{range .Messages}}{{.Role}},{{end}}"
    late = Message(role="system", content="Now in French.")
    assert prompt(template, SYSTEM, HI, late) == "Be brief.\n\nNow in French.|system,user,system,"


def test_neighbours_of_one_role_are_one_message() -> None:
    assert prompt(CHAT, HI, WHO) == "<user>Hi\n\nWho are you?<assistant>"
    assert prompt(TURNS, HI, WHO) == "<u>Hi\n\nWho are you?<a>"


def test_results_of_tools_stay_apart() -> None:
    results = [Message(role="tool", content=str(number), tool_name="n") for number in range(2)]
    assert collate([HI, *results]) == ("", [HI, *results])


def test_a_new_system_text_begins_a_turn() -> None:
    late = Message(role="system", content="Now in French.")
    assert prompt(TURNS, HI, late, WHO) == "<u>Hi<a></a>\n<s>Now in French.<u>Who are you?<a>"


def test_roles_are_read_in_any_case() -> None:
    assert prompt(CHAT, Message(role="User", content="Hi")) == "<user>Hi<assistant>"


def test_fill_in_the_middle() -> None:
    template = "{{if .Suffix}}<PRE>{{.Prompt}}<SUF>{{.Suffix}}<MID>{{else}}{{.Prompt}}{{end}}"
    assert prompt(template, prompt="def f(", suffix=")") == "<PRE>def f(<SUF>)<MID>"
    assert prompt(template, HI) == "Hi"
    assert prompt(template, HI, suffix=")") == "Hi"
    assert prompt(CHAT, HI, prompt="a", suffix="b") == "<assistant>"


@pytest.mark.parametrize(
    ("think", "output"),
    [(None, "false||false"), (True, "true|medium|true"), (False, "false||true"), ("high", "true|high|true")],
)
def test_thinking(think: bool | str | None, output: str) -> None:
    for template in (
        "{{.Think}}|{{.ThinkLevel}}|{{.IsThinkSet}}{{.Response}}",
        "{{if .Messages}}{{end}}{{.Think}}|{{.ThinkLevel}}|{{.IsThinkSet}}",
    ):
        assert prompt(template, HI, think=think) == output


def test_tools_and_calls() -> None:
    call = ToolCall(name="weather", arguments={"days": 2, "city": "Ulm"}, id="c1")
    template = (
        "{{range .Tools}}{{.Function.Name}}{{range $name, $p := .Function.Parameters.Properties}} "
        "{{$name}}: {{toTypeScriptType $p}}{{end}}{{end}}\n"
        "{{range .Messages}}{{range .ToolCalls}}{{.Function.Name}}({{.Function.Arguments}}){{end}}"
        "{{if eq .Role `tool`}}{{.ToolName}}={{.Content}}{{end}}{{end}}"
    )
    messages = [
        HI,
        Message(role="assistant", tool_calls=(call,)),
        Message(role="tool", content="sun", tool_name="weather"),
    ]
    assert prompt(template, *messages, tools=[WEATHER_TOOL]) == (
        "weather city: string days: number | any[] unit: string | null\n"
        'weather({"city":"Ulm","days":2})weather=sun'
    )


def test_tools_print_as_json() -> None:
    assert prompt("{{if .Messages}}{{end}}{{.Tools}}", tools=[WEATHER_TOOL]) == (
        '[{"type":"function","function":{"name":"weather","description":"The weather \\u003cnow\\u003e \\u0026 here",'
        '"parameters":{"type":"object","required":["city"],"properties":{'
        '"city":{"type":"string","description":"where"},'
        '"days":{"anyOf":[{"type":"integer"},{"type":"array"}]},'
        '"unit":{"type":["string","null"],"description":"of degrees","enum":["C","F",1]}}}}}]'
    )
    assert prompt("{{if .Messages}}{{end}}{{.Tools}}{{if .Tools}}x{{end}}") == "null"


def test_properties_inside_properties_keep_their_order() -> None:
    inner = {"z": {"type": "integer"}, "a": {"type": "object", "properties": {"deep": {}}}}
    tool = {
        "function": {
            "name": "f",
            "parameters": {"properties": {"p": {"type": "object", "properties": inner}}},
        }
    }
    template = "{{if .Messages}}{{end}}{{range .Tools}}{{json .Function.Parameters.Properties}}{{end}}"
    assert prompt(template, tools=[tool]) == (
        '{"p":{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"object","properties":{"deep":{}}}}}}'
    )


def test_numbers_of_callers_are_floats_as_in_json() -> None:
    call = ToolCall(name="f", arguments={"n": 5, "big": 10**15, "half": 0.5})
    template = "{{range .Messages}}{{range .ToolCalls}}{{range .Function.Arguments}}{{.}} {{end}}{{.Function.Arguments}}{{end}}{{end}}"
    message = Message(role="assistant", tool_calls=(call,))
    assert prompt(template, message) == '1e+15 0.5 5 {"big":1000000000000000,"half":0.5,"n":5}'


@pytest.mark.parametrize(
    "tool",
    [
        1,
        {"function": []},
        {"type": 5},
        {"function": {"parameters": {"properties": {"a": 1}}}},
        {"function": {"parameters": {"required": "a"}}},
        {"function": {"parameters": {"properties": {"a": {"type": [1]}}}}},
        {"items": {1, 2}},
        {"items": 10**400},
    ],
)
def test_a_tool_that_is_none(tool: Any) -> None:
    with pytest.raises(UsageError, match=r"tools\[0\]"):
        prompt("{{if .Messages}}{{.Tools}}{{end}}", tools=[tool])


def test_a_schema_without_end() -> None:
    schema: dict[str, Any] = {}
    for _ in range(200):
        schema = {"properties": {"a": schema}}
    for tool in ({"function": {"parameters": schema}}, {"items": schema}):
        with pytest.raises(UsageError, match="nested too deeply"):
            prompt("{{if .Messages}}{{.Tools}}{{end}}", tools=[tool])


def test_the_day_is_the_callers() -> None:
    assert prompt("{{currentDate}} {{yesterdayDate}}{{.Response}}") == "2026-03-01 2026-02-28"


def test_text_that_is_not_utf_8_becomes_a_replacement_character() -> None:
    assert prompt(
        '{{slice "é" 1}}{{.Prompt}}{{.Response}}', Message(role="user", content="a\udcc3\ud800")
    ) == ("\ufffda\ufffd\ufffd")


def test_a_wrong_template_says_where() -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template("{{range .Messages}}\n{{.Role}")
    assert (caught.value.line, caught.value.column) == (2, 8)


def test_limits_are_the_callers() -> None:
    with pytest.raises(TemplateError, match="too much text"):
        render(parse_template(CHAT), Chat(messages=[HI]), today=TODAY, limits=Limits(characters=10))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([TURNS, CHAT, "{{.Prompt}}", "{{.System}}{{.Response}}", "{{json .Messages}}{{.Tools}}"]),
    st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant", "tool"]), content=st.text())
    ),
    st.none() | st.booleans() | st.text(max_size=3),
    st.text(max_size=3),
)
def test_any_chat_has_a_prompt(
    template: str, messages: list[Message], think: bool | str | None, system: str
) -> None:
    text = prompt(template, *messages, think=think, system=system)
    text.encode()  # which fails for half a character
    if template == CHAT:
        assert text.endswith("<assistant>")


@given(st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant", "tool"]), content=st.text())))
def test_collating_loses_no_text_and_is_done_once(messages: list[Message]) -> None:
    _, collated = collate(messages)
    assert "\n\n".join(m.content for m in collated) == "\n\n".join(m.content for m in messages)
    assert collate(collated)[1] == collated
