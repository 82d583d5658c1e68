"""slmctl adopt: models of Ollama's where they lie, and what happens when Ollama does something with them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slmctl.app.ships import FOLDER
from tests.fakes.ollama_store import OllamaStore
from tests.slmctl.cli.other_user import NOBODY, OtherUser
from tests.slmctl.cli.program import Outcome, Program

HELLO = (FOLDER / "hello" / "hello.gguf").read_bytes()
QUESTION = "What is GGUF?"
TEMPLATE = (
    b"{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
    b"<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
)
MISSING = b"weights that Ollama lost" * 1000


def fill(root: Path) -> OllamaStore:
    """Two models that share a blob, one of them with all that an author can say; a model whose blob is missing,
    a safetensors model, one in the cloud, a torn manifest, and what is no model."""
    store = OllamaStore(root)
    store.add("bot:latest", [("model", HELLO)], quantization="Q8_0")
    params = {
        "stop": ["<|im_end|>", "###"],
        "temperature": 0,
        "num_ctx": 512.0,
        "seed": 7,
        "mirostat": 1,
        "x": 2,
    }
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    store.add(
        "registry.ollama.ai/team/mine:v1",
        [
            ("model", HELLO),
            ("template", TEMPLATE),
            ("system", b"You are a terse bot."),
            ("params", json.dumps(params).encode()),
            ("license", b"MIT\nfirst"),
            ("license", b"Apache\nsecond"),
            ("messages", json.dumps(turns).encode()),
            ("embed", b"old"),
        ],
        config={"requires": "v0.9.1"},
        quantization="Q8_0",
    )
    store.add("gone:latest", [("model", MISSING)])
    store.path_of(MISSING).unlink()
    store.path_of(MISSING).with_name(store.path_of(MISSING).name + "-partial").write_bytes(b"w")
    store.add(
        "tensors:4b",
        [("tensor", b"abc"), ("json", b"{}")],
        config={"model_format": "safetensors", "file_type": ""},
    )
    store.add("big:cloud", [], config={"remote_host": "https://ollama.com", "remote_model": "big"})
    (store.add("torn:latest", [("model", HELLO)])).write_bytes(b'{"schemaVersion":2,\0\0\0')
    (root / "manifests" / "registry.ollama.ai" / "library" / "bad name").mkdir()
    (root / "manifests" / "registry.ollama.ai" / "library" / "bad name" / "latest").write_bytes(b"{}")
    (root / "manifests" / "loop").symlink_to(root / "manifests")
    (root / "manifests" / ".DS_Store").write_bytes(b"")
    return store


@pytest.fixture
def ollama(tmp_path: Path) -> OllamaStore:
    return fill(tmp_path / "ollama")


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """All that may not change in another tool's store: mode, owner, size, time of the last write, content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (
            status.st_mode,
            status.st_uid,
            status.st_gid,
            status.st_size,
            status.st_mtime_ns,
            content,
        )
    return found


def adopt(slmctl: Program, ollama: OllamaStore, *more: str) -> dict[str, dict[str, Any]]:
    done = slmctl("adopt", str(ollama.root), "--json", *more)
    assert done.code == 0, done.err
    return {model["name"]: model for model in done.json["models"]}


def ask(slmctl: Program, name: str, *more: str) -> Outcome:
    return slmctl("run", name, QUESTION, "--temperature", "0", "--max-tokens", "12", *more)


def own_bytes(slmctl: Program) -> int:
    """What our store has on the disk alone, without what is linked."""
    return sum(
        status.st_size
        for path in slmctl.store.rglob("*")
        if stat.S_ISREG((status := path.lstat()).st_mode) and status.st_nlink == 1
    )


