"""`slmctl push --format image --base`: what KServe's modelcars run in an image runs in ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from registry.digest import Digest
from tests.fakes.registry import FakeRegistry, error, fake_registry
from tests.fakes.relay import relay
from tests.fakes.wire import Request
from tests.processes import until
from tests.registries.images import ARCHITECTURE, CONFIG, Layout, push_busybox, text_layer
from tests.registries.programs import Registry, docker_registry, need
from tests.slmctl.cli.program import REPOSITORY, Program
from tests.slmctl.cli.publishing import Author

PREFETCH = "echo 'Pre-fetching modelcar: ' && [ -d /models ] && [ \"$(ls -A /models)\" ] && echo OK || (echo NOK && exit 1)"
MODELCAR = "ln -sf /proc/$$/root/models /mnt/models && sleep infinity"
"""What KServe's storage initializer gives as arguments (pkg/webhook/admission/pod, v0.15)."""


@pytest.fixture
def model(author: Author) -> Program:
    """Somebody with a model of his own, `m`."""
    author.create("m", 1)
    author.slmctl.go_online()
    return author.slmctl


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that shares nothing with the one that is pushed to."""
    with docker_registry(tmp_path_factory.mktemp("elsewhere")) as registry:
        yield registry


class Copied:
    """An image as skopeo copies it: the whole index into a layout."""

    def __init__(self, reference: str, folder: Path) -> None:
        need("skopeo")
        subprocess.run(
            ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false",
             f"docker://{reference}", f"oci:{folder}:image"],
            check=True, capture_output=True,
        )  # fmt: skip
        self._blobs = folder / "blobs" / "sha256"
        self.digest = json.loads((folder / "index.json").read_bytes())["manifests"][0]["digest"]
        self.index = self.read(self.digest)

    def blob(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def read(self, digest: str) -> Any:
        return json.loads(self.blob(digest).read_bytes())

    def manifest(self, architecture: str) -> Any:
        (found,) = (each["digest"] for each in self.index["manifests"]
                    if each["platform"] == {"os": "linux", "architecture": architecture})  # fmt: skip
        return self.read(found)

    def unpacked(self, architecture: str, folder: Path) -> Path:
        """The file system of an image, as a container runtime makes it."""
        folder.mkdir()
        for layer in self.manifest(architecture)["layers"]:
            packed = ["-z"] if layer["mediaType"].endswith("+gzip") else []
            subprocess.run(["tar", "-x", *packed, "-f", self.blob(layer["digest"]), "-C", folder], check=True)
        return folder


def chrooted(root: Path, script: str) -> list[str]:
    return [shutil.which("chroot") or "chroot", "--userspec=1000:1000", str(root), "sh", "-c", script]


def test_a_modelcar_runs_in_it(model: Program, plain_registry: Registry, place: str, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, for chroot")
    push_busybox(tmp_path / "base", plain_registry, "images/busybox:1")
    base = f"{plain_registry.host}/images/busybox:1"
    assert model("push", "m", f"{place}:v1", "--format", "image", "--base", base).code == 0

    image = Copied(f"{place}:v1", tmp_path / "copied")
    root = image.unpacked(ARCHITECTURE, tmp_path / "root")
    config = image.read(image.manifest(ARCHITECTURE)["config"]["digest"])["config"]
    assert "Entrypoint" not in config  # KServe gives arguments only
    environment = dict(each.split("=", 1) for each in config["Env"])
    checked = subprocess.run(
        chrooted(root, PREFETCH), env=environment, check=True, capture_output=True, text=True
    )
    assert checked.stdout.splitlines()[1:] == ["OK"]

    (root / "mnt").chmod(0o777)  # an empty volume that both containers have
    with subprocess.Popen(chrooted(root, MODELCAR), env=environment) as modelcar:
        try:
            link = root / "mnt" / "models"
            until(lambda: (link.is_symlink() or modelcar.poll() is not None) or None)
            assert modelcar.poll() is None
            # the other container of the pod sees the modelcar's processes, and by them its files
            assert str(link.readlink()) == f"/proc/{modelcar.pid}/root/models"
            weights = (link / "model.gguf").read_bytes()
        finally:
            modelcar.kill()
    assert weights in [path.read_bytes() for path in model.store.glob("blobs/sha256/*")]
    assert not link.exists()


def test_the_base_stays_as_it_is_and_is_pinned(
    model: Program, plain_registry: Registry, place: str, tmp_path: Path
) -> None:
    digest = push_busybox(tmp_path / "base", plain_registry, "images/busybox:2")
    name = f"{plain_registry.host}/images/busybox:2"
    pushed = model("push", "m", f"{place}:v1", "--format", "image", "--base", name, "--json").json
    assert (pushed["base"], pushed["notes"]) == (f"oci://{name}@{digest}", [])
    base, image = Copied(name, tmp_path / "theirs"), Copied(f"{place}:v1", tmp_path / "ours")
    assert [each["platform"]["architecture"] for each in image.index["manifests"]] == ["amd64", "arm64"]
    plain = model("push", "m", f"{place}:plain", "--format", "image", "--json").json
    alone = Copied(f"{place}:plain", tmp_path / "alone")
    assert "--base" in plain["notes"][0]
    for architecture in ("amd64", "arm64"):
        below, whole, above = (each.manifest(architecture) for each in (base, image, alone))
        assert whole["layers"] == [*below["layers"], *above["layers"]]
        was, config, ours = (each.read(manifest["config"]["digest"])
                             for each, manifest in ((base, below), (image, whole), (alone, above)))  # fmt: skip
        assert config["rootfs"]["diff_ids"] == [*was["rootfs"]["diff_ids"], *ours["rootfs"]["diff_ids"]]
        assert config["history"][: len(was["history"])] == was["history"]
        assert len([each for each in config["history"] if not each.get("empty_layer")]) == len(
            whole["layers"]
        )
        assert config["config"] == {
            **{key: CONFIG[key] for key in ("Cmd", "Env", "User", "WorkingDir")},
            "Labels": {"vendor": "a test", **ours["config"]["Labels"]},
        }
        (of_this,) = (each["digest"] for each in base.index["manifests"]
                      if each["platform"] == {"os": "linux", "architecture": architecture})  # fmt: skip
        assert whole["annotations"] == {
            "org.opencontainers.image.base.name": name,
            "org.opencontainers.image.base.digest": of_this,
        }
    assert image.index["annotations"]["org.opencontainers.image.base.digest"] == digest


def test_what_the_registry_has_of_the_base_is_mounted(
    model: Program, plain_registry: Registry, place: str, tmp_path: Path
) -> None:
    push_busybox(tmp_path / "base", plain_registry, "images/busybox:3")
    model("push", "m", f"{place}:plain", "--format", "image")  # which has all layers of ours
    with fake_registry() as fake:
        asked = model("push", "m", f"{fake.server.place}/a/m:v1", "--format", "image", "--json").json
    name = f"{plain_registry.host}/images/busybox:3"
    pushed = model("push", "m", f"{place}:v1", "--format", "image", "--base", name, "--json").json
    assert pushed["sent"] < 4096 < asked["sent"]  # two configs


def test_a_base_of_another_registry_is_sent_through_with_the_same_result(
    model: Program, plain_registry: Registry, elsewhere: Registry, place: str, tmp_path: Path
) -> None:
    push_busybox(tmp_path / "base", elsewhere, "images/busybox:1")
    name = f"{elsewhere.host}/images/busybox:1"
    arguments = ("--format", "image", "--base", name, "--json")
    first = model("push", "m", f"{place}:v1", *arguments).json
    assert first["sent"] == first["size"] > (tmp_path / "base").stat().st_size
    again = model("push", "m", f"{place}-again:v1", *arguments).json
    assert again["digest"] == first["digest"]
    image = Copied(f"{place}:v1", tmp_path / "copied")
    assert image.digest == first["digest"]
    assert not list(model.store.glob("leases/*"))


def test_one_platform_is_said_and_is_all_that_there_is(
    model: Program, plain_registry: Registry, place: str, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "base")
    single = layout.image([text_layer("a", "b")], config={}, architecture="arm64")
    del single["platform"]
    layout.push(single, plain_registry, "images/single:1")
    name = f"{plain_registry.host}/images/single:1"
    pushed = model("push", "m", f"{place}:v1", "--format", "image", "--base", name, "--json").json
    assert "not for amd64" in pushed["notes"][0]
    image = Copied(f"{place}:v1", tmp_path / "copied")
    assert [each["platform"]["architecture"] for each in image.index["manifests"]] == ["arm64"]


def put_image(fake: FakeRegistry, tmp_path: Path, **changes: Any) -> None:
    """An image whose manifest says something else."""
    layout = Layout(tmp_path / "layout")
    os_ = changes.pop("os", "linux")
    made = layout.image([text_layer("a", "b")], config={}, os=os_, architecture="amd64")
    for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir():
        fake.put_blob("a/base", path.read_bytes())
    manifest = json.loads(fake.blobs["a/base", made["digest"]])
    for key, value in changes.items():
        target = manifest if key in manifest else manifest["layers"][0]
        target[key] = value
    raw = json.dumps(manifest).encode()
    fake.put("a/base", raw, manifest.get("mediaType", made["mediaType"]), "1")


OF_OCI = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OF_DOCKER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("windows", 4, "is not for linux/amd64 or linux/arm64, but for 'windows/amd64'"),
        (OF_OCI, 4, "may not be handed on"),
        (OF_DOCKER, 4, "may not be handed on"),
        ("application/vnd.cncf.model.weight.v1.raw", 4, "is none of an image"),
        ("schema 1", 5, "Docker's old schema 1"),
        ("artifact", 4, "is no container image"),
    ],
    ids=["windows", "oci", "docker", "model", "old", "artifact"],
)
def test_what_cannot_lie_below(
    model: Program, place: str, tmp_path: Path, kind: str, code: int, said: str
) -> None:
    changes: dict[str, Any] = {}
    with fake_registry() as fake:
        if kind == "windows":
            changes["os"] = "windows"
        elif kind == "artifact":
            empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2}
            changes["config"] = {**empty, "digest": fake.put_blob("a/base", b"{}")}
        elif kind == "schema 1":
            changes["schemaVersion"] = 1
        else:
            # of a layer, as a manifest has the key too
            changes["layers"] = [{"mediaType": kind, "size": 1, "digest": fake.put_blob("a/base", b"x")}]
        put_image(fake, tmp_path, **changes)
        base = f"{fake.server.place}/a/base:1"
        done = model("push", "m", f"{place}:v1", "--format", "image", "--base", base)
    assert (done.code, len(done.err.splitlines())) == (code, 2), done.err
    assert said in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "127.0.0.1:9/busybox"], "Add --format image"),
        (["--base", "127.0.0.1:9/busybox", "--format", "docker"], "Add --format image"),
        (["--base", "busybox", "--format", "image"], "docker.io/library/busybox"),
        (["--base", "hf.co/a/b", "--format", "image"], "HOST/PATH:TAG"),
        (["--base", "./busybox", "--format", "image"], "HOST/PATH:TAG"),
    ],
    ids=["none", "docker", "bare", "hub", "file"],
)
def test_a_base_that_is_wrong_usage(model: Program, place: str, arguments: list[str], said: str) -> None:
    done = model("push", "m", f"{place}:v1", *arguments)
    assert (done.code, len(done.err.splitlines())) == (2, 2), done.err
    assert said in done.hint


def test_a_registry_that_lies_about_a_layer_names_nothing(model: Program, place: str, tmp_path: Path) -> None:
    lies: list[str] = []
    with fake_registry() as fake:
        put_image(fake, tmp_path)
        for (repository, digest), data in list(fake.blobs.items()):
            if data == text_layer("a", "b"):
                fake.blobs[repository, digest] = data.replace(b"b", b"c")
                lies.append(digest)
        base = f"{fake.server.place}/a/base:1"
        done = model("push", "m", f"{place}:v1", "--format", "image", "--base", base)
    assert (done.code, len(lies)) == (5, 1)
    assert f"{fake.server.place}/a/base gave other bytes" in done.err
    need("skopeo")
    seen = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{place}:v1"],
        check=False, capture_output=True,
    )  # fmt: skip
    assert seen.returncode != 0


def test_a_base_whose_registry_has_mishaps_is_asked_again(
    model: Program, plain_registry: Registry, place: str, tmp_path: Path
) -> None:
    layer = text_layer("a", "b")
    mishaps = [error(503, "UNAVAILABLE"), b"", b"", error(500, "UNKNOWN")]

    def fail(request: Request) -> bytes | None:
        return mishaps.pop() if mishaps and request.path.endswith(str(Digest.of(layer))) else None

    with fake_registry(fail) as fake:
        put_image(fake, tmp_path)
        base = f"{fake.server.place}/a/base:1"
        done = model("push", "m", f"{place}:v1", "--format", "image", "--base", base)
    assert (done.code, mishaps) == (0, []), done.err
    image = Copied(f"{place}:v1", tmp_path / "copied")
    assert image.blob(image.manifest("amd64")["layers"][0]["digest"]).read_bytes() == layer


def test_a_large_base_takes_little_memory_and_comes_once(
    model: Program, elsewhere: Registry, place: str, tmp_path: Path
) -> None:
    size = 128 << 20
    layout = Layout(tmp_path / "base")
    root = layout.image([text_layer("large", "x" * size)], config={}, architecture=ARCHITECTURE)
    layout.push(layout.index(root), elsewhere, "images/large:1")
    report = tmp_path / "peak"
    with relay(elsewhere.host) as between:
        base = f"{between.host}/images/large:1"
        done = subprocess.run(
            [sys.executable, "-m", "tests.slmctl.cli.measured", str(report),
             "push", "m", f"{place}:v1", "--format", "image", "--base", base],
            cwd=REPOSITORY, env=model.environment, check=False, capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert size < between.served < size + (1 << 20)
    assert int(report.read_text()) < 100_000_000
