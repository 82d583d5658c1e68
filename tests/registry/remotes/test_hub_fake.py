"""The fake hub is right: the real huggingface_hub client downloads from it, and understands its refusals."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes.hub import COMMIT, FakeHub, serve_hub

pytest.importorskip("huggingface_hub")

WEIGHTS = bytes(range(256)) * 2048
FILES = {f"part-{number:02}.txt": f"text {number}".encode() for number in range(25)}

PROGRAM = """
import hashlib, json, os, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download

def sha(path):
    return hashlib.sha256(open(path, "rb").read()).hexdigest()

def refused(call, *args, **names):
    try:
        call(*args, **names)
    except Exception as error:
        return type(error).__name__
    return "nothing"

out = {}
folder = snapshot_download("org/model")
found = {}
for at, _, names in os.walk(folder):
    for name in names:
        path = os.path.join(at, name)
        found[os.path.relpath(path, folder)] = sha(path)
out["snapshot"], out["folder"] = found, os.path.basename(folder)
out["blobs"] = sorted(os.listdir(os.path.join(folder, "..", "..", "blobs")))
out["tree"] = [entry.path for entry in HfApi().list_repo_tree("org/model", recursive=True)]
out["info"] = [[s.rfilename, s.size, s.blob_id, s.lfs and s.lfs.sha256]
               for s in HfApi().model_info("org/model", files_metadata=True).siblings]
out["refs"] = [ref.name for ref in HfApi().list_repo_refs("org/model").branches]
out["moved"] = sha(hf_hub_download("old/name", "sub/weights.gguf", local_dir=sys.argv[1] + "/moved"))
for name, repository in {"gated": "org/gated", "private": "org/private", "unknown": "org/unknown"}.items():
    out[name] = refused(hf_hub_download, repository, "a.gguf", local_dir=sys.argv[1] + "/none")
out["with token"] = refused(hf_hub_download, "org/private", "a.gguf", token="hf_good", local_dir=sys.argv[1] + "/p")
out["gated with token"] = refused(hf_hub_download, "org/gated", "a.gguf", token="hf_good", local_dir=sys.argv[1] + "/g")
out["accepted"] = refused(hf_hub_download, "org/gated", "a.gguf", token="hf_accepted", local_dir=sys.argv[1] + "/a")
out["revision"] = refused(hf_hub_download, "org/model", "part-01.txt", revision="none", local_dir=sys.argv[1] + "/r")
out["entry"] = refused(hf_hub_download, "org/model", "none.txt", local_dir=sys.argv[1] + "/e")
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeHub, dict[str, Any]]:
    """What the client made of the hub, and the hub with all that it was asked."""
    folder = tmp_path_factory.mktemp("client")
    with serve_hub(
        {
            "org/model": {"sub/weights.gguf": WEIGHTS, "config.json": b"{}", **FILES},
            "org/gated": {"a.gguf": b"gated"},
            "org/private": {"a.gguf": b"private"},
        }
    ) as fake:
        fake.page_size = 10
        fake.gated, fake.private = {"org/gated"}, {"org/private"}
        fake.tokens, fake.accepted = {"hf_good"}, {"hf_accepted"}
        fake.moved = {"old/name": "org/model"}
        environment = {
            "PATH": os.environ["PATH"],
            "HF_ENDPOINT": fake.endpoint,
            "HF_HOME": str(folder / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-c", PROGRAM, str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return fake, json.loads(done.stdout)


def test_a_whole_repository_comes_as_it_is(told: tuple[FakeHub, dict[str, Any]]) -> None:
    fake, out = told
    files = fake.repositories["org/model"]
    assert out["folder"] == COMMIT
    assert out["snapshot"] == {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    assert hashlib.sha256(WEIGHTS).hexdigest() in out["blobs"]  # named by what the linked ETag says
    assert out["moved"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_the_tree_came_in_pages(told: tuple[FakeHub, dict[str, Any]]) -> None:
    fake, out = told
    assert set(out["tree"]) == {*fake.repositories["org/model"], "sub"}
    assert [request.target for request in fake.requests if "cursor=20" in request.target]


def test_sizes_and_hashes_are_read_from_the_revision(told: tuple[FakeHub, dict[str, Any]]) -> None:
    _, out = told
    by_path = {path: (size, blob, lfs) for path, size, blob, lfs in out["info"]}
    assert by_path["sub/weights.gguf"][::2] == (len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest())
    assert by_path["config.json"] == (2, "9e26dfeeb6e641a33dae4961196235bdb965b21b", None)
    assert out["refs"] == ["main", "feature/x"]


def test_refusals_are_understood(told: tuple[FakeHub, dict[str, Any]]) -> None:
    _, out = told
    assert {
        key: value for key, value in out.items() if isinstance(value, str) and key not in {"folder", "moved"}
    } == {
        "gated": "GatedRepoError",
        "gated with token": "GatedRepoError",
        "accepted": "nothing",
        "private": "RepositoryNotFoundError",
        "unknown": "RepositoryNotFoundError",
        "with token": "nothing",
        "revision": "RevisionNotFoundError",
        "entry": "RemoteEntryNotFoundError",
    }


def test_no_token_reached_the_cdn(told: tuple[FakeHub, dict[str, Any]]) -> None:
    fake, _ = told
    assert fake.cdn.requests
    assert not any("authorization" in request.headers for request in fake.cdn.requests)
