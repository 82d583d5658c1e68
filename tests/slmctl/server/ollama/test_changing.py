"""Ollama's client makes, copies, sends, fetches and removes models."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from tests.servers import Server
from tests.slmctl.server.models import HELLO
from tests.slmctl.server.test_images import RED
from tools.random_model import write_random_model
from tools.random_projector import write_random_projector

ABSENT = "sha256:" + "0" * 64


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def digest_in(client: ollama.Client, name: str) -> str | None:
    return next((model.digest for model in client.list().models if model.model == name), None)


def statuses(client: ollama.Client, path: str, body: dict[str, object]) -> list[dict[str, object]]:
    with client._client.stream("POST", path, json=body) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in answer.iter_lines()]


def test_a_model_is_made_of_another(author: ollama.Client) -> None:
    lines = list(author.create("child", from_=HELLO, system="Be brief.", stream=True))
    said = [line.status or "" for line in lines]
    assert said[-1] == "success"
    assert "writing manifest" in said
    assert any(text.startswith("using existing layer sha256:") for text in said)
    assert any(text.startswith("creating new layer sha256:") for text in said)
    assert author.show("child").modelfile is not None
    assert author.generate("child", "Hi!", options={"num_predict": 2}).done
    assert author.create("child", from_=HELLO, system="Be longer.").status == "success"


def test_a_model_is_made_of_a_file_that_was_uploaded(
    author: ollama.Client, changing: Server, tiny_model: Path
) -> None:
    digest = author.create_blob(tiny_model)
    assert digest == digest_of(tiny_model)
    assert author._client.head(f"/api/blobs/{digest}").status_code == 200
    assert changing.program("gc").code == 0  # no model names it yet, and it stays
    assert author._client.head(f"/api/blobs/{digest}").status_code == 200
    said = [line.status for line in author.create("tiny", files={"tiny.gguf": digest}, stream=True)]
    assert said[0] == "parsing GGUF"
    assert said[-1] == "success"
    files = changing.program("show", "tiny", "--json").json["variants"][0]["files"]
    assert digest in [file["digest"] for file in files]
    assert author.generate("tiny", "a", raw=True, options={"num_predict": 2}).eval_count == 2


def test_a_blob_that_came_is_200_the_second_time_and_another_one_a_400(
    author: ollama.Client, tmp_path: Path
) -> None:
    data = b"not a model, and nobody looks at that before it is made one" * 1000
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    other = f"sha256:{hashlib.sha256(b'other').hexdigest()}"
    assert author._client.head(f"/api/blobs/{digest}").status_code == 404
    refused = author._client.post(f"/api/blobs/{other}", content=data)
    assert refused.status_code == 400
    assert refused.json() == {"error": f'digest mismatch, expected "{other}", got "{digest}"'}
    chunked = author._client.post(f"/api/blobs/{other}", content=iter([data[:100], data[100:]]))
    assert (chunked.status_code, chunked.json()) == (400, refused.json())
    assert author._client.head(f"/api/blobs/{other}").status_code == 404
    assert author._client.post(f"/api/blobs/{digest}", content=iter([data])).status_code == 201
    assert author._client.post(f"/api/blobs/{digest}", content=data).status_code == 200
    for odd in ("sha256:xyz", "md5:0", "sha256:" + "0" * 63, "..%2f..%2fetc"):
        assert author._client.post(f"/api/blobs/{odd}", content=b"").status_code in {400, 404}
    made = author._client.post("/api/create", json={"model": "odd", "files": {"odd.gguf": digest}})
    assert json.loads(made.text.splitlines()[-1]).keys() == {"error"}
    assert digest_in(author, "odd:latest") is None


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 400, "neither 'from' or 'files' was specified"),
        ({"files": {}}, 400, "no files provided to convert"),
        ({"model": "../x", "from": HELLO}, 400, "invalid model name"),
        ({"model": "/etc/passwd", "from": HELLO}, 400, "invalid model name"),
        ({"from": "/etc/passwd"}, 400, "is a file, not a model's name"),
        ({"from": "file:///etc/passwd"}, 400, "is a file, not a model's name"),
        ({"from": "a b"}, 400, "is not a model name"),
        ({"files": {"/etc/passwd": ABSENT}}, 400, "file path must be relative"),
        ({"files": {"../x.gguf": ABSENT}}, 400, "file path must be relative"),
        ({"files": {"x.gguf": "nonsense"}}, 400, "invalid digest format"),
        ({"files": {"x.safetensors": ABSENT}}, 400, "does not convert models yet"),
        ({"from": HELLO, "quantize": "q4_K_M"}, 400, "does not quantize models yet"),
        ({"from": HELLO, "template": "{{ if }}"}, 400, "template error: "),
        ({"from": HELLO, "parameters": {"heat": 1}}, 400, "unknown parameter 'heat'"),
        ({"from": HELLO, "parameters": {"num_ctx": "x"}}, 400, 'option "num_ctx" must be of type integer'),
        ({"from": HELLO, "messages": [{"role": "tool", "content": "x"}]}, 400, "message role must be one of"),
        ({"from": HELLO, "requires": "soon"}, 400, "requires must be a valid semver"),
        ({"from": HELLO, "adapters": {"a": ABSENT, "b": ABSENT}}, 400, "only one adapter"),
        ({"from": HELLO, "model": None}, 400, "model is required"),
    ],
)
def test_what_no_model_can_be_made_of_is_told(
    author: ollama.Client, fields: dict[str, object], status: int, said: str
) -> None:
    answer = author._client.post("/api/create", json={"model": "new", **fields})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]
    assert digest_in(author, "new:latest") is None


def test_a_file_that_nobody_sent_is_told_in_the_stream(author: ollama.Client) -> None:
    lines = statuses(author, "/api/create", {"model": "new", "files": {"x.gguf": ABSENT}})
    assert lines[-1] == {"error": f"there is no blob {ABSENT}: upload it first"}
    with pytest.raises(ollama.ResponseError, match="there is no blob") as caught:
        author.create("new", files={"x.gguf": ABSENT})
    assert caught.value.status_code == 400


def test_a_model_is_copied_and_removed(author: ollama.Client) -> None:
    author.create("original", from_=HELLO, system="1")
    assert author.copy("original", "copy").status == "success"
    assert digest_in(author, "copy:latest") == digest_in(author, "original:latest")
    author.create("another", from_=HELLO, system="2")
    with pytest.raises(ollama.ResponseError, match='"force": true') as caught:
        author.copy("another", "copy")
    assert caught.value.status_code == 409
    forced = author._client.post(
        "/api/copy", json={"source": "another", "destination": "copy", "force": True}
    )
    assert (forced.status_code, forced.content) == (200, b"")
    assert digest_in(author, "copy:latest") == digest_in(author, "another:latest")
    assert author.generate("copy", "a", options={"num_predict": 1}).done
    assert author.delete("copy").status == "success"
    assert digest_in(author, "copy:latest") is None
    assert "copy:latest" not in [row.model for row in author.ps().models]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/api/copy", {"source": "nobody", "destination": "x"}, 404, 'model "nobody" not found'),
        ("POST", "/api/copy", {"source": "", "destination": "x"}, 400, 'source "" is invalid'),
        ("POST", "/api/copy", {"source": HELLO, "destination": "a b"}, 400, 'destination "a b" is invalid'),
        ("POST", "/api/copy", {"source": "/etc/passwd", "destination": "x"}, 400, "is invalid"),
        ("DELETE", "/api/delete", {"model": "nobody"}, 404, "model 'nobody' not found"),
        ("DELETE", "/api/delete", {"name": "nobody"}, 404, "model 'nobody' not found"),
        ("DELETE", "/api/delete", {"model": "a b"}, 400, 'name "a b" is invalid'),
        ("DELETE", "/api/delete", {}, 400, 'name "" is invalid'),
        ("POST", "/api/pull", {"model": "/etc/passwd"}, 400, "invalid model name"),
        ("POST", "/api/pull", {"model": "file:///etc"}, 400, "invalid model name"),
        ("POST", "/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("POST", "/api/push", {"model": "nobody"}, 400, "names no registry"),
        ("POST", "/api/push", {"model": "localhost:1/x/y"}, 404, "model 'localhost:1/x/y' not found"),
    ],
)
def test_what_is_not_here_or_no_name_is_told_in_ollamas_words(
    author: ollama.Client, method: str, path: str, body: dict[str, object], status: int, said: str
) -> None:
    answer = author._client.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]


def test_a_model_goes_to_a_registry_and_comes_back(author: ollama.Client, place: str) -> None:
    name = f"{place}/team/sent:v1"
    author.create("sent", from_=HELLO, system="Sent.")
    author.copy("sent", name)
    digest = digest_in(author, name)
    lines = list(author.push(name, insecure=True, stream=True))
    said = [line.status or "" for line in lines]
    assert (said[0], said[-2:]) == ("retrieving manifest", ["pushing manifest", "success"])
    sizes = {line.digest: line.total for line in lines if line.digest}
    assert sizes
    assert all(f"pushing {str(each).removeprefix('sha256:')[:12]}" in said for each in sizes)
    assert author.push(name, insecure=True).status == "success"
    author.delete(name)
    author.delete("sent")
    lines = list(author.pull(name, insecure=True, stream=True))
    said = [line.status or "" for line in lines]
    assert said[0] == "pulling manifest"
    assert said[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    transfers = [line for line in lines if line.digest]
    assert transfers
    for each in {line.digest for line in transfers}:
        last = [line for line in transfers if line.digest == each][-1]
        assert last.completed == last.total
    assert digest_in(author, name) == digest
    assert author.pull(name, insecure=True).status == "success"
    assert author.generate(name, "Hi!", options={"num_predict": 2}).done


def test_what_no_registry_has_is_a_404_or_a_last_line(author: ollama.Client, place: str) -> None:
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist") as caught:
        author.pull(f"{place}/nobody/nothing", insecure=True)
    assert caught.value.status_code == 404
    lines = statuses(author, "/api/pull", {"name": f"{place}/nobody/nothing", "insecure": True})
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1].keys() == {"error"}


def test_what_comes_with_slmctl_is_pulled_without_asking(client: ollama.Client) -> None:
    assert [line.status for line in client.pull(HELLO, stream=True)][-1] == "success"


def test_a_server_that_is_offline_pulls_nothing_and_says_why(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="offline") as caught:
        client.pull("localhost:1/a/b")
    assert caught.value.status_code >= 400


def test_a_client_that_leaves_stops_its_upload_and_nothing_is_left(
    author: ollama.Client, changing: Server
) -> None:
    data = b"x" * (1 << 20)
    digest = f"sha256:{hashlib.sha256(data * 3).hexdigest()}"
    left = threading.Event()

    def half() -> Iterator[bytes]:
        yield data
        left.set()
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        httpx.post(f"{changing.base_url}/api/blobs/{digest}", content=half(), trust_env=False)
    assert left.is_set()
    assert author._client.head(f"/api/blobs/{digest}").status_code == 404
    whole = author._client.post(f"/api/blobs/{digest}", content=iter([data, data, data]))
    assert whole.status_code == 201


def test_the_asynchronous_client_does_all_of_it_too(changing: Server, place: str, tiny_model: Path) -> None:
    name = f"{place}/team/async:v1"

    async def run() -> list[object]:
        async with ollama.AsyncClient(host=changing.base_url, trust_env=False) as client:
            digest = await client.create_blob(tiny_model)
            made = await client.create("async", files={"tiny.gguf": digest}, system="Async.")
            lines = await client.create("async2", from_="async", stream=True)
            said = [line.status async for line in lines]
            await client.copy("async", name)
            pushed = await client.push(name, insecure=True)
            await client.delete(name)
            pulled = [line.status async for line in await client.pull(name, insecure=True, stream=True)]
            names = [model.model for model in (await client.list()).models]
            shown = (await client.show(name)).modelfile or ""
            await client.generate(name, "a", options={"num_predict": 1})
            loaded = [row.model for row in (await client.ps()).models]
            with pytest.raises(ollama.ResponseError) as caught:
                await client.delete("nobody")
            return [
                made.status, said[-1], pushed.status, pulled[-1], name in names, "SYSTEM Async." in shown,
                name in loaded, caught.value.status_code,
            ]  # fmt: skip

    said = asyncio.run(run())
    assert said == ["success", "success", "success", "success", True, True, True, 404]


def test_a_model_in_parts_is_made_of_all_of_them(
    author: ollama.Client, tiny_shards: list[Path], changing: Server
) -> None:
    files = {path.name: author.create_blob(path) for path in tiny_shards}
    assert author.create("parts", files=files).status == "success"
    (variant,) = changing.program("show", "parts", "--json").json["variants"]
    weights = [file for file in variant["files"] if file["role"] == "weights"]
    assert [file["digest"] for file in weights] == [files[path.name] for path in tiny_shards]
    assert author.generate("parts", "a", raw=True, options={"num_predict": 2}).eval_count == 2
    lacking = dict(list(files.items())[:2])
    with pytest.raises(ollama.ResponseError) as caught:
        author.create("lacking", files=lacking)
    assert caught.value.status_code in {400, 404}


def test_a_projector_makes_a_model_see(author: ollama.Client, tmp_path: Path) -> None:
    model, projector = tmp_path / "model.gguf", tmp_path / "mmproj.gguf"
    write_random_model(model, chat_template="{{ messages[-1].content }} now answer")
    write_random_projector(projector)
    files = {path.name: author.create_blob(path) for path in (model, projector)}
    assert author.create("seeing", files=files).status == "success"
    shown = author.show("seeing")
    assert shown.capabilities == ["completion", "vision"]
    assert author._client.post("/api/show", json={"model": "seeing"}).json()["projector_info"]
    answer = author.generate("seeing", "look", images=[base64.b64decode(RED)], options={"num_predict": 2})
    assert answer.eval_count == 2
