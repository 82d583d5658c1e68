from __future__ import annotations

from pathlib import Path

import pytest

from registry.formats.gguf import read_header
from tools.reciting_model import cue, write_reciting_model

TEMPLATE = "{{ messages[-1].content }}" + cue(0)


def test_the_same_texts_give_the_same_file_whose_header_is_sound(tmp_path: Path) -> None:
    paths = [tmp_path / "one.gguf", tmp_path / "two.gguf"]
    for path in paths:
        write_reciting_model(path, ["It is 20 degrees in Kyiv.", "What?"], chat_template=TEMPLATE)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with paths[0].open("rb") as stream:
        header = read_header(stream)
    assert header.architecture == "llama"
    assert header.chat_template == TEMPLATE


@pytest.mark.parametrize("texts", [[""], ["no", "no"], ["a"]])
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be told from"):
        write_reciting_model(tmp_path / "x.gguf", texts)
