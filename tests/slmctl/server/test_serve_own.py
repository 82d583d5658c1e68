"""The paths of slmctl's own commands, asked by somebody who gets it wrong, or may not."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.servers import Server, serving
from tests.slmctl.cli.program import Program


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("load", {}, "'name'"),
        ("load", {"name": ""}, "name"),
        ("load", {"name": "hello", "keep": 1}, "Unknown parameter: 'keep'."),
        ("load", {"name": "hello", "parameters": {"num_ctz": 1}}, "There is no parameter 'num_ctz'."),
        ("load", {"name": "hello", "parameters": {"num_ctx": 1.5}}, "The parameter num_ctx takes"),
        ("load", {"name": "hello", "parameters": {"num_ctx": ["1"]}}, "num_ctx"),
        ("load", {"name": "hello", "keep_seconds": 1e300}, "'keep_seconds'"),
        ("answer", {"name": "hello", "messages": [{"role": "wizard", "content": ""}]}, "messages[0].role"),
        ("answer", {"name": "hello", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ("answer", {"name": "hello", "prompt": "x", "think": "hard"}, "'think'"),
        ("answer", {"name": "hello", "prompt": "x", "json_schema": {"type": 1}}, "schema"),
        ("stop", {"name": 1}, "'name'"),
    ],
)
def test_what_is_wrong_is_a_400_with_its_field(
    served: Server, path: str, body: dict[str, object], complaint: str
) -> None:
    answer = httpx.post(f"{served.base_url}/slmctl/{path}", json=body, timeout=60)
    assert answer.status_code == 400
    said = answer.json()["error"]
    assert complaint in said["message"]
    assert said["branch"] == "usage"


def test_what_is_not_there(served: Server) -> None:
    answer = httpx.post(f"{served.base_url}/slmctl/answer", json={"name": "nonesuch", "prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["branch"]) == (404, "not_found")
    answer = httpx.post(f"{served.base_url}/slmctl/load", json={"name": "nonesuch"})
    assert (answer.status_code, answer.json()["error"]["branch"]) == (404, "not_found")


def test_keys_and_scopes_count_for_everybody_else(neighbour: Program) -> None:
    secret = neighbour("key", "add", "--scope", "infer", "--json").json["secret"]
    with serving(neighbour) as server, httpx.Client(base_url=server.base_url, timeout=60) as client:
        assert client.get("/slmctl/ps").status_code == 401
        client.headers["authorization"] = f"Bearer {secret}"
        assert client.post("/slmctl/load", json={"name": "hello"}).status_code == 200
        assert client.post("/slmctl/stop", json={}).status_code == 403
        (file,) = Path(neighbour.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/s-*/server.json")
        client.headers["authorization"] = f"Bearer {json.loads(file.read_text())['token']}"
        assert client.post("/slmctl/stop", json={}).json() == {"stopped": ["hello:latest"]}