def test_models_are_linked_where_they_lie_and_run(slmctl: Program, ollama: OllamaStore) -> None:
    before = snapshot(ollama.root)
    models = adopt(slmctl, ollama)
    assert {name: model["taken"] for name, model in models.items()} == {
        "bot:latest": "linked",
        "team/mine:v1": "linked",
        "tensors:4b": "linked",
        "gone:latest": None,
        "torn:latest": None,
        "big:cloud": None,
        "bad name:latest": None,
    }
    assert {name for name, model in models.items() if model["runs"]} == {"bot:latest", "team/mine:v1"}
    assert "not safetensors" in models["tensors:4b"]["why_not"]
    assert "was not downloaded completely" in models["gone:latest"]["problem"]
    assert "not valid JSON" in models["torn:latest"]["problem"]
    assert "ollama.com" in models["big:cloud"]["problem"]
    assert "is not a model name" in models["bad name:latest"]["problem"]
    notes = " ".join(models["team/mine:v1"]["notes"])
    assert all(word in notes for word in ("mirostat", "parameter x", "embed"))
    assert snapshot(ollama.root) == before
    assert (slmctl.store / "blobs/sha256" / ollama.path_of(HELLO).name.removeprefix("sha256-")).samefile(
        ollama.path_of(HELLO)
    )
    assert own_bytes(slmctl) < 50_000
    assert ask(slmctl, "bot").code == 0
    assert snapshot(ollama.root) == before


def test_the_manifest_is_kept_byte_for_byte(slmctl: Program, ollama: OllamaStore) -> None:
    models = adopt(slmctl, ollama)
    digest = models["bot:latest"]["digest"].removeprefix("sha256:")
    theirs = ollama.root / "manifests/registry.ollama.ai/library/bot/latest"
    assert (slmctl.store / "blobs/sha256" / digest).read_bytes() == theirs.read_bytes()


def test_what_the_author_said_is_understood(slmctl: Program, ollama: OllamaStore) -> None:
    adopt(slmctl, ollama)
    shown = slmctl("show", "team/mine:v1", "--json").json["variants"][0]
    assert shown["id"] == "gguf-q8_0"
    assert shown["runtime"] == "llama.cpp"
    assert shown["facts"]["architecture"] == "llama"
    assert shown["spec"] == {
        "schema": "slmctl.spec/1",
        "parameters": {"num_ctx": 512, "seed": 7, "stop": ["<|im_end|>", "###"], "temperature": 0.0},
        "system": "You are a terse bot.",
        "template": TEMPLATE.decode(),
        "requires": "0.9.1",
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}],
        "licenses": ["MIT\nfirst", "Apache\nsecond"],
    }
    listed = {model["name"]: model for model in slmctl("list", "--json").json["models"]}
    assert listed["team/mine:v1"]["variant"] == "gguf-q8_0"
    assert listed["team/mine:v1"]["source"] == f"ollama://{ollama.root}"
    assert listed["tensors:4b"]["variant"] == "safetensors-unknown"
    assert slmctl("show", "team/mine:v1", "--license").out == "MIT\nfirst\n\nApache\nsecond\n"


def test_the_prompt_is_ollamas(slmctl: Program, ollama: OllamaStore, tmp_path: Path) -> None:
    adopt(slmctl, ollama)
    messages = tmp_path / "messages.json"
    messages.write_text(json.dumps([{"role": "user", "content": "Who?"}]))
    prompt = slmctl("render", "team/mine:v1", "--messages", str(messages)).out
    assert prompt.startswith(
        "<|im_start|>system\nYou are a terse bot.<|im_end|>\n<|im_start|>user\nHi<|im_end|>"
    )
    assert prompt.endswith("<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n")
    assert slmctl("show", "bot", "--template").out.startswith("{%")  # without a layer, the file's own


