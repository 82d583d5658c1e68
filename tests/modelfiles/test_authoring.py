"""What the instructions of a Modelfile mean together: what replaces what, and what is said about it."""

from __future__ import annotations

import pytest

from modelfiles.authoring import Authored, from_text
from modelfiles.builtin import PARSERS, RENDERERS
from modelfiles.errors import ModelfileError
from modelfiles.spec import Message
from slmctl.app.formats import chat_formats


def _warnings(authored: Authored) -> list[tuple[str, int]]:
    return [(each.rule, each.line) for each in authored.warnings]


def test_every_instruction_has_its_place() -> None:
    authored = from_text("""FROM ./model.gguf
FROM ./mmproj.gguf
ADAPTER ./lora.gguf
DRAFT ./small-00001-of-00002.gguf
DRAFT ./small-00002-of-00002.gguf
REQUIRES v0.14.0
RENDERER chatml
PARSER passthrough
""")
    assert authored.sources == ("./model.gguf", "./mmproj.gguf")
    assert authored.adapter == "./lora.gguf"
    assert authored.drafts == ("./small-00001-of-00002.gguf", "./small-00002-of-00002.gguf")
    spec = authored.spec
    assert (spec.requires, spec.renderer, spec.parser) == ("0.14.0", "chatml", "passthrough")
    assert _warnings(authored) == []


@pytest.mark.parametrize("keyword", ["TEMPLATE", "SYSTEM", "RENDERER", "PARSER", "REQUIRES", "ADAPTER"])
def test_the_last_one_counts_and_the_others_are_named(keyword: str) -> None:
    first, last = ("1.2.3", "2.0.0") if keyword == "REQUIRES" else ("qwen3", "qwen3")
    authored = from_text(f"{keyword} {first}\nFROM x\n{keyword} {last}")
    value = authored.adapter if keyword == "ADAPTER" else getattr(authored.spec, keyword.lower())
    assert value == last
    assert _warnings(authored) == [("replaced", 1)]
    assert authored.warnings[0].column == 1


def test_a_later_parameter_replaces_an_earlier_one_and_a_stop_does_not() -> None:
    authored = from_text("FROM x\nPARAMETER top_k 1\nPARAMETER stop a\nPARAMETER top_k 2\nPARAMETER stop b")
    assert authored.spec.parameters == {"top_k": 2, "stop": ("a", "b")}
    assert _warnings(authored) == [("replaced", 2)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FROM a\nFROM b", 2),
        ("FROM ./a.gguf\nFROM a:1\nFROM ./b.gguf\nFROM hf.co/a/b:Q8_0", 4),
        ("FROM hf.co/a/b:c.gguf\nFROM a/b.gguf\nFROM hf.co/a/b", 3),
    ],
)
def test_several_models_are_variants_here_and_ollama_takes_the_last(text: str, line: int) -> None:
    authored = from_text(text)
    assert _warnings(authored) == [("several-models", line)]


@pytest.mark.parametrize("text", ["FROM a\nFROM ./b.gguf", "FROM b.gguf\nFROM c.gguf", "FROM /a\nFROM ~/b"])
def test_one_model_and_files_are_no_several_models(text: str) -> None:
    assert _warnings(from_text(text)) == []


def test_ollama_reads_parameter_model_as_from() -> None:
    authored = from_text(
        "PARAMETER model x\nPARAMETER system Be brief.\nPARAMETER adapter a\nPARAMETER draft d\n"
        "PARAMETER license MIT\nPARAMETER message user: hi: you\nPARAMETER requires 1.2.3\n"
        "PARAMETER template {{ .Prompt }}\nPARAMETER renderer chatml\nPARAMETER parser qwen3"
    )
    assert (authored.sources, authored.adapter, authored.drafts) == (("x",), "a", ("d",))
    spec = authored.spec
    assert (spec.system, spec.licenses, spec.requires) == ("Be brief.", ("MIT",), "1.2.3")
    assert spec.messages == (Message(role="user", content="hi: you"),)
    assert (spec.template, spec.renderer, spec.parser) == ("{{ .Prompt }}", "chatml", "qwen3")


@pytest.mark.parametrize("text", ["PARAMETER message hi", "PARAMETER message tool: hi", "PARAMETER From x"])
def test_what_ollama_does_not_read_so_is_refused(text: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        from_text(f"FROM x\n{text}")
    (problem,) = caught.value.problems
    assert (problem.rule, problem.line, problem.column) == ("unknown-parameter", 2, 11)
    assert "Write " in (problem.hint or "")


@pytest.mark.parametrize("version", ["0.14.0", "v0.14.0", "1.2.3-rc1", "1.2.3+b.1", "0.14", "1"])
def test_requires_takes_a_version(version: str) -> None:
    assert from_text(f"FROM x\nREQUIRES {version}").spec.requires == version.removeprefix("v")


@pytest.mark.parametrize("version", ["", "latest", "01.2.3", "1.2.3.4", "vv1.2.3", "1.2.3-", ">=1.0.0"])
def test_requires_refuses_what_is_none(version: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        from_text(f"FROM x\nREQUIRES {version}")
    (problem,) = caught.value.problems
    assert (problem.rule, problem.line) == ("requires", 2)
    assert "0.14.0" in (problem.hint or "")


@pytest.mark.parametrize("name", RENDERERS)
def test_a_built_in_renderer_is_known(name: str) -> None:
    assert _warnings(from_text(f"FROM x\nRENDERER {name}")) == []


@pytest.mark.parametrize("name", PARSERS)
def test_a_built_in_parser_is_known(name: str) -> None:
    assert _warnings(from_text(f"FROM x\nPARSER {name}")) == []


def test_an_unknown_renderer_is_a_warning_that_says_what_is_used() -> None:
    (warning,) = from_text("FROM x\nRENDERER glm-4.7").warnings
    assert (warning.rule, warning.line, warning.column) == ("unknown-renderer", 2, 10)
    assert "the model's own chat template is used instead" in warning.message
    (warning,) = from_text("FROM x\nRENDERER glm-4.7\nTEMPLATE {{ .Prompt }}").warnings
    assert "TEMPLATE is used instead" in warning.message


def test_an_unknown_parser_is_a_warning_that_says_what_is_used() -> None:
    (warning,) = from_text("FROM x\nPARSER harmony").warnings
    assert (warning.rule, warning.line, warning.column) == ("unknown-parser", 2, 8)
    assert "is used instead" in warning.message


def test_a_template_beside_a_renderer_is_not_used() -> None:
    authored = from_text("FROM x\nTEMPLATE {{ .Prompt }}\nRENDERER chatml")
    assert _warnings(authored) == [("unused-template", 2)]


def test_warnings_end_somewhere() -> None:
    assert len(from_text("FROM x\n" + "SYSTEM y\n" * 1000).warnings) == 100


def test_the_renderers_are_the_formats_that_come_with_slmctl() -> None:
    assert chat_formats() == RENDERERS
