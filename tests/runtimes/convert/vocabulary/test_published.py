"""The tokenizers of two real models: hello, which comes with slmctl, and stories260K."""

from __future__ import annotations

from pathlib import Path

import gguf

from runtimes.convert.files import SourceFiles
from runtimes.convert.vocabulary.vocabulary import vocabulary

HELLO = Path(__file__).parents[4] / "slmctl" / "shipped" / "hello"

Read = dict[str, object]


def read(folder: Path) -> Read:
    files = SourceFiles.of_folder(folder)
    return {key.name: key.value for key in vocabulary(files, files.json("config.json"))}


def written(path: Path) -> Read:
    """The tokenizer in a GGUF file."""
    fields = gguf.GGUFReader(path).fields.items()
    return {name: field.contents() for name, field in fields if name.startswith("tokenizer.")}


def test_hello_has_the_tokenizer_of_its_gguf() -> None:
    assert read(HELLO) == written(HELLO / "hello.gguf")


def test_stories_has_the_tokenizer_of_its_gguf(stories: Path) -> None:
    theirs = written(stories / "stories260K-f32.gguf")
    assert theirs.pop("tokenizer.ggml.add_space_prefix") is True  # what llama.cpp takes where nothing is said
    ours = read(stories / "hf")
    extra = {
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_sep_token": False,
        "tokenizer.ggml.add_eos_token": False,
    }
    assert ours == theirs | extra