def test_a_model_made_of_an_adopted_one_works(slmctl: Program, ollama: OllamaStore, tmp_path: Path) -> None:
    adopt(slmctl, ollama)
    shown = slmctl("show", "team/mine:v1", "--modelfile").out
    assert shown.startswith("FROM team/mine:v1@sha256:")
    assert slmctl("create", "again", "-f", "-", stdin=shown.encode()).code == 0
    mine, again = (slmctl("show", name, "--json").json["variants"][0] for name in ("team/mine:v1", "again"))
    assert again["spec"] == mine["spec"]
    assert [file["digest"] for file in again["files"] if file["role"] == "weights"] == [
        file["digest"] for file in mine["files"] if file["role"] == "weights"
    ]
    assert slmctl("create", "derived", "-f", "-", stdin=b"FROM bot\nSYSTEM Short.\n").code == 0
    assert ask(slmctl, "again").out == ask(slmctl, "team/mine:v1").out != ""
    assert slmctl("cp", "bot", "copy").code == 0
    assert slmctl("rm", "bot", "derived", "again", "team/mine:v1").code == 0
    assert ask(slmctl, "copy").code == 0
    assert own_bytes(slmctl) < 50_000


def test_adopting_twice_says_what_is_there(slmctl: Program, ollama: OllamaStore) -> None:
    first = adopt(slmctl, ollama)
    before = (slmctl.store / "index.json").read_bytes()
    second = adopt(slmctl, ollama)
    assert [model["present"] for model in second.values() if model["taken"]] == [True, True, True]
    assert {name: (m["digest"], m["taken"]) for name, m in second.items()} == {
        name: (m["digest"], m["taken"]) for name, m in first.items()
    }
    assert (slmctl.store / "index.json").read_bytes() == before
    assert "3 were here already" in slmctl("adopt", str(ollama.root)).err


def test_a_dry_run_writes_nothing(slmctl: Program, ollama: OllamaStore) -> None:
    before = snapshot(ollama.root)
    models = adopt(slmctl, ollama, "--dry-run")
    assert models["bot:latest"]["taken"] == "linked"
    assert models["bot:latest"]["runs"]
    assert not slmctl.home.exists()
    assert snapshot(ollama.root) == before
    assert all(path.stat().st_nlink == 1 for path in ollama.blobs.iterdir())


def test_removing_leaves_ollamas_files(slmctl: Program, ollama: OllamaStore) -> None:
    before = snapshot(ollama.root)
    adopt(slmctl, ollama)
    removed = slmctl("rm", "bot", "team/mine:v1", "tensors:4b", "--json").json
    assert removed["freed"] < 50_000
    assert snapshot(ollama.root) == before
    assert all(path.stat().st_nlink == 1 for path in ollama.blobs.iterdir())
    assert list((slmctl.store / "linked").iterdir()) == []


def test_a_name_of_another_source_stays(slmctl: Program, ollama: OllamaStore, tiny_model: Path) -> None:
    assert slmctl("create", "bot", "--from", str(tiny_model)).code == 0
    model = adopt(slmctl, ollama)["bot:latest"]
    assert model["taken"] is None
    assert model["problem"] == "The name bot:latest belongs to a model from create."
    assert slmctl("show", "bot", "--json").json["source"] == "create"


def test_a_model_that_ollama_updated_moves_with_it(slmctl: Program, ollama: OllamaStore) -> None:
    old = adopt(slmctl, ollama)["bot:latest"]["digest"]
    ollama.add("bot:latest", [("model", HELLO), ("system", b"New.")], quantization="Q8_0")
    new = adopt(slmctl, ollama)["bot:latest"]
    assert new["digest"] != old
    assert slmctl("show", "bot", "--system").out == "New.\n"


def test_the_same_model_in_two_places_is_one(slmctl: Program, ollama: OllamaStore, tmp_path: Path) -> None:
    """As the user's Ollama and the system's often have it."""
    other = OllamaStore(tmp_path / "system")
    other.add("bot:latest", [("model", HELLO)], quantization="Q8_0")
    other.add("registry.ollama.ai/team/mine:v1", [("model", HELLO)], quantization="Q8_0")
    done = slmctl("adopt", str(ollama.root), str(other.root), str(other.root), "--json").json
    assert len(done["places"]) == 2
    found = {model["name"]: model for model in done["models"] if model["path"] == str(other.root)}
    assert (found["bot:latest"]["present"], found["bot:latest"]["runs"]) == (True, True)
    assert found["bot:latest"]["notes"] == [f"It is the model from ollama://{ollama.root}."]
    problem = f"The name is taken by the model from ollama://{ollama.root}."
    assert found["team/mine:v1"]["problem"] == problem


