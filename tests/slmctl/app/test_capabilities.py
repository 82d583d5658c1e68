"""What a model can is read from its template, its header and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelfiles.spec import ModelSpec
from registry.formats.gguf import read_header
from registry.names import parse_name
from registry.store.store import Store
from slmctl.app.capabilities import HeaderSays, capabilities, capabilities_of
from slmctl.app.package import Package
from slmctl.app.ships import FOLDER
from tests.slmctl.cli.program import Program

CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.mark.parametrize(
    ("spec", "header", "expected"),
    [
        (ModelSpec(), HeaderSays(), {"completion"}),
        (ModelSpec(), HeaderSays(CHAT), {"completion"}),
        (
            ModelSpec(),
            HeaderSays(CHAT + "{% if tools %}{{ tools | tojson }}{% endif %}"),
            {"completion", "tools"},
        ),
        (
            ModelSpec(),
            HeaderSays(CHAT + "{% if enable_thinking %}<think>{% endif %}"),
            {"completion", "thinking"},
        ),
        (ModelSpec(parser="qwen3"), HeaderSays(CHAT), {"completion", "thinking"}),
        (ModelSpec(parser="passthrough"), HeaderSays(CHAT), {"completion"}),
        (ModelSpec(renderer="qwen3"), HeaderSays(CHAT), {"completion", "tools", "thinking"}),
        (ModelSpec(template="{{ .Prompt }}"), HeaderSays("{{ tools }}"), {"completion"}),
        (
            ModelSpec(template="{{ if .Tools }}{{ .Tools }}{{ end }}{{ .Prompt }}"),
            HeaderSays(),
            {"completion", "tools"},
        ),
        (ModelSpec(template="{{ .Prompt }}{{ .Suffix }}"), HeaderSays(), {"completion", "insert"}),
        (
            ModelSpec(template="{{ range .Messages }}{{ .Thinking }}{{ end }}"),
            HeaderSays(),
            {"completion", "thinking"},
        ),
        (ModelSpec(template="{{ if .Broken"), HeaderSays(CHAT), {"completion"}),
        (ModelSpec(), HeaderSays(fills_in=True), {"completion", "insert"}),
        (ModelSpec(), HeaderSays(CHAT, pooling=0), {"completion"}),
        (ModelSpec(), HeaderSays(CHAT, pooling=1), {"embedding"}),
        (ModelSpec(), HeaderSays(CHAT, pooling=4), {"rerank"}),
    ],
)
def test_from_what_is_said(spec: ModelSpec, header: HeaderSays, expected: set[str]) -> None:
    assert capabilities(spec, header) == expected


def test_a_projector_sees() -> None:
    assert capabilities(ModelSpec(), HeaderSays(), has_projector=True) == {"completion", "vision"}


def test_hello_only_talks() -> None:
    with (FOLDER / "hello" / "hello.gguf").open("rb") as stream:
        says = HeaderSays.of(read_header(stream))
    assert says.chat_template is not None
    assert capabilities(ModelSpec(), says) == {"completion"}


def test_of_models_in_a_store(slmctl: Program, tmp_path: Path) -> None:
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text('FROM hello\nTEMPLATE "{{ .Tools }}{{ .Prompt }}"\n', encoding="utf-8")
    assert slmctl("create", "tooled", "-f", str(modelfile)).code == 0
    store = Store(slmctl.store)
    for name, expected in (("hello", {"completion"}), ("tooled", {"completion", "tools"})):
        package = Package.open(store, parse_name(name))
        for _ in range(2):  # the second time from memory
            assert capabilities_of(store, package.variants[0]) == expected
