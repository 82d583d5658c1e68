"""`slmctl push` to a real registry; what arrives is read by skopeo and by oras."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
from pathlib import Path

import oras.client
import pytest
import requests

from tests.fakes.registry import fake_registry
from tests.fakes.wire import Request
from tests.processes import until
from tests.registries.programs import Registry, need
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.publishing import Author


def _skopeo(*arguments: str) -> str:
    need("skopeo")
    done = subprocess.run(["skopeo", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def _manifest(place: str, reference: str) -> dict[str, object]:
    text = _skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{place}:{reference}")
    document: dict[str, object] = json.loads(text)
    return document


def test_what_is_pushed_is_what_skopeo_and_slmctl_pull(
    author: Author, slmctl: Program, place: str, tmp_path: Path
) -> None:
    author.create("m", 1)
    digest = author.slmctl("show", "m", "--json").json["digest"]
    author.slmctl.go_online()
    done = author.slmctl("push", "m", f"{place}:v1", "--json").json
    assert (done["digest"], done["reference"], done["tags"]) == (digest, f"oci://{place}:v1@{digest}", ["v1"])
    assert done["sent"] == done["size"] > 100_000
    again = author.slmctl("push", "m", f"{place}:v1", "--json").json
    assert again["sent"] == 0

    copied = tmp_path / "copied"
    _skopeo("copy", "-q", "--all", "--src-tls-verify=false", f"docker://{place}:v1", f"oci:{copied}:m")
    index = json.loads((copied / "index.json").read_bytes())
    assert index["manifests"][0]["digest"] == digest
    for blob in (copied / "blobs" / "sha256").iterdir():
        ours = author.slmctl.store / "blobs" / "sha256" / blob.name
        assert ours.read_bytes() == blob.read_bytes()

    assert slmctl("pull", f"{place}:v1").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] == digest


def test_oras_pulls_the_weights_that_were_pushed(author: Author, place: str, tmp_path: Path) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    assert author.slmctl("push", "m", f"{place}:v1").code == 0
    client = oras.client.OrasClient(insecure=True)
    manifest = client.get_manifest(
        f"{place}:v1", allowed_media_type=["application/vnd.oci.image.manifest.v1+json"]
    )
    weights = max(manifest["layers"], key=lambda layer: layer["size"])
    target = tmp_path / "weights.gguf"
    client.download_blob(f"{place}:v1", weights["digest"], str(target))
    assert f"sha256:{hashlib.sha256(target.read_bytes()).hexdigest()}" == weights["digest"]


def test_several_variants_are_an_index_with_a_tag_for_each_beside_it(
    author: Author, slmctl: Program, place: str
) -> None:
    author.create("m", 1, "F32", "F16")
    author.slmctl.go_online()
    done = author.slmctl("push", "m", f"{place}:v1", "--json").json
    assert sorted(done["tags"]) == ["v1", "v1-gguf-f16", "v1-gguf-f32"]
    assert "manifests" in _manifest(place, "v1")
    for identity in ("gguf-f16", "gguf-f32"):
        assert "layers" in _manifest(place, f"v1-{identity}")
    single = slmctl("pull", f"{place}:v1-gguf-f16", "--json").json["models"][0]
    assert single["variants"] == ["gguf-f16"]
    assert author.slmctl("push", "m", f"{place}:v2", "--no-variant-tags", "--json").json["tags"] == ["v2"]
    one = author.slmctl("push", "m", f"{place}:v3", "--variant", "f16", "--json").json
    assert (one["tags"], "layers" in _manifest(place, "v3")) == (["v3"], True)


def test_a_sparse_model_is_made_whole_or_pushed_in_part(author: Author, slmctl: Program, place: str) -> None:
    author.create("m", 1, "F32", "F16")
    digest = author.publish("m", f"{place.partition('/')[2]}:v1")
    assert slmctl("pull", f"{place}:v1", "--variant", "f16").code == 0
    part = slmctl("push", f"{place}:v1", f"{place}-part:v1", "--variant", "f16", "--json").json
    assert part["variants"] == []
    assert not all(each["local"] for each in slmctl("show", f"{place}:v1", "--json").json["variants"])
    whole = slmctl("push", f"{place}:v1", f"{place}-whole:v1", "--json").json
    assert whole["digest"] == digest
    assert all(each["local"] for each in slmctl("show", f"{place}:v1", "--json").json["variants"])


@pytest.mark.parametrize("form", ["modelpack", "docker", "ollama"])
def test_each_format_comes_back_as_a_model_that_says_the_same(
    author: Author, slmctl: Program, place: str, form: str
) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    assert author.slmctl("push", "m", f"{place}:v1", "--format", form).code == 0
    first = author.slmctl("push", "m", f"{place}:v1", "--format", form, "--json").json["digest"]
    assert slmctl("pull", f"{place}:v1").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] == first
    said = [program("run", name, "a", "--raw", "--seed", "1", "--max-tokens", "8").out
            for program, name in ((slmctl, f"{place}:v1"), (author.slmctl, "m"))]  # fmt: skip
    assert said[0] == said[1]
    assert slmctl("verify").code == 0


def test_an_image_has_the_files_under_models(author: Author, place: str, tmp_path: Path) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    assert author.slmctl("push", "m", f"{place}:v1", "--format", "image").code == 0
    folder = tmp_path / "image"
    _skopeo("copy", "-q", "--src-tls-verify=false", f"docker://{place}:v1", f"dir:{folder}")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    names = []
    for layer in manifest["layers"]:
        listed = subprocess.run(
            ["tar", "-tf", str(folder / layer["digest"].removeprefix("sha256:"))],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        names += listed.stdout.split()
    assert "models/model.gguf" in names
    assert all(name.startswith("models/") for name in names)


def test_a_model_that_came_from_the_registry_is_mounted_and_not_sent_again(
    author: Author, slmctl: Program, place: str
) -> None:
    author.create("m", 1)
    author.publish("m", f"{place.partition('/')[2]}:v1")
    assert slmctl("pull", f"{place}:v1").code == 0
    done = slmctl("push", f"{place}:v1", f"{place}-other:v1", "--json").json
    assert done["sent"] == 0


def test_an_interrupted_push_is_gone_on_with_and_shows_no_half_model(
    author: Author, plain_registry: Registry, place: str
) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    child = author.slmctl.start("push", "m", f"{place}:v1", "--limit-rate", "100kB")
    path = place.partition("/")[2]
    repository = plain_registry.root / "docker/registry/v2/repositories" / path
    until(lambda: list(repository.glob("_uploads/*")) or None)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    seen = requests.get(f"{plain_registry.url}/v2/{path}/manifests/v1", timeout=30)
    assert seen.status_code == 404
    assert author.slmctl("push", "m", f"{place}:v1").code == 0
    assert list(author.slmctl.store.glob("leases/*")) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["m"], 2),
        (["m", "ollama://x"], 2),
        (["m", "hf.co/a/b"], 2),
        (["missing", "127.0.0.1:9/x:1"], 3),
        (["m", "127.0.0.1:9/x:1"], 6),
        (["m", "127.0.0.1:9/x:1@sha256:" + "0" * 64], 2),
        (["m", "127.0.0.1:9/x:1", "--format", "zip"], 2),
        (["m", "127.0.0.1:9/UPPER:1"], 2),
    ],
)
def test_wrong_usage_has_a_sentence_and_a_hint(author: Author, arguments: list[str], code: int) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    done = author.slmctl("push", *arguments)
    assert (done.code, len(done.err.splitlines())) == (code, 2), done.err


def test_a_model_that_is_removed_while_it_is_pushed_arrives_whole(slmctl: Program, tiny_model: Path) -> None:
    """And is gone here: the push holds what it sends, no longer than that."""
    slmctl.go_online()
    assert slmctl("create", "m", "--from", str(tiny_model)).code == 0
    digest = slmctl("show", "m", "--json").json["digest"]
    before = {path.name: path.read_bytes() for path in slmctl.store.glob("blobs/sha256/*")}
    done: list[int] = []

    def remove(request: Request) -> None:
        if request.method == "POST" and not done:
            done.append(0)
            done[:] = [slmctl(*command).code for command in (["rm", "m"], ["gc"])]

    with fake_registry(remove) as fake:
        pushed = slmctl("push", "m", f"http://{fake.server.place}/a/m:v1")
        assert (pushed.code, done) == (0, [0, 0]), pushed.err
        sent = {name.removeprefix("sha256:"): data for (_, name), data in fake.blobs.items()}
        assert {**sent, digest.removeprefix("sha256:"): fake.manifests["a/m", digest][0]} == before
    assert slmctl("gc").code == 0
    assert not list(slmctl.store.glob("blobs/sha256/*"))
