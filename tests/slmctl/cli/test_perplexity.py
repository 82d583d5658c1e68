"""`slmctl perplexity`: real builds of hello, measured; what is kept of it, and who counts with it."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import requests

from slmctl.app.ships import FOLDER
from tests.processes import children, until
from tests.quantized import write_quantized
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program
from tools.hello.corpus import load
from tools.random_model import write_random_model
from tools.random_reranker import write_random_reranker

HELLO = FOLDER / "hello" / "hello.gguf"
BUILDS = ("Q8_0", "Q5_1", "Q4_0")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with hello in F16 and three quantizations, and a Modelfile of all."""
    folder = tmp_path_factory.mktemp("builds")
    shutil.copy(HELLO, folder / "f16.gguf")
    for quantization in BUILDS:
        write_quantized(HELLO, folder / f"{quantization.lower()}.gguf", quantization)
    names = ("f16", *(each.lower() for each in BUILDS))
    (folder / "Modelfile").write_text("".join(f"FROM ./{name}.gguf\n" for name in names))
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What hello has learnt, a fact a line."""
    path = tmp_path_factory.mktemp("text") / "facts.txt"
    path.write_text("".join(f"{fact.answer}\n" for fact in load().facts), encoding="utf-8")
    return path


@pytest.fixture
def model(slmctl: Program, builds: Path) -> Iterator[Program]:
    done = slmctl("create", "m", "-f", str(builds / "Modelfile"))
    assert done.code == 0, done.err
    yield slmctl
    assert slmctl("verify").code == 0


def measured(program: Program, text: Path, *arguments: str) -> dict[str, Any]:
    done = program("perplexity", "m", "--text", str(text), "--ctx", "64", "--json", *arguments)
    assert done.code == 0, done.err
    return done.json


def rows(program: Program) -> list[dict[str, Any]]:
    """The rows of the table of names that name nothing."""
    table = json.loads((program.store / "index.json").read_bytes())["manifests"]
    return [row for row in table if "org.opencontainers.image.ref.name" not in row["annotations"]]


@pytest.mark.slow
def test_a_build_loses_more_the_fewer_bits_it_has(model: Program, text: Path) -> None:
    found = {
        each: measured(model, text, "--variant", each.lower(), "--against", "f16", "--chunks", "30")
        for each in BUILDS
    }
    base = found["Q8_0"]["against"]["perplexity"]
    assert all(each["against"]["perplexity"] == base for each in found.values())
    assert all(each["tokens"] == 30 * 31 for each in found.values())
    order = [base, *(found[each]["perplexity"] for each in BUILDS)]
    for better, worse in itertools.pairwise(order):
        noise = 0.1 * worse["error"]  # of both on the same tokens, of which a tenth is their own
        assert better["value"] <= worse["value"] + noise
    losses = [found[each]["against"]["divergence"] for each in BUILDS]
    assert 0 < losses[0]["value"] < losses[1]["value"] < losses[2]["value"]
    for less, more in itertools.pairwise(losses):
        assert more["value"] - less["value"] > 2 * (more["error"] + less["error"])
    same = [found[each]["against"]["same_top"]["value"] for each in BUILDS]
    assert 1 > same[0] > same[1] > same[2] > 0.5


def test_it_is_said_to_people(model: Program, text: Path) -> None:
    done = model(
        "perplexity",
        "m",
        "--text",
        str(text),
        "--ctx",
        "64",
        "--chunks",
        "4",
        "--variant",
        "q8",
        "--against",
        "f16",
    )
    assert done.code == 0
    assert done.err == ""
    lines = [line.split() for line in done.out.splitlines() if line]
    assert lines[0] == ["m", "gguf-q8_0"]
    assert lines[1][0] == "perplexity"
    assert lines[2] == ["tokens", "124", "in", "4", "windows", "of", "64"]
    assert lines[3] == ["against", "m", "gguf-f16"]
    assert [line[0] for line in lines[4:]] == ["its", "divergence", "same"]
    assert lines[5][-1] in ("near-lossless", "balanced", "compact")


def test_it_is_kept_with_the_variant_and_counts(model: Program, text: Path) -> None:
    before = model("plan", "m", "--variant", "q4_0", "--json").json["quality"]
    assert before["basis"].startswith("prior")
    found = measured(model, text, "--variant", "q4_0", "--against", "f16", "--chunks", "34")
    assert found["kept"]
    shown = {each["id"]: each for each in model("show", "m", "--json").json["variants"]}
    assert [name for name, each in shown.items() if each["measured"]] == ["gguf-q4_0"]
    (document,) = shown["gguf-q4_0"]["measured"]
    assert document["perplexity"] == found["perplexity"]
    assert document["against"]["digest"] == shown["gguf-f16"]["digest"]
    assert str(text) not in json.dumps(document)
    after = model("plan", "m", "--variant", "q4_0", "--json").json["quality"]
    assert (after["basis"], after["loss"]) == (
        "measured",
        pytest.approx(found["against"]["divergence"]["value"]),
    )
    table = {row["variant"]: row for row in model("footprint", "m", "--json").json["quantizations"]}
    assert table["gguf-q4_0"]["quality"]["basis"] == "measured"
    assert table["gguf-q8_0"]["quality"]["basis"] != "measured"
    assert "perplexity" in model("show", "m").out
    (row,) = rows(model)
    assert row["annotations"] == {"dev.slmctl.subject": shown["gguf-q4_0"]["digest"]}
    assert model("gc", "--json").json["garbage"] == []
    again = measured(model, text, "--variant", "q4_0", "--against", "f16", "--chunks", "34")
    assert again["kept"]
    assert rows(model) == [row]  # it is measured anew, not twice
    glance = measured(model, text, "--variant", "q4_0", "--against", "f16", "--chunks", "8")
    assert not glance["kept"]  # in the place of more
    assert model("plan", "m", "--variant", "q4_0", "--json").json["quality"] == after
    assert model("rm", "m").code == 0
    assert list((model.store / "blobs" / "sha256").iterdir()) == []
    assert rows(model) == []


def test_the_same_is_measured_the_same(model: Program, text: Path) -> None:
    first, second = (
        measured(model, text, "--variant", "q5_1", "--chunks", "4", "--no-keep") for _ in range(2)
    )
    assert first == second
    assert not first["kept"]
    assert rows(model) == []


def test_another_model_may_be_the_measure(model: Program, text: Path) -> None:
    found = measured(model, text, "--variant", "q8_0", "--against", "hello", "--chunks", "4")
    assert (found["against"]["name"], found["against"]["variant"]) == ("hello:latest", "gguf-f16")
    assert found["against"]["divergence"]["value"] < 0.01


def test_progress_is_told(model: Program, text: Path) -> None:
    done = model(
        *("perplexity", "m", "--text", str(text), "--ctx", "64", "--chunks", "3", "--variant", "q8"),
        *("--progress", "json"),
    )
    events = [json.loads(line) for line in done.err.splitlines()]
    told = [each for each in events if each["event"] == "measure"]
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)
    assert (told[0]["done"], told[-1]["done"]) == (0, told[-1]["total"])
    assert len(told) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(model: Program, text: Path, number: signal.Signals) -> None:
    before = {path.name for path in (model.store / "blobs" / "sha256").iterdir()}
    process = model.start(
        *("perplexity", "m", "--text", str(text), "--ctx", "64", "--variant", "q8", "--against", "f16"),
        *("--progress", "json"),
    )
    assert process.stderr is not None
    assert b"measure" in process.stderr.readline()
    workers = until(lambda: children(process.pid) or None)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert rows(model) == []
    assert {path.name for path in (model.store / "blobs" / "sha256").iterdir()} == before
    assert list((model.store / "leases").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("m", "--text", "{text}", "--variant", "q3"), 3, "no variant"),
        (("m", "--text", "{text}", "--against", "nobody"), 3, "nobody"),
        (("m", "--text", "{folder}/none.txt"), 2, "cannot be read"),
        (("m", "--text", "{folder}"), 2, "cannot be read"),
        (("m", "--text", "{folder}/short.txt"), 2, "2 windows of 512 take 1024"),
        (("m", "--text", "{folder}/empty.txt"), 2, "0 tokens"),
        (("m", "--text", "{folder}/bytes.txt"), 2, "not UTF-8"),
        (("m", "--text", "{text}", "--ctx", "4096"), 2, "trained for 1024"),
        (("m", "--text", "{text}", "--against", "other"), 2, "different vocabularies"),
        (("vectors", "--text", "{text}", "--ctx", "16"), 4, "no perplexity"),
        (("m",), 2, "--text"),
    ],
)
def test_what_cannot_be_measured_is_said(
    model: Program, text: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "short.txt").write_text("A few words.")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    write_random_model(tmp_path / "other.gguf")
    write_random_reranker(tmp_path / "vectors.gguf")
    for name in ("other", "vectors"):
        assert model("create", name, "--from", str(tmp_path / f"{name}.gguf")).code == 0
    filled = [each.format(text=text, folder=tmp_path) for each in arguments]
    done = model("perplexity", *filled)
    assert (done.code, rows(model)) == (code, [])
    assert says in done.err


def test_a_build_that_gives_no_numbers_is_said(slmctl: Program, text: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.gguf"
    write_random_model(path)
    reader = gguf.GGUFReader(path, "r+")
    norm = next(tensor for tensor in reader.tensors if tensor.name == "output_norm.weight")
    norm.data[:] = np.nan
    reader.data.flush()
    assert slmctl("create", "m", "--from", str(path)).code == 0
    done = slmctl("perplexity", "m", "--text", str(text), "--ctx", "32", "--chunks", "4")
    assert (done.code, done.out, rows(slmctl)) == (1, "", [])
    assert "no probabilities" in done.err


def test_a_bundle_carries_what_was_measured(model: Program, text: Path, tmp_path: Path) -> None:
    measured(model, text, "--variant", "q8_0", "--against", "f16", "--chunks", "34")
    bundle, again = tmp_path / "m.tar", tmp_path / "again.tar"
    assert model("export", "m", "-o", str(bundle)).code == 0
    assert model("export", "m", "-o", str(again)).code == 0
    assert bundle.read_bytes() == again.read_bytes()
    shown = model("show", "m", "--json").json["variants"]
    assert model("show", str(bundle), "--json").json["variants"] == shown
    assert model("verify", str(bundle)).code == 0
    other = Program(tmp_path / "other", Path(model.environment["XDG_RUNTIME_DIR"]))
    assert other("import", str(bundle), "--as", "mine").code == 0
    assert other("show", "mine", "--json").json["variants"] == shown
    assert other("verify").code == 0
    assert other("plan", "mine", "--variant", "q8", "--json").json["quality"]["basis"] == "measured"
    assert other("import", str(bundle)).code == 0
    assert other("rm", "mine").code == 0
    assert len(rows(other)) == 1
    assert other("rm", "m").code == 0
    assert list((other.store / "blobs" / "sha256").iterdir()) == []
    one = tmp_path / "one.tar"
    assert model("export", "m", "--variant", "q4_0", "-o", str(one)).code == 0
    assert [each["measured"] for each in model("show", str(one), "--json").json["variants"]] == [[]]


def test_a_model_in_a_bundle_is_measured_and_nothing_kept(model: Program, text: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "m.tar"
    assert model("export", "m", "--variant", "q8_0", "-o", str(bundle)).code == 0
    size = bundle.stat().st_size
    done = model("perplexity", str(bundle), "--text", str(text), "--ctx", "64", "--chunks", "2", "--json")
    assert (done.code, done.json["kept"], bundle.stat().st_size) == (0, False, size)
    assert "not kept" in done.err


def test_a_push_brings_it_to_the_registry(
    model: Program, text: Path, plain_registry: Registry, place: str
) -> None:
    measured(model, text, "--variant", "q8_0", "--against", "f16", "--chunks", "4")
    model.go_online()
    done = model("push", "m", f"{place}:v1", "--json")
    assert done.code == 0, done.err
    subject = next(
        each["digest"] for each in model("show", "m", "--json").json["variants"] if each["id"] == "gguf-q8_0"
    )
    base = f"{plain_registry.url}/v2/{place.partition('/')[2]}"
    tag = subject.replace(":", "-")  # of a registry that has no list of referrers
    accept = {"Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"}
    index = requests.get(f"{base}/manifests/{tag}", headers=accept, timeout=60).json()
    (row,) = index["manifests"]
    assert row["artifactType"] == "application/vnd.slmctl.quality.v1+json"
    manifest = requests.get(f"{base}/manifests/{row['digest']}", headers=accept, timeout=60).json()
    assert manifest["subject"]["digest"] == subject
    document = requests.get(f"{base}/blobs/{manifest['layers'][0]['digest']}", timeout=60).json()
    assert document["schema"] == "slmctl.quality/1"
    again = model("push", "m", f"{place}:v1", "--json").json
    assert again["sent"] == 0
