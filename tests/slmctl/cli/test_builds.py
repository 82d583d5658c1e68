"""Several FROM lines, ADAPTER, DRAFT, REQUIRES, RENDERER and PARSER: from the Modelfile to the answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from slmctl.app.formats import jinja_format
from slmctl.app.ships import FOLDER
from tests.parts import write_adapter, write_projector
from tests.slmctl.cli.program import Outcome, Program
from tools.random_model import write_random_model

HELLO = FOLDER / "hello" / "hello.gguf"
QUESTION = "What is GGUF?"


@pytest.fixture
def files(tmp_path: Path, tiny_model: Path, tiny_shards: list[Path]) -> Path:
    """A folder with two builds of one model, its parts, and what is none of it."""
    folder = tmp_path / "files"
    folder.mkdir()
    shutil.copy(tiny_model, folder / "f32.gguf")
    write_random_model(folder / "q8.gguf", tensor_type="Q8_0")
    for shard in tiny_shards:
        shutil.copy(shard, folder)
    write_projector(folder / "mmproj.gguf")
    write_adapter(folder / "lora.gguf", tiny_model, strength=0.5)
    shutil.copy(HELLO, folder / "other.gguf")
    return folder


def create(slmctl: Program, folder: Path, text: str, name: str = "made") -> Outcome:
    (folder / "Modelfile").write_text(text)
    return slmctl("create", name, "-f", str(folder / "Modelfile"))


def shown(slmctl: Program, name: str = "made") -> dict[str, list[str]]:
    """Variant ids, each with the paths of its files but for the spec."""
    variants: list[dict[str, Any]] = slmctl("show", name, "--json").json["variants"]
    return {
        each["id"]: [file["path"] for file in each["files"] if file["role"] != "config"] for each in variants
    }


def test_another_quantization_is_another_variant(slmctl: Program, files: Path) -> None:
    made = create(slmctl, files, "FROM f32.gguf\nFROM q8.gguf\nSYSTEM hi\nPARAMETER temperature 0\n")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("created 'made' (gguf-f32, gguf-q8_0, ")
    assert shown(slmctl) == {"gguf-f32": ["model.gguf"], "gguf-q8_0": ["model.gguf"]}
    assert all(each["spec"]["system"] == "hi" for each in slmctl("show", "made", "--json").json["variants"])
    assert slmctl("list", "--json").json["models"][0]["variant"] == "gguf-f32,gguf-q8_0"
    answer = slmctl("run", "made", "hi", "--variant", "q8", "--json")
    assert answer.json["variant"] == "gguf-q8_0"
    freed = slmctl("rm", "made", "--json").json
    assert freed["freed"] > (files / "f32.gguf").stat().st_size
    assert list((slmctl.store / "blobs" / "sha256").iterdir()) == []


def test_of_several_builds_the_plan_s_runs_without_a_wish(slmctl: Program, files: Path) -> None:
    create(slmctl, files, "FROM q8.gguf\nFROM f32.gguf\nPARAMETER num_predict 1\n")
    planned = slmctl("plan", "made", "--json").json["choice"]["variant"]
    assert slmctl("run", "made", "hi", "--json").json["variant"] == planned


def test_a_file_before_a_model_is_the_first_build(slmctl: Program, files: Path) -> None:
    create(slmctl, files, "FROM f32.gguf\nSYSTEM hi\n", "base")
    create(slmctl, files, "FROM q8.gguf\nFROM base\n")
    made = slmctl("show", "made", "--json").json["variants"]
    assert [each["id"] for each in made] == ["gguf-q8_0", "gguf-f32"]
    assert [each["spec"]["system"] for each in made] == ["hi", "hi"]


def test_its_modelfile_makes_the_same_model(slmctl: Program, files: Path) -> None:
    text = "FROM f32.gguf\nFROM q8.gguf\nADAPTER lora.gguf\nREQUIRES v0.14.0\nRENDERER chatml\nPARSER qwen3\n"
    create(slmctl, files, f"{text}LICENSE MIT\nMESSAGE user hi\nMESSAGE assistant ho\n")
    create(slmctl, files, slmctl("show", "made", "--modelfile").out, "again")
    made, again = (slmctl("show", name, "--json").json for name in ("made", "again"))
    assert made["digest"] == again["digest"]
    assert "REQUIRES 0.14.0\n" in slmctl("show", "made", "--modelfile").out


def test_shards_a_projector_and_an_adapter_complete_a_variant(slmctl: Program, files: Path) -> None:
    text = (
        "FROM tiny-00002-of-00003.gguf\nFROM ./mmproj.gguf\nFROM tiny-00001-of-00003.gguf\nADAPTER lora.gguf"
    )
    names = sorted(path.name for path in files.glob("*-of-00003.gguf"))
    made = create(
        slmctl,
        files,
        text.replace("tiny-00002-of-00003.gguf", names[1]).replace("tiny-00001-of-00003.gguf", names[0]),
    )
    assert made.code == 0, made.err
    assert shown(slmctl) == {
        "gguf-f32": [
            "model-00001-of-00003.gguf",
            "model-00002-of-00003.gguf",
            "model-00003-of-00003.gguf",
            "projector.gguf",
            "adapter.gguf",
        ]
    }
    assert "projector" in slmctl("show", "made").out
    assert slmctl("run", "made", "hi", "--json").json["generated_tokens"] > 0


def test_a_model_of_the_store_and_a_file_are_two_variants(slmctl: Program, files: Path) -> None:
    create(slmctl, files, "FROM f32.gguf\nSYSTEM hi\nPARAMETER top_k 5\nPARAMETER seed 1\n", "base")
    made = create(slmctl, files, "FROM base\nFROM q8.gguf\nPARAMETER seed 2\n")
    assert made.code == 0, made.err
    assert list(shown(slmctl)) == ["gguf-f32", "gguf-q8_0"]
    for variant in slmctl("show", "made", "--json").json["variants"]:
        assert variant["spec"] == {
            "schema": "slmctl.spec/1",
            "parameters": {"seed": 2, "top_k": 5},
            "system": "hi",
        }


def test_a_folder_goes_before_a_name_and_a_name_said_twice_is_one(slmctl: Program, files: Path) -> None:
    create(slmctl, files, "FROM f32.gguf\n", "sub")
    (files / "sub").mkdir()
    assert create(slmctl, files, "FROM sub\nFROM sub\n").code == 0  # an empty folder is no model
    assert list(shown(slmctl)) == ["gguf-f32"]
    shutil.move(files / "q8.gguf", files / "sub")
    assert create(slmctl, files, "FROM sub\n").code == 0
    assert list(shown(slmctl)) == ["gguf-q8_0"]


def test_the_home_folder_is_expanded(slmctl: Program, files: Path) -> None:
    shutil.copy(files / "f32.gguf", slmctl.home.parent / "mine.gguf")
    assert create(slmctl, files, "FROM ~/mine.gguf\n").code == 0
    assert shown(slmctl) == {"gguf-f32": ["model.gguf"]}


def test_a_folder_is_all_its_gguf_files(slmctl: Program, files: Path) -> None:
    (files / "other.gguf").unlink()
    for shard in files.glob("*-of-00003.gguf"):
        shard.unlink()
    for text in ("FROM .\n", "FROM \n", f"FROM {files}\n"):
        assert create(slmctl, files, text).code == 0
        assert shown(slmctl) == {
            "gguf-f32": ["model.gguf", "adapter.gguf", "projector.gguf"],
            "gguf-q8_0": ["model.gguf", "adapter.gguf", "projector.gguf"],
        }


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("FROM f32.gguf\nFROM other.gguf", 2, "'other.gguf' is a build of another model than 'f32.gguf'"),
        ("FROM f32.gguf\nFROM copy.gguf", 2, "'f32.gguf' and 'copy.gguf' are both gguf-f32"),
        ("FROM mmproj.gguf", 2, "No FROM names the weights of a model; 'mmproj.gguf' alone is none"),
        ("FROM f32.gguf\nFROM mmproj.gguf\nFROM second.gguf", 2, "two of the kind projector"),
        ("FROM f32.gguf\nFROM lora.gguf\nADAPTER zero.gguf", 2, "two of the kind adapter"),
        ("FROM f32.gguf\nADAPTER none.gguf", 3, "There is no file 'none.gguf' for ADAPTER"),
        ("FROM f32.gguf\nADAPTER ", 3, "There is no file '' for ADAPTER"),
        ("FROM f32.gguf\nADAPTER q8.gguf", 2, "'q8.gguf', which is not a LoRA adapter"),
        ("FROM other.gguf\nADAPTER lora.gguf", 2, "'lora.gguf' does not fit the model"),
        ("FROM f32.gguf\nADAPTER ia3.gguf", 2, "is of the kind 'ia3'"),
        ("FROM f32.gguf\nDRAFT lora.gguf", 2, "'lora.gguf', which is not a model"),
        ("FROM f32.gguf\nDRAFT ./f32.gguf", 2, "DRAFT names 'f32.gguf', which FROM names too"),
        ("FROM f32.gguf\nDRAFT link.gguf", 2, "DRAFT names 'link.gguf', which FROM names too"),
        ("FROM f32.gguf\nDRAFT other.gguf", 2, "'other.gguf' has another vocabulary"),
        ("FROM f32.gguf\nDRAFT none.gguf", 3, "There is no file 'none.gguf' for DRAFT"),
        ("FROM f32.gguf\nDRAFT .", 2, "holds"),
        ("FROM f32.gguf\nFROM nomodel", 3, "nomodel"),
        ("FROM empty/", 2, "holds no GGUF file"),
        ("FROM https://example.com/a.gguf", 2, "FROM takes no address of a file"),
        ("FROM f32.gguf\nFROM matrix.gguf", 2, "It holds no model but 'imatrix'"),
        ("FROM f32.gguf\nRENDERER chatml\nREQUIRES soon", 2, "Modelfile has 1 problem"),
    ],
)
def test_what_does_not_go_together_is_a_sentence(
    slmctl: Program, files: Path, tiny_model: Path, text: str, code: int, words: str
) -> None:
    shutil.copy(files / "f32.gguf", files / "copy.gguf")
    shutil.copy(files / "mmproj.gguf", files / "second.gguf")
    write_adapter(files / "zero.gguf", tiny_model, strength=0)
    write_adapter(files / "ia3.gguf", tiny_model, strength=0, kind="ia3")
    matrix = (
        (files / "mmproj.gguf")
        .read_bytes()
        .replace(b"\x06\0\0\0\0\0\0\0mmproj", b"\x07\0\0\0\0\0\0\0imatrix")
    )
    (files / "matrix.gguf").write_bytes(matrix.replace(b"clip", b"what"))
    (files / "link.gguf").symlink_to("f32.gguf")
    (files / "empty").mkdir()
    outcome = create(slmctl, files, text)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert slmctl("list", "--json").json["models"] == []
    blobs = slmctl.store / "blobs" / "sha256"
    assert not blobs.exists() or list(blobs.iterdir()) == []


def test_an_adapter_changes_the_answer_and_one_of_zeros_does_not(slmctl: Program, tmp_path: Path) -> None:
    write_adapter(tmp_path / "zero.gguf", HELLO, strength=0)
    write_adapter(tmp_path / "lora.gguf", HELLO, strength=0.3)
    for name in ("zero", "lora"):
        create(slmctl, tmp_path, f"FROM hello\nADAPTER {name}.gguf\nPARAMETER num_predict 20\n", name)
    create(slmctl, tmp_path, "FROM lora\nADAPTER zero.gguf\n", "replaced")
    plain, zero, lora, replaced = (
        slmctl("run", name, QUESTION).out for name in ("hello", "zero", "lora", "replaced")
    )
    assert zero != lora
    assert plain.startswith(zero.rstrip("\n"))
    assert replaced == zero


def test_a_draft_guesses_ahead_and_changes_nothing(slmctl: Program, tmp_path: Path) -> None:
    shutil.copy(HELLO, tmp_path / "small.gguf")
    create(slmctl, tmp_path, "FROM hello\nDRAFT small.gguf\n", "ahead")
    create(slmctl, tmp_path, "FROM ahead\nPARAMETER draft_num_predict 0\n", "alone")
    plain, ahead, alone = (slmctl("run", name, QUESTION).out for name in ("hello", "ahead", "alone"))
    assert plain == ahead == alone
    assert "draft acceptance" in slmctl("logs", "ahead").out
    assert "draft acceptance" not in slmctl("logs", "alone").out


def test_what_a_draft_guesses_at_a_time_is_planned(slmctl: Program, tmp_path: Path) -> None:
    shutil.copy(HELLO, tmp_path / "small.gguf")
    create(slmctl, tmp_path, "FROM hello\nDRAFT small.gguf\n", "usual")
    rows = {}
    for tokens in (0, 4, 16):
        create(slmctl, tmp_path, f"FROM usual\nPARAMETER draft_num_predict {tokens}\n", "ahead")
        planned = slmctl("plan", "ahead", "--json").json
        parts = {part["name"]: part["bytes"] for part in planned["memory"]["parts"]}
        assert planned["choice"]["draft_tokens"] == tokens
        assert ("draft" in parts) == (tokens > 0)
        rows[tokens] = parts["output"]
    assert (rows[4], rows[16]) == (5 * rows[0], 17 * rows[0])
    assert slmctl("run", "ahead", "--max-tokens", "2", "hi").code == 0
    (estimate,) = slmctl("plan", "--history", "--json").json["estimates"]
    beside = parts.get("draft", 0) + parts["process"]
    assert estimate["planned"] == planned["memory"]["need_bytes"] - beside  # run planned the same


def test_a_renderer_writes_the_prompt(slmctl: Program, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps([{"role": "user", "content": "Hi"}]))
    create(slmctl, tmp_path, "FROM hello\nRENDERER alpaca\nTEMPLATE {{ .Prompt }}\n", "other")
    prompt = slmctl("render", "other", "--messages", str(tmp_path / "m.json")).out
    assert "### Instruction:\nHi" in prompt
    assert slmctl("show", "other", "--template").out.startswith(jinja_format("alpaca"))
    create(slmctl, tmp_path, "FROM hello\nRENDERER chatml\n", "same")  # hello's own format
    answers = {name: slmctl("run", name, QUESTION).out for name in ("hello", "same", "other")}
    assert answers["same"] == answers["hello"]
    assert answers["other"] != answers["hello"]


def test_a_template_over_an_inherited_renderer_is_said_to_be_unused(slmctl: Program, tmp_path: Path) -> None:
    create(slmctl, tmp_path, "FROM hello\nRENDERER chatml\n", "base")
    made = create(slmctl, tmp_path, "FROM base\nTEMPLATE {{ .Prompt }}\n")
    assert (made.code, "RENDERER chatml writes the prompts" in made.err) == (0, True)


def test_an_unknown_renderer_is_said_and_the_models_own_template_is_used(
    slmctl: Program, tmp_path: Path
) -> None:
    made = create(slmctl, tmp_path, "FROM hello\nRENDERER glm-4.7\nPARSER harmony\n", "own")
    assert made.code == 0
    assert "[unknown-renderer]" in made.err
    assert "[unknown-parser]" in made.err
    assert slmctl("run", "own", QUESTION).out == slmctl("run", "hello", QUESTION).out


def test_a_parser_takes_the_thoughts_out_or_leaves_them(slmctl: Program, tmp_path: Path) -> None:
    create(slmctl, tmp_path, 'FROM hello\nTEMPLATE """{{ .Prompt }}<think>"""\nPARSER qwen3\n', "thinks")
    create(slmctl, tmp_path, "FROM thinks\nPARSER passthrough\n", "says")
    thinks, says = (slmctl("run", name, QUESTION, "--json").json for name in ("thinks", "says"))
    assert thinks["response"] == ""
    assert thinks["thinking"] == says["response"].strip() != ""
    assert says["thinking"] is None
    create(slmctl, tmp_path, "FROM hello\nRENDERER deepseek-r1\nPARSER deepseek-r1\n", "rendered")
    rendered = slmctl("run", "rendered", QUESTION, "--json").json
    assert rendered["response"] == ""
    assert rendered["thinking"]


def test_requires_is_kept_and_a_later_ollama_is_said(slmctl: Program, tmp_path: Path) -> None:
    made = create(slmctl, tmp_path, "FROM hello\nREQUIRES v99.1\n")
    assert (made.code, "asks for Ollama 99.1" in made.err) == (0, True)
    assert "requires" in slmctl("show", "made").out
    made = create(slmctl, tmp_path, "FROM hello\nREQUIRES 0.14.0\n", "older")
    assert "asks for" not in made.err
    made = create(slmctl, tmp_path, f"FROM hello\nREQUIRES 0.33.{'9' * 5000}\n", "longest")
    assert (made.code, "asks for Ollama 0.33.999" in made.err) == (0, True)
