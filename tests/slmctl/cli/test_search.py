"""`slmctl search`: which models each filter finds, and that nothing else happens."""

from __future__ import annotations

import pytest

from slmctl.app.library import FOLDER
from tests.slmctl.cli.program import Program

ALL = len(list(FOLDER.glob("*/*/Modelfile")))


def names(slmctl: Program, *arguments: str) -> list[str]:
    outcome = slmctl("search", *arguments, "--json")
    assert outcome.code == 0
    return [model["name"] for model in outcome.json["models"]]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("qwen3",), ["qwen3:0.6b", "qwen3:1.7b", "qwen3:4b", "qwen3:8b"]),
        (("QWEN3", "4B"), ["qwen3:4b"]),
        (("qwen3", "microsoft"), []),
        (("microsoft",), ["bitnet:b1.58-2b-4t", "phi4-mini:3.8b"]),
        (("hindi", "8b"), ["llama3.1:8b"]),
        (("--task", "vision"), ["gemma3:4b"]),
        (("--task", "embedding"), ["all-minilm:22m"]),
        (("--task", "tools", "--task", "code", "--class", "micro"), ["qwen3:0.6b"]),
        (("--license", "gemma"), ["gemma3:1b", "gemma3:4b"]),
        (("--license", "GEMMA", "--license", "mit", "images"), ["gemma3:4b"]),
        (("--license", "GEMMA", "--license", "mit", "values"), ["bitnet:b1.58-2b-4t"]),
        (("--license", "apache-2.0", "--class", "micro"), ["qwen3:0.6b", "smollm2:135m", "smollm2:360m"]),
        (("--class", "medium"), []),
        (("--class", "micro", "llama"), ["llama3.2:1b"]),
        (("--max-size", "20MB"), ["hello:latest"]),
        (("--max-size", "7.349248 MB"), ["hello:latest"]),
        (("--max-size", "7.349 MB"), []),
        (("--max-size", "1GB", "qwen3"), ["qwen3:0.6b"]),
        (("--max-size", "1.1GiB", "qwen3"), ["qwen3:0.6b", "qwen3:1.7b"]),
        (("--max-size", "1.1gb", "qwen3"), ["qwen3:0.6b"]),
        (("nosuchmodel",), []),
    ],
)
def test_each_filter_narrows(slmctl: Program, arguments: tuple[str, ...], found: list[str]) -> None:
    assert names(slmctl, *arguments) == found
    assert not slmctl.home.exists()


def test_without_words_all_are_listed(slmctl: Program) -> None:
    found = slmctl("search", "--json").json["models"]
    assert len(found) == ALL
    assert {model["name"] for model in found if model["class"] is None} == {"all-minilm:22m", "hello:latest"}


def test_the_table_fits_a_terminal(slmctl: Program) -> None:
    outcome = slmctl("search")
    lines = outcome.out.splitlines()
    assert (outcome.code, outcome.err) == (0, "")
    assert lines[0].split() == ["NAME", "PARAMETERS", "CLASS", "SIZE", "LICENSE", "KIND"]
    assert len(lines) == 1 + 2 * ALL
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith("qwen3:0.6b"))
    assert row.split() == ["qwen3:0.6b", "596.05M", "micro", "391", "MB", "Apache-2.0", "instruct"]


def test_a_document_says_it_all(slmctl: Program) -> None:
    (model,) = slmctl("search", "phi4-mini", "--json").json["models"]
    assert (model["parameters"], model["context"], model["default"]) == (3_836_021_856, 131_072, True)
    assert model["license_url"] == "https://spdx.org/licenses/MIT.html"
    assert {"reference": "hf://microsoft/Phi-4-mini-instruct-onnx", "format": "onnx"} in model["builds"]


def test_nothing_found_is_no_failure(slmctl: Program) -> None:
    outcome = slmctl("search", "nosuchmodel")
    assert (outcome.code, outcome.out) == (0, "")
    assert "'slmctl search' lists all" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (("--task", "cook"), "'chat', 'code', 'embedding'"),
        (("--license", "GPL-3.0"), "'gemma'"),
        (("--class", "huge"), "'micro', 'small', 'medium'"),
        (("--max-size", "3B"), "500MB, 4GB or 2GiB"),
        (("--max-size", "7349248B"), "500MB, 4GB or 2GiB"),
        (("--max-size", "4"), "500MB, 4GB or 2GiB"),
        (("--max-size", "-1GB"), "500MB, 4GB or 2GiB"),
        (("--max-size", "9" * 400 + "GB"), "500MB, 4GB or 2GiB"),
    ],
)
def test_a_value_that_is_none_names_those_that_are(
    slmctl: Program, arguments: tuple[str, ...], known: str
) -> None:
    outcome = slmctl("search", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert known in outcome.err
    assert outcome.hint


def test_tab_knows_the_tasks(slmctl: Program) -> None:
    outcome = slmctl("completion", "bash", "--complete", "slmctl search --task t")
    assert [row.split("\t")[1] for row in outcome.out.splitlines()] == ["tools", "translation"]


def test_the_entry_of_hello_is_a_modelfile_that_works_offline(slmctl: Program) -> None:
    outcome = slmctl("create", "mine", "-f", str(FOLDER / "hello" / "latest" / "Modelfile"))
    assert outcome.code == 0
    (variant,) = slmctl("show", "mine", "--json").json["variants"]
    assert variant["spec"]["parameters"]["temperature"] == 0
