"""What is left out of a conversation: the oldest first, no half of a tool call, never a system message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slmctl.app.overflow import cut_tokens, longest_text, rests, room_for_answer, with_text

ROLES = ("system", "user", "assistant", "tool")


def message(role: str, number: int) -> dict[str, object]:
    return {"role": role, "content": f"{role} {number}"}


def roles(*names: str) -> list[dict[str, object]]:
    return [message(role, number) for number, role in enumerate(names)]


def test_what_stays_begins_with_the_user() -> None:
    found = rests(roles("system", "user", "assistant", "user", "assistant", "user"))
    assert [rest.dropped for rest in found] == [2, 4]
    assert [[each["role"] for each in rest.messages] for rest in found] == [
        ["system", "user", "assistant", "user"],
        ["system", "user"],
    ]


def test_results_of_tools_stay_with_their_call() -> None:
    found = rests(roles("user", "user", "assistant", "tool", "tool"))
    assert [[each["role"] for each in rest.messages] for rest in found] == [
        ["user", "assistant", "tool", "tool"],
        ["assistant", "tool", "tool"],
    ]


def test_one_message_cannot_go() -> None:
    assert rests(roles("user")) == []
    assert rests(roles("system", "user")) == []
    assert rests([]) == []


@given(st.lists(st.sampled_from(ROLES), max_size=12))
def test_the_end_and_all_system_messages_stay(names: list[str]) -> None:
    messages = roles(*names)
    sizes = []
    for rest in rests(messages):
        assert rest.messages
        assert rest.messages[-1] == messages[-1]
        assert rest.dropped == len(messages) - len(rest.messages) > 0
        kept = [each for each in rest.messages if each["role"] == "system"]
        assert kept == [each for each in messages if each["role"] == "system"]
        others = [each for each in rest.messages if each["role"] != "system"]
        if others and others[0]["role"] == "tool":  # then nobody called it
            assert messages[[*messages].index(dict(others[0])) - 1]["role"] != "assistant"
        sizes.append(len(rest.messages))
    assert sizes == sorted(sizes, reverse=True)


@given(
    st.lists(st.integers(0, 99), min_size=1, max_size=40), st.integers(2, 39), st.none() | st.integers(-1, 50)
)
def test_tokens_are_cut_in_their_middle(tokens: list[int], most: int, keep: int | None) -> None:
    if most >= len(tokens):
        return
    kept = cut_tokens(tokens, most, keep)
    first = min(4 if keep is None else most - 1 if keep < 0 else keep, most - 1)
    assert len(kept) == most
    assert list(kept[:first]) == tokens[:first]
    assert list(kept[first:]) == tokens[len(tokens) - (most - first) :]


def test_room_for_an_answer() -> None:
    assert room_for_answer(512, None) == room_for_answer(512, -1) == room_for_answer(512, 4000) == 128
    assert room_for_answer(512, 24) == 24
    assert room_for_answer(2, None) == 1


def test_the_longest_text_is_no_system_message() -> None:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "x" * 99},
        message("user", 1),
        {"role": "assistant", "content": None},
    ]
    assert longest_text(messages) == 1
    assert with_text(messages, 1, "y")[1] == {"role": "user", "content": "y"}
    assert messages[1]["content"] == "user 1"
    assert longest_text(messages[:1]) is None
