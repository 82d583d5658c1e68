"""The hub as a remote: what is asked, what is believed, and what a refusal says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from registry.digest import Digest
from registry.errors import (
    BadContent,
    DigestMismatch,
    MalformedFile,
    NotFound,
    SizeMismatch,
    SlmctlError,
    Unauthorized,
    Unreachable,
)
from registry.names import parse
from registry.remotes.base import Blob, Changed, Listing, TryAgain
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.huggingface import HuggingFaceRemote, blob_of
from registry.remotes.retry import Patience
from tests.fakes.hub import COMMIT, FakeHub, pointer, serve_hub
from tests.fakes.wire import Request, reply, serve

WEIGHTS = bytes(range(256)) * 512
CONFIG = b'{"model_type": "llama"}\n'
FILES = {"config.json": CONFIG, "sub folder/model-Q4_K_M.gguf": WEIGHTS, "README.md": b"# it"}
WEIGHTS_PATH = "sub folder/model-Q4_K_M.gguf"
ONCE = Patience(attempts=1)


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with serve_hub({"org/model": FILES, "org/gated": FILES, "org/private": FILES}) as served:
        served.gated, served.private = {"org/gated"}, {"org/private"}
        served.tokens, served.accepted = {"hf_good"}, {"hf_accepted"}
        yield served


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(HttpSettings(stall_timeout=5)) as client:
        yield client


def remote_of(
    http: HttpClient,
    fake: FakeHub,
    name: str = "org/model",
    token: str | None = None,
    patience: Patience = ONCE,
) -> HuggingFaceRemote:
    access = HubAccess(endpoint=fake.endpoint, token=token, token_from="HF_TOKEN")
    return HuggingFaceRemote(http, access, name, patience=patience)


def resolved(remote: HuggingFaceRemote, name: str = "hf://org/model") -> Listing:
    return remote.resolve(parse(name))


def weights_of(listing: Listing) -> Blob:
    return blob_of(next(file for file in listing.files if file.path == WEIGHTS_PATH))


def body_of(remote: HuggingFaceRemote, blob: Blob, start: int = 0, stop: int | None = None) -> bytes:
    with remote.open(blob, start, blob.size if stop is None else stop) as body:
        assert body.start in {0, start}
        return b"".join(body)


@pytest.mark.parametrize("blobs", [True, False])
def test_a_listing_has_every_file_with_its_hash_at_a_commit(
    fake: FakeHub, http: HttpClient, blobs: bool
) -> None:
    fake.blobs, fake.page_size = blobs, 2
    listing = resolved(remote_of(http, fake), "hf.co/org/model:Q4_K_M")
    assert (listing.commit, listing.selector) == (COMMIT, "Q4_K_M")
    assert listing.pinned == f"hf://org/model@{COMMIT}:Q4_K_M"
    assert parse(listing.pinned).revision == COMMIT
    assert [(file.path, file.size) for file in listing.files] == [
        (path, len(data)) for path, data in sorted(FILES.items())
    ]
    by_path = {file.path: file for file in listing.files}
    assert by_path[WEIGHTS_PATH].sha256 == Digest.of(WEIGHTS)
    assert by_path[WEIGHTS_PATH].git_sha1 is None
    assert by_path["config.json"].sha256 is None
    assert by_path["config.json"].git_sha1 == hashlib.sha1(b"blob 24\0" + CONFIG).hexdigest()
    assert len(fake.requests) == (1 if blobs else 3)


@pytest.mark.parametrize("revision", ["v1.0", "feature/x", COMMIT])
def test_a_revision_is_pinned_to_its_commit(fake: FakeHub, http: HttpClient, revision: str) -> None:
    assert (
        resolved(remote_of(http, fake), f"hf://org/model@{revision}:Q8_0").pinned
        == f"hf://org/model@{COMMIT}:Q8_0"
    )


def test_a_commit_means_itself(fake: FakeHub, http: HttpClient) -> None:
    fake.override = lambda request: reply(200, json.dumps({"sha": "f" * 40, "siblings": []}).encode())
    with pytest.raises(BadContent, match=f"the commit {'f' * 40}"):
        resolved(remote_of(http, fake), f"hf://org/model@{COMMIT}")


def test_branches_and_tags(fake: FakeHub, http: HttpClient) -> None:
    assert remote_of(http, fake).tags() == ["main", "feature/x", "v1.0"]


def test_a_small_file_is_read_whole_and_checked(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake)
    listing = resolved(remote)
    by_path = {file.path: file for file in listing.files}
    assert remote.read_file(by_path["config.json"], 1 << 20) == CONFIG
    assert remote.read_file(by_path[WEIGHTS_PATH], 1 << 20) == WEIGHTS
    with pytest.raises(SizeMismatch):
        remote.read_file(by_path["config.json"], 10)


@pytest.mark.parametrize("served", [CONFIG.replace(b"llama", b"LLAMA"), b"{}", CONFIG + b"x", CONFIG[:-1]])
def test_a_small_file_with_other_bytes_is_refused(fake: FakeHub, http: HttpClient, served: bytes) -> None:
    fake.served["config.json"] = served
    remote = remote_of(http, fake)
    file = next(file for file in resolved(remote).files if file.path == "config.json")
    with pytest.raises((DigestMismatch, SizeMismatch)):
        remote.read_file(file, 1 << 20)


def test_ranges_come_from_the_cdn_at_one_signed_address(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake, token="hf_good")
    blob = weights_of(resolved(remote))
    fake.requests.clear()
    assert body_of(remote, blob, 0, 1000) == WEIGHTS[:1000]
    assert body_of(remote, blob, 1000, 5000) == WEIGHTS[1000:5000]
    assert body_of(remote, blob, 5000) == WEIGHTS[5000:]
    assert fake.paths() == [f"GET /org/model/resolve/{COMMIT}/sub%20folder/model-Q4_K_M.gguf"]
    assert len(fake.cdn.requests) == 3


def test_the_token_goes_to_the_hub_and_nowhere_else(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake, "org/private", token="hf_good")
    listing = resolved(remote, "hf://org/private")
    remote.read_file(listing.files[0], 1 << 20)
    body_of(remote, weights_of(listing))
    assert {request.headers.get("authorization") for request in fake.requests} == {"Bearer hf_good"}
    assert fake.cdn.requests
    assert not any("hf_good" in request.raw_head.decode() for request in fake.cdn.requests)


def test_an_expired_address_is_asked_for_again(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake)
    blob = weights_of(resolved(remote))
    body_of(remote, blob, 0, 1000)
    fake.signature = "2"
    assert body_of(remote, blob, 1000, 2000) == WEIGHTS[1000:2000]
    statuses = [request.target.rpartition("=")[2] for request in fake.cdn.requests]
    assert statuses == ["1", "1", "2"]


def test_an_address_that_expires_at_once_ends_after_one_more(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake)
    blob = weights_of(resolved(remote))
    fake.override = lambda request: (
        reply(403) if request.path.startswith("/org/") and "Signature" in request.target else None
    )
    fake.requests.clear()
    with pytest.raises(Unauthorized, match="refuses it twice"):
        body_of(remote, blob)
    assert (len(fake.requests), len(fake.cdn.requests)) == (2, 2)


def test_what_changed_is_said(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake)
    blob = weights_of(resolved(remote))
    with remote.open(blob, 0, 1000) as body:
        first = body.validator
    assert first == f'"{hashlib.md5(WEIGHTS).hexdigest()}"'
    fake.cdn_etag[WEIGHTS_PATH] = '"other"'
    with pytest.raises(Changed):
        remote.open(blob, 1000, 2000, first)


def test_a_cdn_without_ranges_begins_at_the_start(fake: FakeHub, http: HttpClient) -> None:
    fake.ranges = False
    remote = remote_of(http, fake)
    with remote.open(weights_of(resolved(remote)), 1000, 2000) as body:
        assert body.start == 0
        assert b"".join(body) == WEIGHTS[:2000]


def test_a_renamed_repository_is_found_and_pinned_by_its_new_name(fake: FakeHub, http: HttpClient) -> None:
    fake.moved["old/name"] = "org/model"
    remote = remote_of(http, fake, "old/name", token="hf_good")
    listing = resolved(remote, "hf://old/name")
    assert listing.pinned == f"hf://org/model@{COMMIT}"
    assert body_of(remote, weights_of(listing)) == WEIGHTS
    assert all(request.headers.get("authorization") == "Bearer hf_good" for request in fake.requests)


# Refusals: the sentence, and what to do.


def refused(http: HttpClient, fake: FakeHub, name: str, token: str | None = None) -> SlmctlError:
    remote = remote_of(http, fake, name, token)
    with pytest.raises(SlmctlError) as caught:
        body_of(remote, weights_of(resolved(remote, f"hf://{name}")))
    assert "hf_" not in caught.value.message + str(caught.value.hint)  # no token in a message
    return caught.value


def test_a_gated_repository_says_where_to_accept(fake: FakeHub, http: HttpClient) -> None:
    error = refused(http, fake, "org/gated")
    assert isinstance(error, Unauthorized)
    assert "is gated" in error.message
    assert error.hint == (
        f"Accept them at {fake.endpoint}/org/gated, make a token at {fake.endpoint}/settings/tokens and set HF_TOKEN."
    )


def test_a_gated_repository_says_that_the_account_was_not_let_in(fake: FakeHub, http: HttpClient) -> None:
    error = refused(http, fake, "org/gated", "hf_good")
    assert isinstance(error, Unauthorized)
    assert "the account of the token in HF_TOKEN has not been let in" in error.message


@pytest.mark.parametrize("name", ["org/private", "org/unknown"])
def test_private_and_unknown_look_alike_without_a_token(fake: FakeHub, http: HttpClient, name: str) -> None:
    error = refused(http, fake, name)
    assert isinstance(error, NotFound)
    assert error.message == f"The hub has no public repository hf.co/{name}."
    assert "HF_TOKEN" in (error.hint or "")


def test_unknown_with_a_token(fake: FakeHub, http: HttpClient) -> None:
    error = refused(http, fake, "org/unknown", "hf_good")
    assert isinstance(error, NotFound)
    assert "that the token in HF_TOKEN may see" in error.message


def test_a_token_that_the_hub_does_not_know(fake: FakeHub, http: HttpClient) -> None:
    error = refused(http, fake, "org/model", "hf_bad")
    assert isinstance(error, Unauthorized)
    assert error.message == "The hub does not know the token in HF_TOKEN."


def test_an_unknown_revision_and_an_unknown_file(fake: FakeHub, http: HttpClient) -> None:
    remote = remote_of(http, fake)
    with pytest.raises(NotFound, match="does not have the revision 'v9'"):
        resolved(remote, "hf://org/model@v9")
    resolved(remote)
    with pytest.raises(NotFound, match=r"does not have the file 'gone.gguf'"):
        body_of(remote, Blob(digest=Digest.of(b""), size=1, location="gone.gguf"))


def test_offline_asks_nobody(fake: FakeHub, http: HttpClient) -> None:
    access = HubAccess(endpoint=fake.endpoint, offline="HF_HUB_OFFLINE is set")
    with pytest.raises(Unreachable, match="because HF_HUB_OFFLINE is set"):
        resolved(HuggingFaceRemote(http, access, "org/model", patience=ONCE))
    assert fake.requests == []


def test_a_busy_hub_is_asked_again_after_the_time_it_names(fake: FakeHub, http: HttpClient) -> None:
    limit = {"RateLimit": '"api";r=0;t=9', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    answers = [reply(429, b"", {"Retry-After": "7"}), reply(429, b"", limit), reply(503)]
    fake.override = lambda request: answers.pop(0) if answers else None
    waited: list[float] = []
    patience = Patience(attempts=4, clock=lambda: 0.0, sleep=waited.append, chance=lambda: 0.0)
    assert resolved(remote_of(http, fake, patience=patience)).commit == COMMIT
    assert waited == [7.0, 9.0, 0.0]


def test_a_captive_portal_is_no_hub(fake: FakeHub, http: HttpClient) -> None:
    fake.override = lambda request: reply(
        200, b"<!doctype html><HTML>log in</html>", {"Content-Type": "text/html"}
    )
    with pytest.raises(Unreachable, match="a web page instead of a document"):
        resolved(remote_of(http, fake))


# serving.md section 6, row 22, and what of 5C concerns names and redirects.


@pytest.mark.parametrize(
    "etag", ["../x", "../../etc/passwd", None, 'W/"abc"', '"a\x7fb"', "", '"' + "x" * 600 + '"']
)
def test_an_etag_is_never_more_than_a_validator(fake: FakeHub, http: HttpClient, etag: str | None) -> None:
    fake.etag["config.json"] = fake.cdn_etag[WEIGHTS_PATH] = etag
    remote = remote_of(http, fake)
    listing = resolved(remote)
    with remote.open(weights_of(listing), 0, 1000) as body:
        assert body.validator is None
        assert b"".join(body) == WEIGHTS[:1000]
    assert remote.read_file(listing.files[1], 100) == CONFIG


@pytest.mark.parametrize("linked", ['W/"' + hashlib.sha256(WEIGHTS).hexdigest() + '"', None, "../x", '"abc"'])
def test_a_linked_etag_that_says_nothing_is_no_harm(
    fake: FakeHub, http: HttpClient, linked: str | None
) -> None:
    fake.linked_etag[WEIGHTS_PATH] = linked
    remote = remote_of(http, fake)
    assert body_of(remote, weights_of(resolved(remote))) == WEIGHTS


@pytest.mark.parametrize("prefix", ["", "W/"])
def test_a_linked_etag_of_another_file_is_refused_before_a_byte(
    fake: FakeHub, http: HttpClient, prefix: str
) -> None:
    fake.linked_etag[WEIGHTS_PATH] = f'{prefix}"{"0" * 64}"'
    remote = remote_of(http, fake)
    with pytest.raises(DigestMismatch, match="than it listed"):
        body_of(remote, weights_of(resolved(remote)))
    assert fake.cdn.requests == []


@pytest.mark.parametrize(
    "path",
    [
        "../x.gguf",
        "/abs.gguf",
        "a/../../x.gguf",
        "a//x.gguf",
        "C:\\x.gguf",
        "a\\..\\b.gguf",
        "x\0.gguf",
        "./x",
        "x" * 300,
        "",
    ],
)
def test_files_with_names_that_lead_elsewhere_are_not_there(
    fake: FakeHub, http: HttpClient, path: str
) -> None:
    fake.listed.append({"rfilename": path, "size": 1, "blobId": "0" * 40})
    listing = resolved(remote_of(http, fake))
    assert [file.path for file in listing.files] == sorted(FILES)


@pytest.mark.parametrize(
    "sibling",
    [
        {"rfilename": "config.json", "size": 1, "blobId": "0" * 40},
        {"rfilename": "x", "size": -1, "blobId": "0" * 40},
        {"rfilename": "x", "size": True, "blobId": "0" * 40},
        {"rfilename": "x", "size": 2**63, "blobId": "0" * 40},
        {"rfilename": "x", "size": 1, "blobId": "../../x"},
        {"rfilename": "x", "size": 1, "blobId": "0" * 40, "lfs": {"sha256": "../../../etc/x", "size": 1}},
        {"rfilename": "x", "size": 1, "blobId": "0" * 40, "lfs": {"sha256": "A" * 64, "size": 1}},
        {"rfilename": "x", "size": 1, "blobId": "0" * 40, "lfs": {"sha256": "md5:" + "0" * 32, "size": 1}},
        {"rfilename": "x", "size": 1, "blobId": "0" * 40, "lfs": []},
        {"rfilename": None, "size": 1, "blobId": "0" * 40},
        {"rfilename": ["x"], "size": 1, "blobId": "0" * 40},
    ],
)
def test_a_listing_that_cannot_be_is_refused(
    fake: FakeHub, http: HttpClient, sibling: dict[str, object]
) -> None:
    fake.listed.append(sibling)
    with pytest.raises(MalformedFile):
        resolved(remote_of(http, fake))


@pytest.mark.parametrize(
    "document",
    [
        b"[" * 200_000,
        b"{",
        b"[]",
        b'{"sha": "main"}',
        b'{"sha": "%s", "sha": "%s"}' % (b"0" * 40, b"0" * 40),
        b"",
    ],
)
def test_a_revision_that_cannot_be_is_refused(fake: FakeHub, http: HttpClient, document: bytes) -> None:
    fake.override = lambda request: reply(200, document)
    with pytest.raises(MalformedFile):
        resolved(remote_of(http, fake))


def test_a_pointer_in_place_of_a_file(fake: FakeHub, http: HttpClient) -> None:
    fake.served[WEIGHTS_PATH] = pointer(WEIGHTS)
    remote = remote_of(http, fake)
    listing = resolved(remote)
    with pytest.raises(SizeMismatch):
        body_of(remote, weights_of(listing))
    with pytest.raises(SizeMismatch):
        body_of(remote, weights_of(listing), 100, 200)
    with pytest.raises(DigestMismatch, match="Git LFS pointer"):
        remote.read_file(next(file for file in listing.files if file.path == WEIGHTS_PATH), 1 << 20)


def test_the_list_of_files_goes_on_at_the_hub_only(fake: FakeHub, http: HttpClient) -> None:
    fake.blobs = False
    with serve(lambda request, wire: wire.send(reply(200, b"[]"))) as stranger:

        def sent_away(request: Request) -> bytes | None:
            link = f'<{stranger.url}/api/models/org/model/tree/{COMMIT}?cursor=1>; rel="next"'
            return reply(200, b"[]", {"Link": link}) if "/tree/" in request.path else None

        fake.override = sent_away
        with pytest.raises(BadContent, match="is not the hub"):
            resolved(remote_of(http, fake, token="hf_good"))
        assert stranger.requests == []


@pytest.mark.parametrize(("new", "asked"), [(False, 3), (True, 6)])
def test_a_list_of_files_without_end_ends(
    fake: FakeHub, http: HttpClient, monkeypatch: pytest.MonkeyPatch, new: bool, asked: int
) -> None:
    monkeypatch.setattr("registry.remotes.huggingface._MAX_PAGES", 5)
    fake.blobs = False

    def another_page(request: Request) -> bytes | None:
        cursor = len(fake.requests) if new else 1
        link = f'<{fake.endpoint}/api/models/org/model/tree/{COMMIT}?cursor={cursor}>; rel="next"'
        return reply(200, b"[]", {"Link": link}) if "/tree/" in request.path else None

    fake.override = another_page
    with pytest.raises(BadContent, match="has no end"):
        resolved(remote_of(http, fake))
    assert len(fake.requests) == asked


def test_the_api_answers_for_itself(fake: FakeHub, http: HttpClient) -> None:
    with serve(lambda request, wire: wire.send(reply(200, b"{}"))) as stranger:
        fake.override = lambda request: reply(307, b"", {"Location": f"{stranger.url}/x"})
        with pytest.raises(Unreachable, match="to another server"):
            resolved(remote_of(http, fake, token="hf_good"))
        assert stranger.requests == []


def test_a_token_does_not_follow_a_file_to_another_server(fake: FakeHub, http: HttpClient) -> None:
    with serve(lambda request, wire: wire.send(reply(404))) as stranger:
        remote = remote_of(http, fake, token="hf_good")
        blob = weights_of(resolved(remote))
        fake.override = lambda request: reply(302, b"", {"Location": f"{stranger.url}/x"})
        with pytest.raises(Unauthorized, match="refuses it twice"):
            body_of(remote, blob)
        assert len(stranger.requests) == 2
        assert not any("hf_good" in request.raw_head.decode() for request in stranger.requests)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://trusted\\@evil/", "//", "http://[::1"]
)
def test_a_redirect_to_no_address_is_refused(fake: FakeHub, http: HttpClient, location: str) -> None:
    remote = remote_of(http, fake)
    blob = weights_of(resolved(remote))
    fake.override = lambda request: reply(302, b"", {"Location": location})
    with pytest.raises(Unreachable):
        body_of(remote, blob)
    assert fake.cdn.requests == []


def test_a_circle_of_redirects_ends(fake: FakeHub, http: HttpClient) -> None:
    fake.override = lambda request: reply(307, b"", {"Location": request.target})
    with pytest.raises(Unreachable):
        resolved(remote_of(http, fake))
    assert len(fake.requests) <= 6


def test_what_fails_in_the_middle_may_be_tried_again(fake: FakeHub) -> None:
    with HttpClient(HttpSettings(stall_timeout=0.5)) as http:
        remote = remote_of(http, fake)
        blob = weights_of(resolved(remote))
        part = {"Content-Range": f"bytes 0-999/{len(WEIGHTS)}"}
        fake.override = lambda request: (
            reply(206, WEIGHTS[:500], part, length=1000) if "Sig" in request.target else None
        )
        with remote.open(blob, 0, 1000) as body, pytest.raises(TryAgain):
            list(body)
