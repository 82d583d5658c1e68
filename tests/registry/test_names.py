"""The tables are those of Ollama's name parser, restated, and the design's own forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InvalidReference
from registry.names import ModelRef, Source, parse, parse_name

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "source", "host", "path", "tag", "full_name"),
    [
        ("qwen3", Source.BARE, None, "qwen3", None, "qwen3:latest"),
        ("qwen3:4b", Source.BARE, None, "qwen3", "4b", "qwen3:4b"),
        ("m", Source.BARE, None, "m", None, "m:latest"),
        ("a.b", Source.BARE, None, "a.b", None, "a.b:latest"),
        ("hello:latest", Source.BARE, None, "hello", "latest", "hello:latest"),
        ("a/b", Source.OLLAMA, "registry.ollama.ai", "a/b", None, "a/b:latest"),
        ("ollama://b:t", Source.OLLAMA, "registry.ollama.ai", "library/b", "t", "b:t"),
        ("ollama://a/b:t", Source.OLLAMA, "registry.ollama.ai", "a/b", "t", "a/b:t"),
        ("registry.ollama.ai/library/model:tag", Source.OLLAMA, "registry.ollama.ai", "library/model", "tag", "model:tag"),
        ("registry.ollama.ai/ns/model", Source.OLLAMA, "registry.ollama.ai", "ns/model", None, "ns/model:latest"),
        (
            "registry.ollama.ai/library/dolphin-mistral:7b-v2.6-dpo-laser-q6_K",
            Source.OLLAMA,
            "registry.ollama.ai",
            "library/dolphin-mistral",
            "7b-v2.6-dpo-laser-q6_K",
            "dolphin-mistral:7b-v2.6-dpo-laser-q6_K",
        ),
        ("host/namespace/model", Source.OCI, "host", "namespace/model", None, "host/namespace/model:latest"),
        ("h/n/m:t", Source.OCI, "h", "n/m", "t", "h/n/m:t"),
        ("_why/_the/_lucky:_stiff", Source.OCI, "_why", "_the/_lucky", "_stiff", "_why/_the/_lucky:_stiff"),
        ("host:https/namespace/model:tag", Source.OCI, "host:https", "namespace/model", "tag", "host:https/namespace/model:tag"),
        ("localhost:5000/t/m:v1", Source.OCI, "localhost:5000", "t/m", "v1", "localhost:5000/t/m:v1"),
        ("localhost/m", Source.OCI, "localhost", "m", None, "localhost/m:latest"),
        ("ghcr.io/org/team/model", Source.OCI, "ghcr.io", "org/team/model", None, "ghcr.io/org/team/model:latest"),
        ("oci://host/m", Source.OCI, "host", "m", None, "host/m:latest"),
        ("hf://org/repo", Source.HUGGINGFACE, "hf.co", "org/repo", None, "hf.co/org/repo:latest"),
        ("hf.co/org/repo:Q4_K_M", Source.HUGGINGFACE, "hf.co", "org/repo", "Q4_K_M", "hf.co/org/repo:Q4_K_M"),
        ("huggingface.co/org/repo", Source.HUGGINGFACE, "hf.co", "org/repo", None, "hf.co/org/repo:latest"),
        ("https://huggingface.co/org/repo", Source.HUGGINGFACE, "hf.co", "org/repo", None, "hf.co/org/repo:latest"),
        ("hf://org/repo:sub/m.gguf", Source.HUGGINGFACE, "hf.co", "org/repo", "sub/m.gguf", "hf.co/org/repo:sub/m.gguf"),
    ],
)  # fmt: skip
def test_names_that_are_accepted(
    text: str, source: Source, host: str | None, path: str, tag: str | None, full_name: str
) -> None:
    ref = parse(text)
    assert (ref.source, ref.host, ref.path, ref.tag) == (source, host, path, tag)
    assert ref.full_name == full_name
    assert parse(str(ref)) == ref


def test_the_lengths_that_ollama_accepts_are_accepted() -> None:
    assert parse(f"{'h' * 350}/{'n' * 80}/{'m' * 80}:{'t' * 80}").tag == "t" * 80
    assert parse(f"m:{'t' * 128}").tag == "t" * 128
    with pytest.raises(InvalidReference):
        parse(f"m:{'t' * 129}")


@pytest.mark.parametrize("path", ["/m.gguf", "./m.gguf", "../m.gguf", "~/m.gguf", ".", ".."])
def test_paths_are_files(path: str) -> None:
    assert parse(path) == ModelRef(source=Source.FILE, path=path)
    assert parse(f"file://{path}").path == path
    with pytest.raises(InvalidReference, match="is a file"):
        parse_name(path)


def test_revisions_and_digests_are_pins() -> None:
    assert parse("hf://org/repo@main:Q8_0").revision == "main"
    assert parse("hf://org/repo@refs/pr/7").revision == "refs/pr/7"
    pinned = parse(f"ghcr.io/a/b:v1@sha256:{HEX}")
    assert pinned.digest is not None
    assert (pinned.tag, pinned.digest.hex) == ("v1", HEX)
    assert parse(str(pinned)) == pinned
    assert parse(f"hello@sha256:{HEX}").full_name == "hello:latest"
    assert parse("http://h:5000/a/b").plain_http
    assert str(parse("http://h:5000/a/b")) == "http://h:5000/a/b"


@pytest.mark.parametrize(
    ("text", "offending"),
    [
        ("", ""),
        ("m:", ""),
        ("n/m:", ""),
        ("hh//", ""),
        ("^", "^"),
        ("@", "@"),
        ("a@b", "@b"),
        ("00@", "@"),
        ("-hh/nn/mm:tt", "-"),
        ("hh/-nn/mm:tt", "-"),
        ("hh/nn/-mm:tt", "-"),
        ("hh/nn/mm:-tt", "-"),
        ("host/name:space/model:tag", ":space"),
        ("a b", " "),
        ("a\n", "\n"),
        ("a\0b", "\0"),
        ("a\x1b[31m", "\x1b"),
        ("mod\N{CYRILLIC SMALL LETTER IE}l", "\N{CYRILLIC SMALL LETTER IE}"),
        ("a\\b", "\\"),
        ("h.io/..", "."),
        ("a/../b", "."),
        ("ftp://h/x", "ftp"),
        ("oci://m", "m"),
        ("hf://repo", "repo"),
        ("hf://a/b/c", "a/b/c"),
        ("hf://a/b@", ""),
        ("hf://a/b:", ""),
        ("hf://a/b:../x", "."),
        ("ollama://a/b/c", "/c"),
        (f"a@sha256:{HEX[:-1]}", f"sha256:{HEX[:-1]}"),
        (f"a@sha256:{HEX.upper()}", f"sha256:{HEX.upper()}"),
        ("file://", ""),
        ("file:///a\0b", "\0"),
    ],
)
def test_what_is_no_name_is_refused_with_the_place(text: str, offending: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    error = caught.value
    assert error.source == text
    assert text[slice(*error.span)] == offending
    assert error.message.endswith(".")
    assert error.message.isprintable()


@given(st.text(max_size=60) | st.from_regex(r"[a-z0-9/:@._-]{1,40}", fullmatch=True))
def test_a_name_is_refused_or_reads_back(text: str) -> None:
    try:
        ref = parse(text)
    except InvalidReference:
        return
    assert parse(str(ref)) == ref
    if ref.source is not Source.FILE:
        assert ".." not in ref.full_name.split("/")
        assert parse(ref.full_name).full_name == ref.full_name