# What Ollama does afterwards


def rewrite(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(-64, os.SEEK_END)
        stream.write(b"other" * 12)


def test_ollama_removes_a_linked_model(slmctl: Program, ollama: OllamaStore) -> None:
    adopt(slmctl, ollama)
    shutil.rmtree(ollama.root)
    assert ask(slmctl, "bot").code == 0


def test_a_changed_file_is_refused_with_a_sentence(slmctl: Program, ollama: OllamaStore) -> None:
    adopt(slmctl, ollama)
    rewrite(ollama.path_of(HELLO))
    done = ask(slmctl, "bot")
    assert done.code == 5
    assert f"The file {ollama.path_of(HELLO)}, adopted from Ollama, was changed since" in done.err
    assert "slmctl adopt" in done.hint
    shown = slmctl("show", "bot")
    assert shown.code == 0
    assert "was changed since" in shown.err
    assert ask(slmctl, "bot", "--verify").code == 5


def test_adopting_again_tells_a_changed_file(slmctl: Program, ollama: OllamaStore) -> None:
    """It is not there "as before"; and when Ollama has it back, it is taken in its place."""
    adopt(slmctl, ollama)
    weights = ollama.path_of(HELLO)
    rewrite(weights)
    assert "was changed or damaged" in " ".join(adopt(slmctl, ollama, "--dry-run")["bot:latest"]["notes"])
    bot = adopt(slmctl, ollama)["bot:latest"]
    assert (bot["taken"], bot["present"], bot["runs"]) == (None, False, False)
    assert bot["problem"] == f"The file {weights} is damaged: its bytes are not those that its name says."
    weights.unlink()
    ollama.put(HELLO)
    assert ask(slmctl, "bot").code == 5  # the link is of the file that was
    bot = adopt(slmctl, ollama)["bot:latest"]
    assert (bot["taken"], bot["present"]) == ("linked", False)
    assert ask(slmctl, "bot").code == 0
    assert adopt(slmctl, ollama)["bot:latest"]["present"]


def test_what_was_put_aside_is_not_believed_again(
    slmctl: Program, ollama: OllamaStore, tiny_model: Path
) -> None:
    """`verify` has found it damaged; nobody has mended it since."""
    tiny = tiny_model.read_bytes()
    ollama.add("tiny:latest", [("model", tiny)])
    weights = ollama.path_of(tiny)
    adopt(slmctl, ollama)
    rewrite(weights)
    done = slmctl("verify", "--json")
    (finding,) = done.json["findings"]
    assert (done.code, finding["kind"], finding["adopted_from"]) == (5, "damaged", "Ollama")
    assert f"adopted from Ollama ({weights})" in finding["message"]
    for command in (["run", "tiny", "hi"], ["export", "tiny", "-o", "-"]):
        done = slmctl(*command)
        assert (done.code, f"adopted from Ollama ({weights})" in done.err) == (3, True)
        assert "Get it again with Ollama and run 'slmctl adopt'" in done.hint
    done = slmctl("verify", "--repair")
    assert (done.code, "Get it again with Ollama" in done.err) == (5, True)
    assert "is damaged" in adopt(slmctl, ollama)["tiny:latest"]["problem"]
    assert slmctl("run", "tiny", "hi").code == 3
    weights.unlink()
    ollama.put(tiny)
    assert adopt(slmctl, ollama)["tiny:latest"]["taken"] == "linked"
    assert slmctl("verify").code == 0


def test_an_equal_rewrite_is_hashed_and_accepted(slmctl: Program, ollama: OllamaStore) -> None:
    adopt(slmctl, ollama)
    ollama.path_of(HELLO).write_bytes(HELLO)
    os.utime(ollama.path_of(HELLO), ns=(1, 1))
    shown = slmctl("show", "bot", "--progress", "json")
    assert "or only touched" in shown.err
    assert '"event": "verify"' not in shown.err  # to show a model is not to read all of it
    done = ask(slmctl, "bot", "--progress", "json")
    assert done.code == 0
    assert '"event": "verify"' in done.err
    assert slmctl("show", "bot").err == ""
    again = ask(slmctl, "bot", "--progress", "json")
    assert '"event": "verify"' not in again.err


# Another file system, another owner


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system at /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="slmctl-test-", dir=shm))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def own_blobs(ollama: OllamaStore) -> list[Path]:
    """What the models in `ollama` that can be adopted are made of."""
    digests = set()
    for name in ("library/bot/latest", "team/mine/v1", "library/tensors/4b"):
        manifest = json.loads((ollama.root / "manifests/registry.ollama.ai" / name).read_bytes())
        digests |= {layer["digest"] for layer in (manifest["config"], *manifest["layers"])}
    return [ollama.blobs / digest.replace(":", "-") for digest in digests]


