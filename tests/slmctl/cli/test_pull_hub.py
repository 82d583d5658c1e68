"""`slmctl pull` from the Hugging Face Hub, as a user sees it; the hub is a fake that huggingface_hub believes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from slmctl.app import lockfile
from tests.fakes.hub import COMMIT, FakeHub, serve_hub
from tests.parts import write_adapter, write_projector
from tests.slmctl.cli.program import Outcome, Program
from tools.random_model import write_random_model, write_random_shards

NEXT = "89abcdef0123456789abcdef0123456789abcdef"
CARD = b"---\nlicense: apache-2.0\n---\n# A model\n"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 32,
    "torch_dtype": "float16",
    "max_position_embeddings": 128,
}
MLX_CONFIG = {**CONFIG, "quantization": {"group_size": 64, "bits": 4}}
GENAI_CONFIG = {"model": {"type": "llama", "context_length": 128, "vocab_size": 32}}


def _gguf(folder: Path, tensor_type: str, seed: int = 0) -> bytes:
    path = folder / f"{tensor_type}-{seed}.gguf"
    write_random_model(path, tensor_type=tensor_type, seed=seed)
    return path.read_bytes()


def _tensors() -> bytes:
    return save({"model.embed_tokens.weight": np.zeros((32, 16), np.float16)})


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("repositories")
    q4, q8, f16 = (_gguf(folder, each) for each in ("Q4_0", "Q8_0", "F16"))
    shards = write_random_shards(folder)
    adapter = write_adapter(folder / "adapter.gguf", folder / "F16-0.gguf", strength=1.0)
    projector = write_projector(folder / "mmproj.gguf")
    return {
        "org/m-GGUF": {"README.md": CARD, "m-Q4_0.gguf": q4, "m-Q8_0.gguf": q8, "m-F16.gguf": f16},
        "org/parts-GGUF": {f"m-{number:05}-of-{len(shards):05}.gguf": shard.read_bytes()
                           for number, shard in enumerate(shards, 1)},
        "org/eyes-GGUF": {"m-Q4_0.gguf": q4, "mmproj-F16.gguf": projector.read_bytes()},
        "org/lora-GGUF": {"m-F16.gguf": f16, "style-lora.gguf": adapter.read_bytes()},
        "org/folder": {"model.safetensors": _tensors(), "config.json": json.dumps(CONFIG).encode(),
                       "tokenizer.json": b"{}", "README.md": CARD},
        "org/mlx": {"model.safetensors": _tensors(), "config.json": json.dumps(MLX_CONFIG).encode(),
                    "tokenizer.json": b"{}"},
        "org/onnx": {"cpu-int4/genai_config.json": json.dumps(GENAI_CONFIG).encode(),
                     "cpu-int4/model.onnx": b"\x08\x07", "cpu-int4/model.onnx.data": bytes(999),
                     "cpu-int4/tokenizer.json": b"{}"},
        "org/nothing": {"README.md": CARD},
        "unsloth/Qwen3-0.6B-GGUF": {"Qwen3-0.6B-Q4_K_M.gguf": q4, "Qwen3-0.6B-Q8_0.gguf": q8},
        "Qwen/Qwen3-0.6B-GGUF": {"Qwen3-0.6B-Q8_0.gguf": q8},
        "mlx-community/Qwen3-0.6B-4bit": {"model.safetensors": _tensors(), "tokenizer.json": b"{}",
                                          "config.json": json.dumps(MLX_CONFIG).encode()},
    }  # fmt: skip


@pytest.fixture
def hub(repositories: dict[str, dict[str, bytes]], slmctl: Program) -> Iterator[FakeHub]:
    """The hub that the program asks; what a test commits to it is gone afterwards."""
    with serve_hub(repositories) as fake:
        slmctl.go_online()
        slmctl.environment["HF_ENDPOINT"] = fake.endpoint
        yield fake


def _commit(hub: FakeHub, repository: str, **files: bytes) -> None:
    """A new commit on main; the one before can still be had."""
    hub.at[hub.commit] = {name: dict(inside) for name, inside in hub.repositories.items()}
    hub.commit = NEXT
    hub.repositories[repository] |= files


def _pull(slmctl: Program, *arguments: str) -> dict[str, Any]:
    done = slmctl("pull", *arguments, "--json")
    assert done.code == 0, done.err
    (row,) = done.json["models"]
    return dict(row)


def _outdated(slmctl: Program) -> dict[str, str]:
    return {row["name"]: row["state"] for row in slmctl("list", "--outdated", "--json").json["models"]}


def _says(outcome: Outcome, code: int, *texts: str) -> None:
    """An error: its code, and at the end a sentence and a hint."""
    assert outcome.code == code, outcome.err
    sentence, hint = outcome.err.splitlines()[-2:]
    assert (sentence[:8], hint[:2], hint[2] != " ") == ("slmctl: ", "  ", True), outcome.err
    for text in texts:
        assert text in outcome.err


@pytest.mark.parametrize(
    ("name", "variant", "selector"),
    [
        ("hf.co/org/m-GGUF", "gguf-f16", ""),  # of so small a model every quantization loses a lot
        ("hf.co/org/m-GGUF:Q8_0", "gguf-q8_0", ":Q8_0"),
        ("huggingface.co/org/m-GGUF:q8_0", "gguf-q8_0", ":q8_0"),
        ("hf://org/m-GGUF:m-F16.gguf", "gguf-f16", ":m-F16.gguf"),
        ("hf://org/m-GGUF@v1.0:F16", "gguf-f16", ":F16"),
        ("hf://org/parts-GGUF", "gguf-f32", ""),
    ],
)
def test_a_build_is_pulled_pinned_to_its_commit_and_answers(
    slmctl: Program, hub: FakeHub, name: str, variant: str, selector: str
) -> None:
    row = _pull(slmctl, name, "--as", "m")
    repository = name.partition("://")[2] or name.partition("/")[2]
    repository = repository.partition("@")[0].partition(":")[0]
    assert row["variants"] == [variant]
    assert row["source"] == f"hf://{repository}@{COMMIT}{selector}"
    assert slmctl("verify").code == 0
    asked = len(hub.requests)
    assert slmctl("run", "m", "a", "--max-tokens", "2", "--raw").code == 0
    assert len(hub.requests) == asked
    assert slmctl("show", "m").out.count(variant) == 1


def test_all_variants_share_one_name(slmctl: Program, hub: FakeHub) -> None:
    row = _pull(slmctl, "hf.co/org/m-GGUF", "--all-variants")
    assert set(row["variants"]) == {"gguf-f16", "gguf-q4_0", "gguf-q8_0"}
    assert slmctl("run", "hf.co/org/m-GGUF", "a", "--variant", "q8", "--max-tokens", "2").code == 0
    one = _pull(slmctl, "hf.co/org/m-GGUF", "--as", "one", "--variant", "Q8")  # a part, in any case
    assert (one["variants"], set(one["other_variants"])) == (["gguf-q8_0"], {"gguf-f16", "gguf-q4_0"})
    _says(slmctl("pull", "hf.co/org/m-GGUF", "--as", "two", "--variant", "_0"), 2, "fits '_0'")


def test_a_projector_comes_along_and_an_adapter_when_it_is_named(slmctl: Program, hub: FakeHub) -> None:
    _pull(slmctl, "hf.co/org/eyes-GGUF")
    assert "projector" in slmctl("show", "hf.co/org/eyes-GGUF").out
    said = slmctl("pull", "hf.co/org/lora-GGUF")
    assert "The adapter style-lora.gguf is left out" in said.err
    assert "adapter" not in slmctl("show", "hf.co/org/lora-GGUF").out
    _pull(slmctl, "hf.co/org/lora-GGUF:style-lora")
    assert "adapter" in slmctl("show", "hf.co/org/lora-GGUF:style-lora").out
    answers = {slmctl("run", name, "a", "--seed", "1", "--temperature", "0", "--max-tokens", "16", "--raw").out
               for name in ("hf.co/org/lora-GGUF", "hf.co/org/lora-GGUF:style-lora")}  # fmt: skip
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("repository", "variant"),
    [("org/folder", "safetensors-f16"), ("org/mlx", "mlx-q4-g64"), ("org/onnx", "onnx-int4-cpu")],
)
def test_folders_are_kept_and_shown_and_run_says_why_not(
    slmctl: Program, hub: FakeHub, repository: str, variant: str
) -> None:
    assert _pull(slmctl, f"hf.co/{repository}")["variants"] == [variant]
    shown = slmctl("show", f"hf.co/{repository}", "--json").json
    assert [(each["id"], each["local"]) for each in shown["variants"]] == [(variant, True)]
    assert slmctl("verify").code == 0
    refused = slmctl("run", f"hf.co/{repository}", "a")
    _says(refused, 4, "No engine can run this model", variant.partition("-")[0])
    assert "GGUF" in refused.hint


def test_what_the_hub_refuses_is_said_with_what_to_do(slmctl: Program, hub: FakeHub, tmp_path: Path) -> None:
    hub.tokens |= {"hf_known"}
    hub.accepted |= {"hf_accepted"}
    hub.private |= {"org/mlx"}
    hub.gated |= {"org/folder"}
    _says(slmctl("pull", "hf.co/org/nowhere"), 3, "no public repository hf.co/org/nowhere", "HF_TOKEN")
    _says(slmctl("pull", "hf.co/org/mlx"), 3, "no public repository", "HF_TOKEN")
    _says(slmctl("pull", "hf.co/org/folder"), 7, "is gated", f"{hub.endpoint}/org/folder", "HF_TOKEN")
    slmctl.environment["HF_TOKEN"] = "hf_wrong"
    _says(slmctl("pull", "hf.co/org/mlx"), 7, "does not know the token in HF_TOKEN")
    slmctl.environment["HF_TOKEN"] = "hf_known"
    _says(slmctl("pull", "hf.co/org/folder"), 7, "has not been let in", f"{hub.endpoint}/org/folder")
    _pull(slmctl, "hf.co/org/mlx")
    del slmctl.environment["HF_TOKEN"]
    kept = tmp_path / "token"
    kept.write_text("hf_accepted\n")
    slmctl.environment["HF_TOKEN_PATH"] = str(kept)
    _pull(slmctl, "hf.co/org/folder")
    tokens = {request.headers.get("authorization") for request in hub.cdn.requests}
    assert tokens == {None}  # a token is for the hub alone
    _says(slmctl("pull", "hf.co/org/nothing"), 4, "holds no model that slmctl knows")
    _says(slmctl("pull", "hf.co/org/m-GGUF:Q5_K_M"), 3, "no build 'Q5_K_M'", "F16, Q4_0, Q8_0")
    _says(slmctl("pull", "hf.co/org/m-GGUF@nope"), 3, "the revision 'nope'")


def test_offline_the_hub_is_not_asked(slmctl: Program, hub: FakeHub) -> None:
    refused = slmctl("pull", "hf.co/org/m-GGUF", environment={"HF_HUB_OFFLINE": "1"})
    _says(refused, 6, "HF_HUB_OFFLINE is set")
    _says(slmctl("pull", "hf.co/org/m-GGUF", "--offline"), 6, "--offline was given")
    assert hub.requests == []


def test_a_commit_that_leaves_the_weights_alone_is_no_update(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    first = _pull(slmctl, "hf.co/org/m-GGUF")
    _commit(hub, "org/m-GGUF", **{"README.md": CARD + b"No typo any more.\n"})
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:latest": "current"}
    hub.repositories["org/m-GGUF"]["m-F16.gguf"] = _gguf(tmp_path, "F16", seed=5)
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:latest": "moved"}
    second = _pull(slmctl, "--all")
    assert second["digest"] != first["digest"]
    assert second["source"] == f"hf://org/m-GGUF@{NEXT}"
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:latest": "current"}
    del hub.repositories["org/m-GGUF"]
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:latest": "gone"}


def test_a_lock_brings_the_commit_that_it_pins(slmctl: Program, hub: FakeHub, tmp_path: Path) -> None:
    first = _pull(slmctl, "hf.co/org/m-GGUF:Q4_0")
    lock = tmp_path / "models.lock"
    assert slmctl("lock", "hf.co/org/m-GGUF:Q4_0", "-o", str(lock)).code == 0
    _commit(hub, "org/m-GGUF", **{"m-Q4_0.gguf": _gguf(tmp_path, "Q4_0", seed=5)})
    assert _pull(slmctl, "--all")["digest"] != first["digest"]
    again = _pull(slmctl, "--lock", str(lock))
    assert (again["digest"], again["source"]) == (first["digest"], first["source"])
    assert slmctl("lock", "--check", str(lock)).code == 0
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:Q4_0": "moved"}  # it belongs to the branch as before


def test_what_is_damaged_is_fetched_again(slmctl: Program, hub: FakeHub, tmp_path: Path) -> None:
    _pull(slmctl, "hf.co/org/folder", "--as", "m")
    _commit(hub, "org/folder", **{"README.md": b"other", "tokenizer.json": b'{"other": 1}'})
    weights = max(slmctl.store.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
    tokenizer = next(path for path in slmctl.store.glob("blobs/sha256/*") if path.read_bytes() == b"{}")
    for blob in (weights, tokenizer):
        good = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        assert slmctl("verify").code == 5
        repaired = slmctl("verify", "--repair")
        assert (repaired.code, blob.read_bytes()) == (0, good), repaired.err


def test_a_name_goes_on_following_the_branch_that_it_came_from(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    """The source says a commit only; of which branch it is, the table of names says."""
    other = "11" * 20
    hub.revisions["dev"] = other
    hub.at[other] = {"org/m-GGUF": {"m-Q4_0.gguf": _gguf(tmp_path, "Q4_0", seed=7)}}
    first = _pull(slmctl, "hf://org/m-GGUF@dev:Q4_0")
    assert first["source"] == f"hf://org/m-GGUF@{other}:Q4_0"
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:Q4_0": "current"}
    assert not _pull(slmctl, "--all")["changed"]
    _says(slmctl("pull", "hf.co/org/m-GGUF:Q4_0"), 1, "belongs to a model from 'hf://org/m-GGUF@dev:Q4_0'")
    lock = tmp_path / "models.lock"
    assert slmctl("lock", "hf.co/org/m-GGUF:Q4_0", "-o", str(lock)).code == 0
    assert slmctl("cp", "hf.co/org/m-GGUF:Q4_0", "copy").code == 0
    newer = "22" * 20
    hub.revisions["dev"] = newer
    hub.at[newer] = {"org/m-GGUF": {"m-Q4_0.gguf": _gguf(tmp_path, "Q4_0", seed=8)}}
    assert _outdated(slmctl) == {"copy:latest": "moved", "hf.co/org/m-GGUF:Q4_0": "moved"}
    assert _pull(slmctl, "copy")["source"] == f"hf://org/m-GGUF@{newer}:Q4_0"
    assert _pull(slmctl, "hf://org/m-GGUF@dev:Q4_0")["source"] == f"hf://org/m-GGUF@{newer}:Q4_0"
    assert _pull(slmctl, "--lock", str(lock))["digest"] == first["digest"]
    assert _outdated(slmctl) == {"copy:latest": "current", "hf.co/org/m-GGUF:Q4_0": "moved"}
    assert "hf://org/m-GGUF@dev:Q4_0" in slmctl("show", "copy").out
    assert _pull(slmctl, "hf.co/org/m-GGUF:Q4_0", "--force")["source"].startswith(f"hf://org/m-GGUF@{COMMIT}")
    assert _outdated(slmctl) == {"copy:latest": "current", "hf.co/org/m-GGUF:Q4_0": "current"}


def test_what_was_pinned_by_its_commit_stays_until_it_is_pulled_without(
    slmctl: Program, hub: FakeHub
) -> None:
    first = _pull(slmctl, f"hf://org/m-GGUF@{COMMIT}:Q4_0")
    q8 = hub.repositories["org/m-GGUF"]["m-Q8_0.gguf"]
    _commit(hub, "org/m-GGUF", **{"m-Q4_0.gguf": q8})
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:Q4_0": "current"}
    assert not _pull(slmctl, "--all")["changed"]
    assert _pull(slmctl, "hf.co/org/m-GGUF:Q4_0")["digest"] != first["digest"]
    assert not _pull(slmctl, "--all")["changed"]
    refused = slmctl("pull", f"hf.co/org/m-GGUF:Q4_0@{first['digest']}")
    _says(refused, 5, f"{first['digest']} was asked for")


def test_a_repository_that_got_another_name_is_pulled_by_its_old_one(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    _pull(slmctl, "hf.co/org/m-GGUF")
    hub.repositories["new/name"] = hub.repositories.pop("org/m-GGUF")
    hub.moved["org/m-GGUF"] = "new/name"
    hub.repositories["new/name"]["m-Q4_0.gguf"] = _gguf(tmp_path, "Q4_0", seed=5)
    for _ in range(2):
        assert _pull(slmctl, "hf.co/org/m-GGUF")["source"] == f"hf://new/name@{COMMIT}"
    assert _outdated(slmctl) == {"hf.co/org/m-GGUF:latest": "current"}
    assert not _pull(slmctl, "--all")["changed"]
    assert slmctl("verify").code == 0


def test_a_name_of_the_library_is_its_build_with_its_parameters(slmctl: Program, hub: FakeHub) -> None:
    told = slmctl("pull", "qwen3:0.6b", "--variant", "q4_k_m")
    assert told.code == 0
    assert "qwen3:0.6b is Qwen3 0.6B of the library: hf://unsloth/Qwen3-0.6B-GGUF:Q4_K_M." in told.err
    assert "top_k" in slmctl("show", "qwen3:0.6b").out
    assert slmctl("run", "qwen3:0.6b", "a", "--max-tokens", "2").code == 0
    assert not _pull(slmctl, "--all")["changed"]
    both = _pull(slmctl, "qwen3:0.6b", "--variant", "mlx")  # beside what is there
    assert both["variants"] == ["gguf-q4_k_m", "mlx-q4-g64"]
    assert both["missing"] < 100_000
    row = _pull(slmctl, "qwen3:0.6b", "--variant", "Q8_0", "--as", "better")
    assert row["source"] == f"hf://Qwen/Qwen3-0.6B-GGUF@{COMMIT}:Q8_0"
    row = _pull(slmctl, "qwen3:0.6b", "--variant", "Q8_0", "--force")  # instead of what is there
    assert row["variants"] == ["gguf-q8_0"]
    assert not _pull(slmctl, "qwen3:0.6b")["changed"]  # it is pulled again as what it is
    assert "top_k" in slmctl("show", "qwen3:0.6b").out


def test_builds_of_several_repositories_stay_together(slmctl: Program, hub: FakeHub, tmp_path: Path) -> None:
    """A name of the library may have builds of several publishers; an update keeps them all."""
    first = _pull(slmctl, "qwen3:0.6b", "--variant", "gguf", "--variant", "mlx")
    assert first["variants"] == ["gguf-q4_k_m", "mlx-q4-g64"]
    for arguments in (["qwen3:0.6b"], ["--all"]):
        again = _pull(slmctl, *arguments)
        assert (again["digest"], again["changed"]) == (first["digest"], False)
    assert _outdated(slmctl) == {"qwen3:0.6b": "current"}
    config = json.dumps({**MLX_CONFIG, "rope_theta": 5.0}).encode()
    tensors = save({"model.embed_tokens.weight": np.ones((32, 16), np.float16)})
    _commit(hub, "mlx-community/Qwen3-0.6B-4bit", **{"config.json": config, "model.safetensors": tensors})
    assert _outdated(slmctl) == {"qwen3:0.6b": "moved"}
    assert _pull(slmctl, "--all")["variants"] == first["variants"]
    assert _outdated(slmctl) == {"qwen3:0.6b": "current"}
    blob = next(path for path in slmctl.store.glob("blobs/sha256/*") if path.read_bytes() == config)
    blob.chmod(0o644)
    blob.write_bytes(b"{}")
    repaired = slmctl("verify", "--repair")  # of the second repository
    assert (repaired.code, blob.read_bytes()) == (0, config), repaired.err


def test_a_lock_brings_a_model_of_several_places_from_all_of_them(
    slmctl: Program, hub: FakeHub, tmp_path: Path
) -> None:
    """At the commits that it pins, whatever the branches are by then; and a repair asks for those too."""
    first = _pull(slmctl, "qwen3:0.6b", "--variant", "gguf", "--variant", "mlx")
    assert slmctl("cp", "qwen3:0.6b", "mine").code == 0
    lock = tmp_path / "models.lock"
    assert slmctl("lock", "mine", "-o", str(lock)).code == 0
    sources = tomllib.loads(lock.read_text())["models"][0]["sources"]
    assert sources == [
        f"hf://unsloth/Qwen3-0.6B-GGUF@{COMMIT}:Q4_K_M",
        f"hf://mlx-community/Qwen3-0.6B-4bit@{COMMIT}",
    ]
    assert slmctl("lock", "mine", "--json").json["models"][0]["sources"] == sources
    assert lockfile.parse(lock.read_bytes()).to_text() == lock.read_text()
    assert slmctl("export", "mine", "-o", f"{tmp_path}/bundle/").code == 0
    bundle = (tmp_path / "bundle" / "index.json").read_text()
    assert "dev.slmctl.source" in bundle
    assert not [key for key in ("dev.slmctl.tracks", "dev.slmctl.pins") if key in bundle]
    config = json.dumps({**MLX_CONFIG, "rope_theta": 5.0}).encode()
    before = hub.repositories["mlx-community/Qwen3-0.6B-4bit"]["config.json"]
    tensors = save({"model.embed_tokens.weight": np.ones((32, 16), np.float16)})
    _commit(hub, "mlx-community/Qwen3-0.6B-4bit", **{"config.json": config, "model.safetensors": tensors})
    blob = next(path for path in slmctl.store.glob("blobs/sha256/*") if path.read_bytes() == before)
    blob.chmod(0o644)
    blob.write_bytes(b"{}")
    repaired = slmctl("verify", "--repair")
    assert (repaired.code, blob.read_bytes()) == (0, before), repaired.err
    for name in ("mine", "qwen3:0.6b"):
        assert slmctl("rm", name).code == 0
    again = _pull(slmctl, "--lock", str(lock))
    assert (again["name"], again["digest"]) == ("mine:latest", first["digest"])
    assert slmctl("lock", "--check", str(lock)).code == 0
    assert slmctl("lock", "mine").out == lock.read_text()
    assert _outdated(slmctl) == {"mine:latest": "moved"}  # it goes on following both branches
    assert _pull(slmctl, "--all")["variants"] == first["variants"]
    assert _outdated(slmctl) == {"mine:latest": "current"}


def test_a_bare_family_is_the_size_that_the_plan_takes(slmctl: Program, hub: FakeHub) -> None:
    refused = slmctl("pull", "qwen3", "--for", "rtx-4090-24gb")  # the fake hub has only the smallest
    assert "qwen3 is qwen3:8b for rtx-4090-24gb: the largest of 4 sizes that is comfortable" in refused.err
    assert refused.code == 3


def test_the_size_that_a_bare_family_was_pulled_as_stays(slmctl: Program, hub: FakeHub) -> None:
    told = slmctl("pull", "qwen3", "--for", "container-2gb")
    assert (told.code, "qwen3 is qwen3:0.6b for container-2gb" in told.err) == (0, True), told.err
    digest = slmctl("show", "qwen3", "--json").json["digest"]
    assert "top_k" in slmctl("show", "qwen3").out  # the library's parameters for that size
    for profile in ("rtx-4090-24gb", "container-2gb"):
        again = _pull(slmctl, "qwen3", "--for", profile)
        assert (again["changed"], again["digest"]) == (False, digest)
    assert not _pull(slmctl, "--all")["changed"]
    assert slmctl("plan", "qwen3", "--json").json["choice"]["model"] == "qwen3"


def test_the_plan_chooses_among_the_builds_and_says_so(slmctl: Program, hub: FakeHub) -> None:
    told = slmctl("pull", "qwen3:0.6b", "--for", "raspberry-pi-5-8gb")
    assert told.code == 0
    assert "Of 2 builds gguf-q8_0 is the one for raspberry-pi-5-8gb: " in told.err
    assert _pull(slmctl, "qwen3:0.6b")["source"] == f"hf://unsloth/Qwen3-0.6B-GGUF@{COMMIT}:Q8_0"
    both = _pull(slmctl, "qwen3:0.6b", "--variant", "mlx")
    assert sorted(both["variants"]) == ["gguf-q8_0", "mlx-q4-g64"]


def test_what_does_not_fit_is_pulled_all_the_same_and_run_refuses_it(slmctl: Program, hub: FakeHub) -> None:
    told = slmctl("pull", "qwen3:0.6b", "--for", "container-v1-1gb")
    assert told.code == 0
    assert "qwen3:0.6b does not fit here: " in told.err
    assert "The usual build is taken." in told.err
    assert slmctl("show", "qwen3:0.6b", "--json").json["variants"][0]["id"] == "gguf-q4_k_m"
    refused = slmctl("run", "qwen3:1.7b", "--for", "container-v1-1gb", "x")
    assert refused.code in {3, 4}  # it is not on this hub, and does not fit
    assert slmctl("rm", "qwen3:0.6b").code == 0
    refused = slmctl("run", "qwen3:0.6b", "--for", "container-v1-1gb", "x")
    assert (refused.code, "does not fit" in refused.err) == (4, True)
    assert slmctl("show", "qwen3:0.6b").code == 3  # nothing was fetched


def test_the_library_is_held_against_the_hub(slmctl: Program, hub: FakeHub) -> None:
    done = slmctl("library", "check", "qwen3:0.6b", "--json")
    found = {(row["format"], row["reference"]): (row["state"], row["why"]) for row in done.json["builds"]}
    assert done.code == 1
    state, why = found["gguf", "hf://unsloth/Qwen3-0.6B-GGUF:Q4_K_M"]
    assert state == "differs"
    assert "architecture is llama, and the library says qwen3." in why
    assert found["onnx", "hf://onnx-community/Qwen3-0.6B-ONNX"][0] == "gone"
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = slmctl("library", "check", "qwen3:0.6b", "--json", environment=nobody)
    assert (done.code, {row["state"] for row in done.json["builds"]}) == (6, {"unknown"})
    assert slmctl("library", "check", "nothing").code == 3


def test_tags_lists_builds_without_fetching_weights(slmctl: Program, hub: FakeHub) -> None:
    listed = slmctl("tags", "hf.co/org/m-GGUF", "--json").json
    assert {each["id"] for each in listed["variants"]} == {"gguf-f16", "gguf-q4_0", "gguf-q8_0"}
    assert {each["facts"] for each in listed["variants"]} == {None}
    listed = slmctl("tags", "hf.co/org/m-GGUF:Q8_0", "--facts", "--json").json
    assert [each["facts"]["trained_context"] for each in listed["variants"]] == [2048]
    hub.repositories["org/m-GGUF"] |= {"style.gguf": hub.repositories["org/lora-GGUF"]["style-lora.gguf"]}
    listed = slmctl("tags", "hf.co/org/m-GGUF", "--facts", "--json").json  # one build spoils not the others
    problems = {each["id"]: each["problem"] for each in listed["variants"]}
    assert "is of the kind adapter" in problems.pop("gguf-unknown")
    assert set(problems.values()) == {None}
    assert slmctl("tags", "qwen3", "--json").json["library"][0]["tag"] == "0.6b"
    assert not slmctl.store.exists()


def test_tags_lists_the_builds_of_all_places_of_a_model_of_the_library(slmctl: Program, hub: FakeHub) -> None:
    done = slmctl("tags", "qwen3:0.6b", "--json")
    listed = [(each["id"], each["place"]) for each in done.json["variants"]]
    assert listed == [
        ("gguf-q4_k_m", f"hf://unsloth/Qwen3-0.6B-GGUF@{COMMIT}:Q4_K_M"),
        ("gguf-q8_0", f"hf://Qwen/Qwen3-0.6B-GGUF@{COMMIT}:Q8_0"),
        ("mlx-q4-g64", f"hf://mlx-community/Qwen3-0.6B-4bit@{COMMIT}"),
    ]
    assert done.json["place"] == listed[0][1]
    for gone in ("hf://onnx-community/Qwen3-0.6B-ONNX", "hf://Qwen/Qwen3-0.6B"):
        assert f"{gone} is left out: " in done.err
    assert not [path for path in hub.paths() if path.endswith((".gguf", ".safetensors"))]
    rows = slmctl("tags", "qwen3:0.6b", "--facts").out.splitlines()
    assert "hf://mlx-community/Qwen3-0.6B-4bit" in rows[3]
    assert not slmctl.store.exists()
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert slmctl("tags", "qwen3:0.6b", environment=nobody).code == 6
    hub.repositories.clear()
    assert slmctl("tags", "qwen3:0.6b").code == 3
