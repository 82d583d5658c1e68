"""The hub's JSON, from whomever."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedFile
from registry.remotes.hub_documents import is_safe_path, next_page, read_refs, read_revision, read_tree

TEXTS = st.sampled_from(
    ["", "x", "../x", "a" * 40, "0" * 40, "0" * 64, "sha256:" + "0" * 64, "directory", "org/repo"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "sha",
                    "id",
                    "siblings",
                    "rfilename",
                    "size",
                    "blobId",
                    "lfs",
                    "sha256",
                    "oid",
                    "path",
                    "type",
                    "branches",
                    "tags",
                    "name",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("read", [read_revision, read_tree, read_refs])
@given(value=VALUES)
def test_nothing_but_our_error_is_raised(read: Callable[[bytes], object], value: object) -> None:
    with suppress(MalformedFile):
        read(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("link", "page"),
    [
        ('<https://h/x?cursor=1>; rel="next"', "https://h/x?cursor=1"),
        ("<https://h/x>; rel=next", "https://h/x"),
        ('<https://h/a>; rel="prev", <https://h/b>; rel="next"', "https://h/b"),
        ('<https://h/a>; title="x, y"; rel="next"', "https://h/a"),
        ('<https://h/a>; rel="prev"', None),
        ("", None),
        ("<" + "x" * 5000 + '>; rel="next"', None),
        ("<" * 20_000, None),
    ],
)
def test_the_next_page(link: str, page: str | None) -> None:
    assert next_page(link) == page


@pytest.mark.parametrize("path", ["x", "a/b", "a b/ü.gguf", ".gitattributes", "a..b", "x" * 255])
def test_safe_paths(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/x",
        "x/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a\\b",
        "C:x",
        "a\0b",
        "a\nb",
        "\u202eb",
        "x" * 256,
        "a/" * 600 + "a",
    ],
)
def test_unsafe_paths(path: str) -> None:
    assert not is_safe_path(path)