def check_borrowed(slmctl: Program, ollama: OllamaStore) -> None:
    """Adopt from a store that cannot be linked from; then Ollama touches, changes and removes a file."""
    before = snapshot(ollama.root)
    models = adopt(slmctl, ollama)
    assert models["bot:latest"]["taken"] == "borrowed"
    assert models["bot:latest"]["runs"]
    assert own_bytes(slmctl) < 50_000
    assert ask(slmctl, "bot").code == 0
    df = slmctl("df", "--json").json
    assert df["totals"]["total"] < 50_000
    assert df["elsewhere"] == sum(path.stat().st_size for path in own_blobs(ollama))
    assert slmctl("show", "team/mine:v1", "--json").json["variants"][0]["local"]
    assert snapshot(ollama.root) == before
    assert all(path.stat().st_nlink == 1 for path in ollama.blobs.iterdir())
    weights = ollama.path_of(HELLO)
    os.utime(weights, ns=(1, 1))
    assert ask(slmctl, "bot").code == 0
    rewrite(weights)
    done = ask(slmctl, "bot")
    assert (done.code, "was changed since" in done.err) == (5, True)
    weights.unlink()
    done = ask(slmctl, "bot")
    assert (done.code, f"{weights}, which slmctl uses where Ollama keeps it, is gone" in done.err) == (
        3,
        True,
    )
    assert "slmctl adopt" in done.hint
    shown = slmctl("show", "bot")
    assert (shown.code, "is gone" in shown.err) == (0, True)
    assert slmctl("list").code == 0
    ollama.put(HELLO)
    owner = ollama.root.stat()
    os.chown(weights, owner.st_uid, owner.st_gid)
    assert ask(slmctl, "bot").code == 0
    assert slmctl("rm", "bot", "team/mine:v1", "tensors:4b").code == 0
    assert list((slmctl.store / "borrowed").iterdir()) == []
    assert weights.read_bytes() == HELLO


def test_another_file_system_is_borrowed_from(slmctl: Program, elsewhere: Path) -> None:
    check_borrowed(slmctl, fill(elsewhere / "ollama"))


def test_a_store_of_ollamas_that_moved(slmctl: Program, elsewhere: Path) -> None:
    """Its models are the same, so their names go with it."""
    ollama = fill(elsewhere / "ollama")
    adopt(slmctl, ollama)
    moved = OllamaStore(ollama.root.rename(elsewhere / "moved"))
    assert ask(slmctl, "bot").code == 3
    for command in (["export", "bot", "-o", "-"], ["create", "mine", "--from", "bot"]):
        done = slmctl(*command)
        assert (done.code, "is gone" in done.err, "Get it again with Ollama" in done.hint) == (3, True, True)
    models = adopt(slmctl, moved)
    assert [models[name]["taken"] for name in ("bot:latest", "team/mine:v1")] == ["borrowed", "borrowed"]
    assert ask(slmctl, "bot").code == 0
    assert slmctl("show", "bot", "--json").json["source"] == f"ollama://{moved.root}"


