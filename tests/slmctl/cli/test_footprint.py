"""`slmctl footprint`: the table, the document, and the picture."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from runtimes.planning.mix import quantized_bytes
from slmctl.app.library import find_model
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model

VPS, DESKTOP = "vps-2cpu-4gb", "rtx-3060-12gb"


def rows(slmctl: Program, *arguments: str) -> dict[str, dict[str, Any]]:
    done = slmctl("footprint", *arguments, "--json")
    assert done.code == 0, done.err
    return {row["quantization"]: row for row in done.json["quantizations"]}


def test_a_model_of_the_library_is_compared_without_a_network_and_without_weights(slmctl: Program) -> None:
    found = slmctl("footprint", "qwen3:4b", "--for", VPS, "--ctx", "4096", "--kv", "q8_0", "--json").json
    assert (found["name"], found["ctx"], found["kv"]) == ("qwen3:4b", 4096, "q8_0")
    table = {row["quantization"]: row for row in found["quantizations"]}
    model = find_model("qwen3", "4b")
    assert model is not None
    for label in ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"):  # the same with an importance matrix
        header = table[label]["file_bytes"] - quantized_bytes(model.facts, label)
        assert header == pytest.approx(6.0e6, rel=0.05)  # fit.md 1.3
    for row in table.values():
        memory = row["memory"]
        parts = memory["weights_bytes"] + memory["cache_bytes"] + memory["other_bytes"]
        assert memory["bytes"] == parts
        assert (
            memory["cache_bytes"] == 306 << 20
        )  # 36 layers, 8 heads of 128, K and V, 34/32 bytes: fit.md 2.2
        assert (row["present"], row["file_basis"], row["speed"]["basis"]) == (False, "tensors", "prior")
        assert row["reduction"] == pytest.approx(
            1 - row["file_bytes"] / found["reference"]["bytes"], abs=1e-4
        )
    sizes = [row["file_bytes"] for row in found["quantizations"]]
    assert sizes == sorted(sizes, reverse=True)
    assert table["BF16"]["reduction"] == 0
    assert table["Q4_K_M"]["memory"]["fits"] is False  # fit.md 6.8, scenario 5
    assert table["Q4_K_S"]["memory"]["fits"] is True
    assert [label for label, row in table.items() if row["chosen"]] == ["Q4_K_S"]
    assert not (slmctl.store / "blobs").exists()


def test_without_a_wish_the_context_and_the_cache_are_the_plans(slmctl: Program) -> None:
    plan = slmctl("plan", "qwen3:4b", "--for", VPS, "--json").json["choice"]
    found = slmctl("footprint", "qwen3:4b", "--for", VPS, "--json").json
    assert (found["ctx"], found["kv"]) == (plan["ctx"], plan["kv"])
    assert [row["variant"] for row in found["quantizations"] if row["chosen"]] == [plan["variant"]]


def test_what_loses_more_and_saves_nothing_is_told(slmctl: Program) -> None:
    table = rows(slmctl, "gemma3:1b", "--for", VPS)
    assert table["Q2_K"]["file_bytes"] > table["Q3_K_S"]["file_bytes"]  # fit.md 1.3
    assert table["Q2_K"]["beaten_by"] is not None
    assert table["Q5_K_M"]["beaten_by"] is None


def test_what_is_here_is_measured(slmctl: Program) -> None:
    table = rows(slmctl, "hello")
    weights = Path(__file__).parents[3] / "slmctl" / "shipped" / "hello" / "hello.gguf"
    here = table["F16"]
    assert (here["present"], here["file_basis"]) == (True, "file")
    assert here["file_bytes"] == weights.stat().st_size
    assert here["memory"]["basis"] == "engine"
    assert table["Q8_0"]["present"] is False
    assert table["Q8_0"]["memory"]["basis"] == "header"
    for row in table.values():
        assert row["place"] == "cpu" or row["runtime"] == "llama.cpp"


def test_a_folder_of_safetensors_is_compared_by_its_headers(slmctl: Program, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "slmctl" / "shipped" / "hello"
    folder = tmp_path / "hello"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(shipped / name)
    by_folder, by_gguf = rows(slmctl, str(folder), "--ctx", "512"), rows(slmctl, "hello", "--ctx", "512")
    for label in set(by_folder) & set(by_gguf) - {"F16"}:
        for part in ("weights_bytes", "cache_bytes"):
            assert by_folder[label]["memory"][part] == by_gguf[label]["memory"][part]


def test_the_table_says_what_is_estimated(slmctl: Program) -> None:
    done = slmctl("footprint", "hello")
    assert done.code == 0, done.err
    lines = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "~" not in lines["F16"].split()[1]
    assert "here" in lines["F16"]
    assert lines["Q4_K_M"].split()[1].startswith("~")
    assert max(map(len, done.out.splitlines())) <= 110


@pytest.mark.parametrize("name", ["a.png", "b.SVG"])
def test_the_picture_is_one_and_always_the_same(slmctl: Program, tmp_path: Path, name: str) -> None:
    first, again = tmp_path / name, tmp_path / f"again-{name}"
    arguments = ("qwen3:0.6b", "--for", DESKTOP, "--ctx", "4096")
    done = slmctl("footprint", *arguments, "--plot", str(first), "--json")
    assert done.code == 0, done.err
    assert done.json["plot"] == str(first)
    assert slmctl("footprint", *arguments, "--plot", str(again)).code == 0
    data = first.read_bytes()
    assert data == again.read_bytes()
    if name.endswith("png"):
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", data[16:24])
        assert width > 1200
        assert height > 600
    else:
        assert ET.fromstring(data.decode()).tag.endswith("svg")
        assert b"<dc:date>" not in data


def test_a_picture_of_another_kind_is_refused_before_anything(slmctl: Program, tmp_path: Path) -> None:
    done = slmctl("footprint", "hello", "--plot", str(tmp_path / "a.gif"))
    assert done.code == 2
    assert ".png" in done.hint
    assert list(tmp_path.glob("*.gif")) == []


def test_without_matplotlib_it_says_what_to_install(slmctl: Program, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import sys\nsys.modules['matplotlib'] = None\n")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    path = tmp_path / "a.png"
    done = slmctl("footprint", "qwen3:0.6b", "--plot", str(path), environment=environment)
    assert done.code == 1
    assert "matplotlib" in done.err
    assert "slmctl[plot]" in done.hint
    assert not path.exists()
    assert slmctl("footprint", "qwen3:0.6b", environment=environment).code == 0


def test_a_picture_where_nothing_can_be_written_is_a_sentence(slmctl: Program, tmp_path: Path) -> None:
    done = slmctl("footprint", "hello", "--plot", str(tmp_path / "nowhere" / "a.png"))
    assert (done.code, len(done.err.splitlines())) == (1, 3)  # hello came with slmctl
    assert "cannot be written" in done.err


def test_names_that_mean_no_one_model_are_refused(slmctl: Program, tmp_path: Path) -> None:
    family = slmctl("footprint", "qwen3")
    assert (family.code, "family" in family.err) == (2, True)
    assert "qwen3:4b" in family.hint
    assert slmctl("footprint", "nothing-of-the-kind").code == 3
    path = tmp_path / "broken.gguf"
    write_random_model(path)
    path.write_bytes(path.read_bytes()[:100])
    assert slmctl("footprint", str(path)).code == 5


def test_a_context_is_no_longer_than_asked(slmctl: Program) -> None:
    short, long = (rows(slmctl, "qwen3:0.6b", "--ctx", tokens, "--kv", "f16", "--for", DESKTOP) for tokens in ("2048", "8192"))  # fmt: skip
    for label, row in short.items():
        assert row["memory"]["cache_bytes"] * 4 == long[label]["memory"]["cache_bytes"]
        assert row["memory"]["weights_bytes"] == long[label]["memory"]["weights_bytes"]
