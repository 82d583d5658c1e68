"""What a user sees of a registry that lies: a code, a sentence, and a store in which nothing of it is visible.

Rows of serving.md, section 6, and of 5C. What the requests look like in detail is tested where they are made
(tests/registry/remotes, tests/registry/transfer); docs/hostile-registries.md says which test shows which row.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import FakeRegistry, Trick, digest_of, error, fake_registry, ranged
from tests.fakes.wire import Request, Wire, reply, serve
from tests.slmctl.cli.program import Outcome, Program

PATH = "team/model"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
METADATA = "http://169.254.169.254/latest/meta-data"
SECRET = "a-password-that-nobody-else-may-see"


@dataclass(frozen=True)
class Published:
    """A model as it was published."""

    manifest: bytes
    blobs: dict[str, bytes]

    @property
    def weights(self) -> str:
        return max(self.blobs, key=lambda digest: len(self.blobs[digest]))

    def put(self, fake: FakeRegistry) -> None:
        fake.put(PATH, self.manifest, MANIFEST, "v1")
        for data in self.blobs.values():
            fake.put_blob(PATH, data)

    def changed(self, change: Callable[[dict[str, Any]], None]) -> bytes:
        document = json.loads(self.manifest)
        change(document)
        return json.dumps(document).encode()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Published:
    with tempfile.TemporaryDirectory(prefix="slm") as runtime:
        author = Program(tmp_path_factory.mktemp("author") / "home", Path(runtime))
        assert author("create", "m", "--from", str(tiny_model)).code == 0
        digest = author("show", "m", "--json").json["digest"]
    files = {f"sha256:{path.name}": path.read_bytes() for path in author.store.glob("blobs/sha256/*")}
    return Published(manifest=files.pop(digest), blobs=files)


@pytest.fixture
def fake(slmctl: Program, published: Published) -> Iterator[FakeRegistry]:
    slmctl.go_online()
    with fake_registry() as registry:
        published.put(registry)
        yield registry


def pull(slmctl: Program, fake: FakeRegistry, *options: str) -> Outcome:
    return slmctl("pull", f"http://{fake.server.place}/{PATH}:v1", *options)


def is_clean(slmctl: Program) -> None:
    """No name, no blob that is not what it is called, nothing beside the home, nothing strange on stderr."""
    table = slmctl.store / "index.json"
    assert not table.exists() or json.loads(table.read_bytes())["manifests"] == []
    for blob in slmctl.store.glob("blobs/sha256/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert {path.name for path in slmctl.home.parent.iterdir()} <= {slmctl.home.name}


def is_one_sentence(done: Outcome) -> None:
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 2, done.err
    assert lines[0].startswith("slmctl: ")
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.err) is None


def for_path(ending: str, answer: Callable[[Request], bytes | None]) -> Trick:
    return lambda request: answer(request) if request.path.endswith(ending) else None


def of_weights(answer: Callable[[Request, bytes], bytes | None]) -> Callable[[Published], Trick]:
    return lambda model: for_path(model.weights, lambda request: answer(request, model.blobs[model.weights]))


def of_manifest(answer: Callable[[Published], bytes]) -> Callable[[Published], Trick]:
    return lambda model: for_path("/manifests/v1", lambda _: answer(model))


def as_manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Published], Trick]:
    return of_manifest(lambda model: reply(200, model.changed(change), {"Content-Type": MANIFEST}))


def flipped(_: Request, data: bytes) -> bytes:
    return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]


def redirected(location: str) -> Callable[[Published], Trick]:
    return of_weights(lambda request, data: reply(307, b"", {"Location": location}))


def in_a_chain(model: Published) -> Trick:
    def answer(request: Request) -> bytes | None:
        if request.path.endswith(model.weights):
            return reply(302, b"", {"Location": "/hop/1"})
        if request.path.startswith("/hop/"):
            return reply(302, b"", {"Location": f"/hop/{int(request.path[5:]) + 1}"})
        return None

    return answer


def challenged(challenge: str) -> Callable[[Published], Trick]:
    return lambda model: (
        lambda request: (
            reply(401, b"", {"WWW-Authenticate": challenge}) if request.path.startswith("/v2/") else None
        )
    )


def tokens_that_never_count(_: Published) -> Trick:
    def answer(request: Request) -> bytes:
        if request.path == "/token":
            return reply(200, b'{"token": "t", "expires_in": 0}')
        place = request.headers["host"]
        return reply(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{place}/token",service="s"'})

    return answer


def a_bomb(model: Published) -> bytes:
    once = gzip.compress(bytes(64 << 20), 9)
    return reply(200, once, {"Content-Type": MANIFEST, "Content-Encoding": "gzip"})


def layer(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["layers"][0].update(changes)


def titled(title: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for each in document["layers"]:
            for key in each.get("annotations", {}):
                if key.endswith((".title", ".filepath")):
                    each["annotations"][key] = title

    return change


def said_in_facts(document: dict[str, Any]) -> None:
    """The name of a build comes from the facts where no annotation says it."""
    annotations = document["annotations"]
    del annotations["dev.slmctl.variant"]
    facts = json.loads(annotations["dev.slmctl.facts"])
    annotations["dev.slmctl.facts"] = json.dumps({**facts, "quantization": "\x1b]0;owned\x07"})


def deep_indexes(model: Published) -> Trick:
    """Each index names another: nobody knows where it ends."""
    raw, kind = model.manifest, MANIFEST
    known: dict[str, tuple[bytes, str]] = {}
    for _ in range(12):
        known[digest_of(raw)] = (raw, kind)
        entry = {"mediaType": kind, "digest": digest_of(raw), "size": len(raw)}
        raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
        kind = INDEX
    known["v1"] = (raw, kind)

    def answer(request: Request) -> bytes | None:
        found = known.get(request.path.rpartition("/")[2])
        return reply(200, found[0], {"Content-Type": found[1]}) if found else None

    return answer


def _many(document: dict[str, Any]) -> None:
    document["layers"] = document["layers"] * 100_000


BAD, NOBODY, LOCKED = 5, 6, 7

CASES: dict[str, tuple[Callable[[Published], Trick], set[int], str]] = {
    # section 6
    "1 other bytes": (of_weights(lambda r, data: ranged(r, flipped(r, data))), {BAD}, "has the digest sha256:"),
    "3 a wrong Content-Range": (
        of_weights(lambda r, data: reply(206, data[5:], {"Content-Range": f"bytes 5-{len(data) - 1}/{len(data)}"})),
        {BAD},
        "",
    ),
    "3 another total": (
        of_weights(lambda r, data: reply(206, data[:9], {"Content-Range": "bytes 0-8/9"})), {BAD}, ""
    ),
    "3 nothing but 416": (of_weights(lambda r, data: reply(416)), {BAD}, "fewer bytes"),
    "5 one byte too many": (of_weights(lambda r, data: reply(200, data + b"x")), {BAD}, ""),
    "5 one byte too few": (of_weights(lambda r, data: reply(200, data[:-1])), {BAD}, ""),
    "5 two lengths": (
        of_weights(lambda r, data: reply(200, data, [("Content-Length", "7")])), {BAD}, "how long its answer is"
    ),
    "5 a negative length": (of_weights(lambda r, data: reply(200, data, length=-5)), {BAD}, "how long"),
    "6 a circle": (lambda model: redirected(f"/v2/{PATH}/blobs/{model.weights}")(model), {NOBODY}, "in a circle"),
    "6 thirty hops": (in_a_chain, {NOBODY}, "only 5 redirects"),
    "6 a file": (redirected("file:///etc/passwd"), {NOBODY}, "not followed"),
    "6 ftp": (redirected("ftp://127.0.0.1/x"), {NOBODY}, "not followed"),
    "6 a metadata service": (redirected(METADATA), {NOBODY}, "not followed"),
    "6 a number as host": (redirected("http://2852039166/x"), {NOBODY}, "not followed"),
    "7 tokens that never count": (tokens_that_never_count, {LOCKED}, "Log in"),
    "8 a pause of thirty years": (
        of_weights(lambda r, data: reply(503, b"", {"Retry-After": "1000000000"})), {NOBODY}, "1000000000 seconds"
    ),
    "10 a manifest of 5 GB": (of_manifest(lambda m: reply(200, b"{", length=5 << 30)), {BAD}, "more than"),
    "10 a deep document": (of_manifest(lambda m: reply(200, b"[" * 100_000)), {BAD}, ""),
    "10 100000 layers": (as_manifest(_many), {BAD}, ""),
    "10 something behind it": (of_manifest(lambda m: reply(200, m.manifest + b"{}")), {BAD}, ""),
    "10 a key twice": (
        of_manifest(lambda m: reply(200, m.manifest[:-1] + b',"layers":[]}', {"Content-Type": MANIFEST})), {BAD}, ""
    ),
    "11 a digest that is a path": (as_manifest(layer(digest="../../../../etc/x")), {BAD}, ""),
    "11 a digest in upper case": (as_manifest(layer(digest="sha256:" + "A" * 64)), {BAD}, ""),
    "12 another digest in the header": (
        of_manifest(lambda m: reply(200, m.manifest, {"Docker-Content-Digest": digest_of(b"x")})), {BAD}, "digest"
    ),
    "13 indexes without end": (deep_indexes, {BAD}, "more than 4 deep"),
    "19 a page of a hotel": (
        lambda model: lambda request: reply(200, b"<!doctype html><p>Log in", {"Content-Type": "text/html"}),
        {NOBODY},
        "a web page instead of a document",
    ),
    # 5C
    "5C a title that leads out": (as_manifest(titled("../../x")), {BAD}, ""),
    "5C an absolute title": (as_manifest(titled("/etc/cron.d/x")), {BAD}, ""),
    "5C a title with a drive": (as_manifest(titled("C:\\x")), {BAD}, ""),
    "5C a title of 4 kB": (as_manifest(titled("x" * 4096)), {BAD}, ""),
    "5C a title for the terminal": (as_manifest(titled("\x1b]0;owned\x07\x1b[2J.gguf")), {BAD}, ""),
    "5C facts for the terminal": (as_manifest(said_in_facts), {BAD}, ""),
    "5C no layers": (as_manifest(lambda d: d.update(layers=[])), {4}, "no weights"),
    "5C no config": (as_manifest(lambda d: d.update(config=None)), {BAD}, ""),
    "5C layers that are text": (as_manifest(lambda d: d.update(layers="x")), {BAD}, ""),
    "5C a size that is negative": (as_manifest(layer(size=-1)), {BAD}, ""),
    "5C a size of exabytes": (as_manifest(layer(size=1 << 60)), {BAD, 1, 4}, ""),
    "5C a document that is two": (as_manifest(lambda d: d.update(manifests=[])), {BAD}, ""),
    "5C a bomb": (of_manifest(a_bomb), {BAD}, "more than"),
    "5C a realm inside": (challenged(f'Bearer realm="{METADATA}",service="s"'), {NOBODY, LOCKED}, ""),
    "5C a realm that is a file": (challenged('Bearer realm="file:///etc/passwd"'), {NOBODY, LOCKED, BAD}, ""),
    "5C a realm with a user": (challenged('Bearer realm="http://a@127.0.0.1:9/"'), {NOBODY, LOCKED, BAD}, ""),
    "5C words for the terminal": (
        of_manifest(lambda m: error(403, "DENIED", "\x1b[2J\x1b]0;owned\x07\nslmctl: all is well")), {LOCKED}, "DENIED"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_user_is_told_and_nothing_of_it_is_visible(
    slmctl: Program, fake: FakeRegistry, published: Published, name: str
) -> None:
    trick, codes, words = CASES[name]
    fake.tricks.append(trick(published))
    done = pull(slmctl, fake)
    assert done.code in codes, done.err
    is_one_sentence(done)
    assert words in done.err, done.err
    is_clean(slmctl)
    assert fake.requests, "somebody was asked"
    assert len(fake.requests) < 60, "and not again and again"
    assert all(request.path.startswith(("/v2/", "/hop/", "/token")) for request in fake.requests)


def test_cuts_cost_no_byte_twice(slmctl: Program, fake: FakeRegistry, published: Published) -> None:
    """Row 2: each answer breaks off after 100 kB."""
    sent: list[int] = []
    with serve(broken_off(fake, published, sent, lambda: None)) as server:
        done = slmctl("pull", f"http://{server.place}/{PATH}:v1")
    assert done.code == 0, done.err
    assert sum(sent) == len(published.blobs[published.weights])
    assert slmctl("verify").code == 0


def test_content_that_changes_between_its_parts(
    slmctl: Program, fake: FakeRegistry, published: Published
) -> None:
    """Row 4: begun anew once, then given up."""
    sent: list[int] = []
    with serve(broken_off(fake, published, sent, lambda: f'"{len(sent)}"')) as server:
        done = slmctl("pull", f"http://{server.place}/{PATH}:v1")
    assert (done.code, "is not what it was" in done.err) == (5, True), done.err
    is_one_sentence(done)
    is_clean(slmctl)
    assert len(sent) < 12


def broken_off(
    fake: FakeRegistry, model: Published, sent: list[int], state: Callable[[], str | None]
) -> Callable[[Request, Wire], None]:
    """The registry, but that it ends each answer with weights after 100 kB."""

    def script(request: Request, wire: Wire) -> None:
        if not request.path.endswith(model.weights):
            wire.send(fake.answer(request))
            return
        head, gap, body = ranged(request, model.blobs[model.weights], state()).partition(b"\r\n\r\n")
        sent.append(len(body[:100_000]))
        wire.send(head + gap + body[:100_000])
        wire.close()

    return script


@pytest.mark.parametrize("how", ["a blob that lies elsewhere", "a realm elsewhere", "foreign addresses"])
def test_a_password_stays_with_its_origin(
    slmctl: Program, fake: FakeRegistry, published: Published, tmp_path: Path, how: str
) -> None:
    """Rows 6 and 7, CVE-2025-51471, GHSA-vh4v-2xq2-g5cg, CVE-2020-15157."""
    folder = slmctl.home / "docker"
    folder.mkdir(parents=True)
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    auths = {"auths": {fake.server.place: {"auth": pair}}}
    (folder / "config.json").write_text(json.dumps(auths))
    data = published.blobs[published.weights]
    with serve(lambda request, wire: wire.send(ranged(request, data))) as other:

        def trick(request: Request) -> bytes | None:
            if how == "a realm elsewhere":
                return reply(401, b"", {"WWW-Authenticate": f'Bearer realm="{other.url}/token",service="s"'})
            if "authorization" not in request.headers:
                return reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
            if how == "a blob that lies elsewhere" and request.path.endswith(published.weights):
                return reply(307, b"", {"Location": f"{other.url}/signed?by=us"})
            if how == "foreign addresses" and request.path.endswith("/manifests/v1"):
                raw = published.changed(layer(urls=[f"{other.url}/evil"]))
                return reply(200, raw, {"Content-Type": MANIFEST})
            return None

        fake.tricks.append(trick)
        done = slmctl(
            "pull", f"http://{fake.server.place}/{PATH}:v1", environment={"DOCKER_CONFIG": str(folder)}
        )
        for request in other.requests:
            assert "authorization" not in request.headers
            assert pair.encode() not in request.raw_head
            assert SECRET.encode() not in request.raw_head + request.body
        if how == "a realm elsewhere":
            assert done.code in {5, 7}, done.err
            assert len(other.requests) <= 2
        else:
            assert done.code == 0, done.err
            assert any("authorization" in request.headers for request in fake.requests)
            assert bool(other.requests) == (how == "a blob that lies elsewhere")
    assert SECRET not in done.err + done.out


def test_what_a_bundle_says_of_its_source_sends_no_request(
    slmctl: Program, fake: FakeRegistry, published: Published, tmp_path: Path
) -> None:
    """Only a command that names the place does: not pull --all, list --outdated, verify --repair or pull NAME."""
    bundle = tmp_path / "home-of-bundle.tar"
    assert pull(slmctl, fake, "--as", "mine").code == 0
    assert slmctl("pull", "--all", "--json").json["models"][0]["name"] == "mine:latest"
    assert slmctl("export", "mine", "-o", str(bundle)).code == 0
    assert slmctl("rm", "mine").code == 0
    seen = len(fake.requests)
    for come in (["import", str(bundle)], ["pull", f"{bundle}:mine"]):
        assert slmctl(*come).code == 0
        model = slmctl("list", "--json").json["models"][0]
        assert model["source"].startswith(f"http://{fake.server.place}/{PATH}:v1@")
        assert slmctl("cp", "mine", "also").code == 0
        assert slmctl("pull", "--all", "--json").json["models"] == []
        assert slmctl("list", "--outdated", "--json").json["models"] == []
        refused = slmctl("pull", "mine")
        assert (refused.code, "out of a bundle" in refused.err) == (1, True)
        blob = slmctl.store / "blobs" / "sha256" / published.weights.removeprefix("sha256:")
        blob.unlink()
        bundle_gone = bundle.rename(tmp_path / "elsewhere")
        repaired = slmctl("verify", "--repair")
        assert (repaired.code, "which was not asked" in repaired.err) == (5, True)
        assert len(fake.requests) == seen
        bundle_gone.rename(bundle)
        assert slmctl("rm", "mine", "also").code == 0
    bundle.unlink()


def test_a_name_that_a_command_gives_is_asked_also_if_a_bundle_said_so(
    slmctl: Program, fake: FakeRegistry, tmp_path: Path
) -> None:
    bundle = tmp_path / "home-of-bundle.tar"
    assert pull(slmctl, fake, "--as", "mine").code == 0
    assert slmctl("export", "mine", "-o", str(bundle)).code == 0
    assert slmctl("rm", "mine").code == 0
    assert slmctl("import", str(bundle)).code == 0
    assert pull(slmctl, fake, "--as", "mine").code == 0
    assert slmctl("pull", "--all", "--json").json["models"][0]["name"] == "mine:latest"
    bundle.unlink()