def give_away(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def test_another_owners_store_is_borrowed_from(slmctl: Program, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    ollama = fill(tmp_path / "ollama")
    give_away(ollama.root)
    check_borrowed(slmctl, ollama)


@pytest.fixture
def nobody() -> Iterator[OtherUser]:
    folder = Path(tempfile.mkdtemp(prefix="slm"))
    try:
        folder.chmod(0o755)
        user = OtherUser(folder)
        user.check()
        yield user
    finally:
        shutil.rmtree(folder)


def test_roots_store_as_a_plain_user(nobody: OtherUser) -> None:
    ollama = fill(nobody.home.parents[1] / "ollama")
    before = snapshot(ollama.root)
    done = nobody("adopt", str(ollama.root), "--json", cwd=Path("/"))
    models = {model["name"]: model for model in done.json["models"]}
    assert models["bot:latest"]["taken"] == "borrowed"
    assert ask(nobody, "bot").code == 0
    assert snapshot(ollama.root) == before
    ollama.path_of(HELLO).chmod(0o600)
    done = ask(nobody, "bot")
    assert done.code == 1
    assert "cannot be read (Permission denied)" in done.err
    done = nobody("adopt", str(ollama.root), "--json", cwd=Path("/"))
    models = {model["name"]: model for model in done.json["models"]}
    assert "cannot be read (Permission denied)" in models["bot:latest"]["problem"]
    ollama.root.chmod(0o700)
    done = nobody("adopt", "--json", cwd=Path("/"), environment={"OLLAMA_MODELS": str(ollama.root)})
    assert done.code == 0
    assert [place["problem"] for place in done.json["places"]] == ["Permission denied."]


def test_an_adopted_model_is_exported_as_modelpack(
    slmctl: Program, ollama: OllamaStore, tmp_path: Path
) -> None:
    """Its manifest is one that slmctl alone reads; the bundle is for everybody, and names no place here."""
    adopt(slmctl, ollama)
    bundle = tmp_path / "bundle.tar"
    done = slmctl("export", "team/mine:v1", "bot", "-o", str(bundle))
    assert done.code == 0, done.err
    assert "team/mine:v1 is written as ModelPack" in done.err
    assert str(ollama.root).encode() not in bundle.read_bytes()
    again = tmp_path / "again.tar"
    assert slmctl("export", "bot", "team/mine:v1", "-o", str(again)).code == 0
    assert again.read_bytes() == bundle.read_bytes()

    home = tmp_path / "elsewhere"
    home.mkdir()
    other = Program(home, Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    assert other("import", str(bundle)).code == 0
    assert other("verify").code == 0
    for name in ("team/mine:v1", "bot"):
        mine, theirs = (program("show", name, "--json").json["variants"][0] for program in (slmctl, other))
        assert theirs["spec"] == mine["spec"]
        assert ask(other, name).out == ask(slmctl, name).out
        manifest = other.store / "blobs" / "sha256" / theirs["digest"].removeprefix("sha256:")
        assert (
            json.loads(manifest.read_bytes())["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
        )


def test_an_adopted_model_that_nobody_can_describe_is_not_exported(
    slmctl: Program, ollama: OllamaStore, tmp_path: Path
) -> None:
    adopt(slmctl, ollama)
    outcome = slmctl("export", "tensors:4b", "-o", str(tmp_path / "bundle.tar"))
    assert (outcome.code, list(tmp_path.glob("*.tar"))) == (2, [])
    assert "has no facts" in outcome.err
