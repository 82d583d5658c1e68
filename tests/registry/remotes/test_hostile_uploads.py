"""Registries that are awkward or hostile about what is pushed: serving.md section 6 rows 16 and 17, section 5C on
upload locations."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

import registry.remotes.upload as upload_module
from registry.digest import Digest
from registry.errors import DigestMismatch, OperationFailed, SlmctlError, Unauthorized, Unreachable
from registry.remotes.base import Limits, TryAgain
from registry.remotes.credentials import Credential
from registry.remotes.http import HttpClient
from registry.remotes.limits import chunk_bytes_of, limits_of
from registry.remotes.oci import OciRemote
from tests.fakes.registry import FakeRegistry, Trick, error, fake_registry
from tests.fakes.token_realm import Realm, basic_guard
from tests.fakes.wire import Request, reply
from tests.registry.remotes.made import MANIFEST, RAW
from tests.registry.remotes.rigs import PATH, asked, blob_of, client_in, name_at, remote_at, secrets_in

CHUNK = 64 << 10
DATA = bytes(range(256)) * 1024  # four chunks
LOGIN = Credential(username="ada", password="canary-password")
SECRET = str(LOGIN.basic).removeprefix("Basic ")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 64 KiB, so that few bytes make several."""
    monkeypatch.setattr(upload_module, "chunk_bytes_of", lambda _: CHUNK)
    monkeypatch.setattr(upload_module, "MIN_CHUNK_BYTES", CHUNK // 8)
    monkeypatch.setattr(upload_module, "PIECE_BYTES", CHUNK // 4)


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with client_in() as client:
        yield client


def upload(remote: OciRemote, data: bytes = DATA) -> list[int]:
    """Send a blob; what `progress` was told."""
    told: list[int] = []
    remote.upload(blob_of(data), lambda at: io.BytesIO(data[at:]), told.append)
    assert sum(told) == len(data)
    return told


def has(fake: FakeRegistry, data: bytes = DATA) -> bool:
    return fake.blobs.get((PATH, str(Digest.of(data)))) == data


def spans(fake: FakeRegistry) -> list[str]:
    """The Content-Range of each chunk that was sent."""
    return [each.headers["content-range"] for each in fake.requests if each.method == "PATCH"]


def sent(fake: FakeRegistry) -> int:
    """Bytes of blobs that came."""
    return sum(len(each.body) for each in fake.requests if each.method in {"PATCH", "PUT"})


def nth(method: str, number: int, answer: bytes, *, times: int = 1) -> Trick:
    """The trick that answers some requests of a method, the first being 1, without the registry seeing them."""
    seen = [0]

    def trick(request: Request) -> bytes | None:
        if request.method != method:
            return None
        seen[0] += 1
        return answer if number <= seen[0] < number + times else None

    return trick


def test_chunks_in_order_and_nothing_twice(http: HttpClient) -> None:
    with fake_registry() as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert spans(fake) == ["0-65535", "65536-131071", "131072-196607", "196608-262143"]
        assert sent(fake) == len(DATA)
        assert [each.method for each in fake.requests] == ["POST", *["PATCH"] * 4, "PUT"]


def test_one_connection_does_for_everything(http: HttpClient) -> None:
    realm = Realm()
    with fake_registry(realm.serve) as fake:
        fake.tricks.append(realm.guard(lambda: f"{fake.server.url}/token"))
        remote = remote_at(fake, http)
        assert not remote.has(blob_of(DATA))
        upload(remote)
        assert remote.has(blob_of(DATA))
        remote.put_manifest(RAW, MANIFEST, "v1")
        remote.resolve(name_at(fake))
        assert remote.tags() == ["v1"]
        assert {request.connection for request in fake.requests} == {0}


def test_a_small_blob_goes_in_one_request(http: HttpClient) -> None:
    with fake_registry() as fake:
        upload(remote_at(fake, http), b"small")
        assert [each.method for each in fake.requests] == ["POST", "PUT"]
        assert has(fake, b"small")


@pytest.mark.parametrize(
    "answer", [b"", error(503, "UNAVAILABLE"), error(500, "UNKNOWN"), error(429, "TOOMANYREQUESTS")]
)
@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_chunk_that_fails_is_sent_again_and_no_other(http: HttpClient, answer: bytes, number: int) -> None:
    with fake_registry(nth("PATCH", number, answer)) as fake:
        told = upload(remote_at(fake, http))
        assert has(fake)
        assert sent(fake) == len(DATA) + CHUNK
        assert min(told) == -CHUNK
        assert "GET" in [each.method for each in fake.requests]


def test_a_chunk_that_came_although_its_answer_did_not_is_not_sent_again(http: HttpClient) -> None:
    def swallow(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method != "PATCH":
            return None
        seen.append(1)
        if len(seen) != 2:
            return None
        fake.answer(request)
        return b""

    with fake_registry(swallow) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert sent(fake) == len(DATA)


def test_a_chunk_of_which_half_came_goes_on_from_there(http: HttpClient) -> None:
    def half(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method != "PATCH":
            return None
        seen.append(1)
        if len(seen) != 2:
            return None
        next(iter(fake.uploads.values())).extend(request.body[: CHUNK // 2])
        return b""

    with fake_registry(half) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert spans(fake)[2].startswith(f"{CHUNK + CHUNK // 2}-")
        assert sent(fake) == len(DATA) + CHUNK // 2


def test_416_goes_on_from_where_the_registry_is(http: HttpClient) -> None:
    """The registry has lost the second chunk, though it took it."""

    def forget(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method == "PATCH":
            seen.append(1)
            if len(seen) == 3:
                held = next(iter(fake.uploads.values()))
                del held[CHUNK:]
        return None

    with fake_registry(forget) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert spans(fake)[2:4] == ["131072-196607", "65536-131071"]


@pytest.mark.parametrize("status", [413, 416])
def test_a_chunk_that_is_too_large_is_sent_in_smaller_ones(http: HttpClient, status: int) -> None:
    def limit(request: Request) -> bytes | None:
        return error(status, "TOO_LARGE") if len(request.body) > CHUNK // 4 else None

    with fake_registry(limit) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert spans(fake)[1] == f"0-{CHUNK // 4 - 1}"


@pytest.mark.parametrize("status", [413, 416])
def test_a_registry_that_takes_no_chunk_at_all_is_told_of(http: HttpClient, status: int) -> None:
    with fake_registry(nth("PATCH", 1, error(status, "TOO_LARGE", "no"), times=1000)) as fake:
        with pytest.raises(OperationFailed, match="does not take the blob"):
            remote_at(fake, http).upload(blob_of(DATA), lambda at: io.BytesIO(DATA[at:]), lambda _: None)
        assert len(fake.requests) < 20


def test_a_range_that_says_less_is_believed(http: HttpClient) -> None:
    """The registry answers 202 to the second chunk, and has only half of it."""

    def short(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method != "PATCH":
            return None
        seen.append(1)
        if len(seen) != 2:
            return None
        key, held = next(iter(fake.uploads.items()))
        held.extend(request.body[: CHUNK // 2])
        return reply(202, b"", {"Range": f"0-{len(held) - 1}", "Location": f"/v2/{PATH}/blobs/uploads/{key}"})

    with fake_registry(short) as fake:
        told = upload(remote_at(fake, http))
        assert has(fake)
        assert min(told) == -(CHUNK // 2)


def test_a_range_that_says_more_is_refused(http: HttpClient) -> None:
    more = reply(202, b"", {"Range": "0-9999999", "Location": "/v2/x"})
    with (
        fake_registry(nth("PATCH", 1, more)) as fake,
        pytest.raises(OperationFailed, match="was sent 65536"),
    ):
        upload(remote_at(fake, http))


def test_a_registry_that_never_has_more_is_no_loop(http: HttpClient) -> None:
    with fake_registry() as fake:
        location = f"/v2/{PATH}/blobs/uploads/upload-0"
        fake.tricks.append(
            nth("PATCH", 1, reply(202, b"", {"Range": "0-0", "Location": location}), times=1000)
        )
        with pytest.raises(OperationFailed, match="no more of it than before"):
            upload(remote_at(fake, http))
        assert len(spans(fake)) <= 5
        assert not has(fake)


def test_202_for_ever_at_the_end_is_no_loop(http: HttpClient) -> None:
    with fake_registry() as fake:
        location = f"/v2/{PATH}/blobs/uploads/upload-0"
        fake.tricks.append(nth("PUT", 1, reply(202, b"", {"Location": location}), times=1000))
        for data in (DATA, b"small"):
            with pytest.raises(OperationFailed):
                upload(remote_at(fake, http), data)
        assert len([each for each in fake.requests if each.method == "PUT"]) <= 12


def test_a_location_that_changes_with_each_answer_is_followed(http: HttpClient) -> None:
    numbers = iter(range(100))
    real: dict[str, str] = {}

    def renamed(request: Request) -> bytes | None:
        target = real.get(request.target.replace("&", "?", 1).split("?digest")[0], request.target)
        query = request.target.rpartition("digest=")[2] if "digest=" in request.target else ""
        target = f"{target}?digest={query}" if query and "digest" not in target else target
        answer = fake.answer(
            Request(
                method=request.method,
                target=target,
                headers=request.headers,
                body=request.body,
                raw_head=request.raw_head,
                connection=request.connection,
            )
        )
        for line in answer.split(b"\r\n"):
            if line.startswith(b"Location: ") and b"/uploads/" in line:
                name = f"/elsewhere/{next(numbers)}?_state=abc"
                real[name] = line.partition(b": ")[2].decode()
                return answer.replace(line, f"Location: {name}".encode())
        return answer

    with fake_registry(renamed) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        patched = [each.target for each in fake.requests if each.method == "PATCH"]
        assert len(set(patched)) == 4
        closing = next(each.target for each in fake.requests if each.method == "PUT")
        assert closing.startswith("/elsewhere/4?_state=abc&digest=")


def test_an_absolute_location_elsewhere_gets_bytes_but_no_password(http: HttpClient) -> None:
    with fake_registry() as other, fake_registry(basic_guard("ada", "canary-password")) as fake:
        other.uploads["upload-9"] = bytearray()
        location = f"{other.server.url}/v2/{PATH}/blobs/uploads/upload-9"
        fake.tricks.append(nth("POST", 1, reply(202, b"", {"Location": location})))
        upload(remote_at(fake, http, credential=LOGIN))
        assert has(other)
        assert secrets_in(other.requests, SECRET, "canary") == []
        assert len(secrets_in(fake.requests, SECRET)) == 1


def test_a_redirect_of_an_upload_gets_bytes_but_no_password(http: HttpClient) -> None:
    with fake_registry() as other, fake_registry(basic_guard("ada", "canary-password")) as fake:

        def onward(request: Request) -> bytes | None:
            if request.method not in {"PATCH", "PUT"}:
                return None
            other.uploads.setdefault("upload-0", bytearray())
            return reply(307, b"", {"Location": f"{other.server.url}{request.target}"})

        fake.tricks.append(onward)
        upload(remote_at(fake, http, credential=LOGIN), b"small")
        assert has(other, b"small")
        assert secrets_in(other.requests, SECRET, "canary") == []


def test_a_redirect_of_an_upload_in_a_circle_ends(http: HttpClient) -> None:
    with fake_registry(nth("PUT", 1, reply(307, b"", {"Location": "/round"}), times=1000)) as fake:
        with pytest.raises(Unreachable, match="without an end"):
            upload(remote_at(fake, http), b"small")
        assert len(fake.requests) < 10


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://ada@127.0.0.1/x", "http://127.0.0.1\\@evil.example/", "http:///x",
     "http://169.254.169.254/latest", "http://2130706433/x", "http://evil.example/x", None],
)  # fmt: skip
def test_a_hostile_location_gets_nothing(http: HttpClient, location: str | None) -> None:
    headers = {} if location is None else {"Location": location}
    with fake_registry(basic_guard("ada", "canary-password")) as fake:
        fake.tricks.append(nth("POST", 1, reply(202, b"", headers), times=100))
        with pytest.raises(SlmctlError):
            upload(remote_at(fake, http, credential=LOGIN), b"small")
        assert [each.method for each in fake.requests if each.body] == []


def test_a_public_registry_sends_no_upload_to_this_machine() -> None:
    with (
        fake_registry(host="127.0.0.2", shown_host="registry.example") as fake,
        fake_registry() as inside,
    ):
        location = f"{inside.server.url}/v2/{PATH}/blobs/uploads/upload-0"
        fake.tricks.append(nth("POST", 1, reply(202, b"", {"Location": location})))
        places = frozenset({fake.server.place, inside.server.place})
        with (
            client_in(
                names={"registry.example": "127.0.0.2"}, public=frozenset({"127.0.0.2"}), plain_http=places
            ) as http,
            pytest.raises(Unreachable),
        ):
            upload(remote_at(fake, http), b"small")
        assert inside.requests == []


def test_a_registry_that_takes_no_less_at_once_gets_as_much(http: HttpClient) -> None:
    with fake_registry() as fake:
        begun = reply(
            202,
            b"",
            {"Location": f"/v2/{PATH}/blobs/uploads/upload-7", "OCI-Chunk-Min-Length": str(3 * CHUNK)},
        )
        fake.uploads["upload-7"] = bytearray()
        fake.tricks.append(nth("POST", 1, begun))
        upload(remote_at(fake, http))
        assert has(fake)
        assert spans(fake) == ["0-196607", "196608-262143"]


def test_a_registry_that_wants_to_be_left_alone_for_a_year_is(http: HttpClient) -> None:
    busy = reply(429, b"", {"Retry-After": str(365 * 86400)})
    with fake_registry(nth("PATCH", 1, busy, times=9)) as fake:
        with pytest.raises(Unreachable, match="left alone for 365 days"):
            upload(remote_at(fake, http))
        assert len(spans(fake)) == 1
        assert fake.requests[-1].method == "DELETE"


def test_what_is_refused_in_the_middle_is_cancelled(http: HttpClient) -> None:
    with fake_registry(nth("PATCH", 2, error(403, "DENIED"), times=9)) as fake:
        with pytest.raises(Unauthorized):
            upload(remote_at(fake, http))
        assert fake.requests[-1].method == "DELETE"
        assert fake.uploads == {}


@pytest.mark.parametrize("status", [405, 501])
def test_a_registry_that_knows_no_chunks_gets_the_whole(http: HttpClient, status: int) -> None:
    with fake_registry(nth("PATCH", 1, error(status, "UNSUPPORTED"), times=9)) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert [each.method for each in fake.requests] == ["POST", "PATCH", "PUT"]


def test_a_forgotten_session_is_begun_again(http: HttpClient) -> None:
    def forget(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method == "PATCH":
            seen.append(1)
            if len(seen) == 3:
                fake.uploads.clear()
        return None

    with fake_registry(forget) as fake:
        upload(remote_at(fake, http))
        assert has(fake)
        assert [each.method for each in fake.requests].count("POST") == 2


def test_a_registry_that_fails_for_ever_is_given_up_and_told_so(http: HttpClient) -> None:
    with fake_registry(nth("PATCH", 1, error(503, "UNAVAILABLE"), times=1000)) as fake:
        with pytest.raises(TryAgain):
            upload(remote_at(fake, http))
        assert len(spans(fake)) == 3  # as often as patience has it
        assert fake.requests[-1].method == "DELETE"


def test_a_session_that_cannot_be_deleted_is_no_harm(http: HttpClient) -> None:
    with fake_registry(
        nth("PATCH", 1, error(503, "X"), times=1000), nth("DELETE", 1, error(405, "UNSUPPORTED"))
    ) as fake:
        with pytest.raises(TryAgain):
            upload(remote_at(fake, http))
        assert fake.requests[-1].method == "DELETE"


def test_the_last_answer_that_does_not_come_is_no_harm(http: HttpClient) -> None:
    """The blob is there; the answer to the last request was lost."""

    def lose(request: Request) -> bytes | None:
        if request.method != "PUT" or has(fake):
            return None
        fake.answer(request)
        return b""

    for data in (DATA, b"small"):
        with fake_registry(lose) as fake:
            upload(remote_at(fake, http), data)
            assert fake.blobs[PATH, str(Digest.of(data))] == data


def test_a_token_that_ends_under_way_is_renewed_and_the_chunk_sent_again(http: HttpClient) -> None:
    realm = Realm()

    def expire(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method == "PATCH":
            seen.append(1)
            if len(seen) == 3:
                realm.valid.clear()
        return None

    with fake_registry(expire, realm.serve) as fake:
        fake.tricks.append(realm.guard(lambda: f"{fake.server.url}/token"))
        upload(remote_at(fake, http))
        assert has(fake)
        assert len(realm.asked) == 2
        assert sent(fake) == len(DATA) + CHUNK


def test_bytes_that_were_changed_on_the_way_are_told_of(http: HttpClient) -> None:
    with (
        fake_registry(
            nth("PUT", 1, error(400, "DIGEST_INVALID", "provided digest did not match"), times=9)
        ) as fake,
        pytest.raises(DigestMismatch, match="DIGEST_INVALID"),
    ):
        upload(remote_at(fake, http))


def test_a_file_that_became_shorter_is_told_of(http: HttpClient) -> None:
    with fake_registry() as fake, pytest.raises(OperationFailed, match="shorter than it should be"):
        remote_at(fake, http).upload(blob_of(DATA), lambda at: io.BytesIO(DATA[at:-5]), lambda _: None)


# --- row 17: mounts, manifests


def test_a_mount_that_becomes_an_upload_uses_its_session(http: HttpClient) -> None:
    with fake_registry() as fake:
        remote = remote_at(fake, http)
        assert not remote.mount(blob_of(DATA), "other/place")
        upload(remote)
        assert has(fake)
        assert [each.method for each in fake.requests].count("POST") == 1
        assert "mount=sha256%3A" in fake.requests[0].target
        assert "from=other%2Fplace" in fake.requests[0].target


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_mount_that_is_refused_is_an_upload(http: HttpClient, status: int) -> None:
    with fake_registry(nth("POST", 1, error(status, "UNSUPPORTED"))) as fake:
        remote = remote_at(fake, http)
        assert not remote.mount(blob_of(DATA), "other/place")
        upload(remote)
        assert has(fake)


def test_a_mount_from_where_one_may_not_read_is_an_upload(http: HttpClient) -> None:
    def closed(request: Request) -> bytes | None:
        if "from=" in request.target:
            return reply(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
        return None

    with fake_registry(closed) as fake:
        remote = remote_at(fake, http, credential=LOGIN)
        assert not remote.mount(blob_of(DATA), "other/place")
        upload(remote)
        assert has(fake)


def test_a_manifest_that_is_too_large_says_so(http: HttpClient) -> None:
    with fake_registry(nth("PUT", 1, error(413, "SIZE_INVALID"))) as fake:
        with pytest.raises(OperationFailed, match=f"does not take a manifest of {len(RAW)} bytes"):
            remote_at(fake, http).put_manifest(RAW, MANIFEST, "v1")
        assert len(fake.requests) == 1


def test_a_known_limit_is_looked_at_before_anything_is_sent(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.remotes.oci.limits_of", lambda _: Limits(manifest_bytes=len(RAW) - 1))
    with fake_registry() as fake:
        with pytest.raises(OperationFailed, match=f"takes {len(RAW) - 1} at most"):
            remote_at(fake, http).put_manifest(RAW, MANIFEST, "v1")
        assert fake.requests == []


def test_a_manifest_put_again_after_a_lost_answer_is_no_harm(http: HttpClient) -> None:
    def lose(request: Request, seen: list[int] = []) -> bytes | None:  # noqa: B006 - it counts
        if request.method != "PUT" or seen:
            return None
        seen.append(1)
        fake.answer(request)
        return b""

    with fake_registry(lose) as fake:
        assert remote_at(fake, http).put_manifest(RAW, MANIFEST, "v1") == Digest.of(RAW)
        assert fake.manifests[PATH, "v1"] == (RAW, MANIFEST)
        assert asked(fake.requests) == [f"PUT /v2/{PATH}/manifests/v1"] * 2


def test_a_registry_that_rewrites_a_manifest_is_told_of(http: HttpClient) -> None:
    other = reply(201, b"", {"Docker-Content-Digest": f"sha256:{'0' * 64}"})
    with fake_registry(nth("PUT", 1, other)) as fake, pytest.raises(DigestMismatch):
        remote_at(fake, http).put_manifest(RAW, MANIFEST, "v1")


def test_a_tag_that_somebody_else_moves_at_once_is_no_harm(http: HttpClient) -> None:
    """Who is last has the tag; what was pushed is there under its digest."""
    with fake_registry() as fake:
        remote = remote_at(fake, http)
        digest = remote.put_manifest(RAW, MANIFEST, "v1")
        fake.put(PATH, b'{"schemaVersion": 2}', MANIFEST, "v1")
        assert (PATH, str(digest)) in fake.manifests
        assert remote.put_manifest(RAW, MANIFEST, "v1") == digest
        assert fake.manifests[PATH, "v1"][0] == RAW


def test_a_manifest_under_another_digest_is_refused_before_it_is_sent(http: HttpClient) -> None:
    with fake_registry() as fake:
        with pytest.raises(DigestMismatch):
            remote_at(fake, http).put_manifest(RAW, MANIFEST, f"sha256:{'0' * 64}")
        assert fake.requests == []


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(403, "DENIED", "no push for you"), Unauthorized, "no push for you"),
        (error(400, "MANIFEST_INVALID", "bad"), OperationFailed, "MANIFEST_INVALID"),
        (error(404, "MANIFEST_BLOB_UNKNOWN"), SlmctlError, "MANIFEST_BLOB_UNKNOWN"),
        (error(405, "UNSUPPORTED"), OperationFailed, "405"),
    ],
)
def test_a_refusal_has_the_registrys_own_words(
    http: HttpClient, answer: bytes, kind: type[SlmctlError], words: str
) -> None:
    with fake_registry(nth("PUT", 1, answer)) as fake, pytest.raises(kind) as caught:
        remote_at(fake, http).put_manifest(RAW, MANIFEST, "v1")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("host", "layer", "manifest", "chunk"),
    [
        ("ghcr.io", 10_000_000_000, None, 4 << 20),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", 52_000 << 20, None, 32 << 20),
        ("public.ecr.aws", 10_000 << 20, None, 32 << 20),
        ("mine.azurecr.io", 200 << 30, 4 << 20, 32 << 20),
        ("localhost:5000", None, None, 32 << 20),
        ("notghcr.io", None, None, 32 << 20),
        ("azurecr.io.evil.example", None, None, 32 << 20),
    ],
)
def test_what_known_registries_take(host: str, layer: int | None, manifest: int | None, chunk: int) -> None:
    assert limits_of(host) == Limits(layer_bytes=layer, manifest_bytes=manifest)
    assert chunk_bytes_of(host) == chunk
