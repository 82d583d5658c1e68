"""The chat formats that slmctl knows by name."""

from __future__ import annotations

import pytest

from modelfiles.template.syntax import syntax_of
from registry.errors import UsageError
from slmctl.app.formats import chat_formats, go_format, jinja_format
from tests.modelfiles.template.golden import FORMATS


def test_every_format_has_its_texts() -> None:
    assert list(chat_formats()) == sorted(folder.name for folder in FORMATS.iterdir())


@pytest.mark.parametrize("name", chat_formats())
def test_each_is_there_in_its_language(name: str) -> None:
    assert syntax_of(jinja_format(name)) == "jinja"
    go = go_format(name)
    assert go is None or syntax_of(go) == "go"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("quen3", "Did you mean qwen3?"),
        ("llama-3", "Did you mean llama3?"),
        ("zzz", "It has alpaca, chatml,"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, hint: str) -> None:
    for read in (jinja_format, go_format):
        with pytest.raises(UsageError, match="has no chat format") as caught:
            read(name)
        assert (caught.value.hint or "").startswith(hint)


@pytest.mark.parametrize("name", ["", "../jinja", "qwen3.jinja", "a\nb", "QWEN3"])
def test_only_names_are_names(name: str) -> None:
    with pytest.raises(UsageError, match="has no chat format"):
        jinja_format(name)
