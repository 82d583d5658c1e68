"""WWW-Authenticate, as servers write it and as they should not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.remotes.challenge import parse_challenges

CASES: list[tuple[str, list[tuple[str, dict[str, str]]]]] = [
    ('Bearer realm="https://a/token",service="b",scope="repository:c/d:pull,push"',
     [("bearer", {"realm": "https://a/token", "service": "b", "scope": "repository:c/d:pull,push"})]),
    ('Basic realm="x"', [("basic", {"realm": "x"})]),
    ("BASIC REALM=x", [("basic", {"realm": "x"})]),
    ('Basic realm="a \\"quoted\\" thing"', [("basic", {"realm": 'a "quoted" thing'})]),
    ('Bearer realm = "x" , service = y', [("bearer", {"realm": "x", "service": "y"})]),
    ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
    ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
    ('Negotiate , Basic', [("negotiate", {}), ("basic", {})]),
    ("Negotiate a87421000492aa874209af8bc028==", [("negotiate", {})]),
    ('Negotiate abc==, Bearer realm="y"', [("negotiate", {}), ("bearer", {"realm": "y"})]),
    (', ,Basic realm="x",,', [("basic", {"realm": "x"})]),
    ('Bearer realm="a",realm="b"', [("bearer", {"realm": "a"})]),
    ('Bearer realm="unfinished', [("bearer", {})]),
    ("Bearer realm=", [("bearer", {})]),
    ("Bearer", [("bearer", {})]),
    ("", []),
    ('="x"', []),
    ("\x00Bearer realm=x", []),
    ('Bearer realm="a\x01b"', [("bearer", {})]),
    ('Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',  # RFC 9110, 11.6.1
     [("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}), ("basic", {"realm": "simple"})]),
]  # fmt: skip


@pytest.mark.parametrize(("header", "expected"), CASES)
def test_cases(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(each.scheme, dict(each.parameters)) for each in parse_challenges([header])] == expected


def test_several_headers_are_read_in_order() -> None:
    found = parse_challenges(['Basic realm="x"', 'Bearer realm="y"'])
    assert [each.scheme for each in found] == ["basic", "bearer"]


def test_a_header_of_a_megabyte_is_read_to_its_limit_only() -> None:
    assert len(parse_challenges(["Basic," * 200_000])) < 5000


@given(st.text())
def test_nothing_raises(text: str) -> None:
    parse_challenges([text])


_TOKEN = st.text("abcdefgXYZ019-_.", min_size=1, max_size=8)
_VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(st.lists(st.tuples(_TOKEN, st.dictionaries(_TOKEN.map(str.lower), _VALUE, min_size=1)), max_size=4))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(
        f"{scheme} {', '.join(f'{key}={quoted(value)}' for key, value in parameters.items())}"
        for scheme, parameters in challenges
    )
    found = [(each.scheme, dict(each.parameters)) for each in parse_challenges([text])]
    assert found == [(scheme.lower(), parameters) for scheme, parameters in challenges]
