"""Ollama's client makes models of others that are not here: they are pulled first."""

from __future__ import annotations

import ollama
import pytest

from tests.slmctl.server.models import HELLO
from tests.slmctl.server.ollama.test_changing import digest_in, statuses


def test_what_a_model_is_made_of_is_pulled_where_it_is_not_here(author: ollama.Client, place: str) -> None:
    name = f"{place}/team/base:v1"
    author.create("base", from_=HELLO, system="Base.")
    author.copy("base", name)
    author.push(name, insecure=True)
    author.delete(name)
    author.delete("base")
    lines = list(author.create("of-afar", from_=f"http://{name}", system="Of afar.", stream=True))
    said = [line.status or "" for line in lines]
    assert said[0] == "pulling manifest"
    assert said.index("reading model metadata") < said.index("success") == len(said) - 1
    assert any(line.digest and line.completed == line.total for line in lines)
    assert digest_in(author, name)
    assert "SYSTEM Of afar." in (author.show("of-afar").modelfile or "")
    again = [line.status for line in author.create("of-afar", from_=f"http://{name}", stream=True)]
    assert "pulling manifest" not in again


def test_what_nobody_has_makes_no_model(author: ollama.Client, client: ollama.Client, place: str) -> None:
    name = f"http://{place}/nobody/nothing"
    lines = statuses(author, "/api/create", {"model": "new", "from": name})
    assert lines[0] == {"status": "pulling manifest"}
    assert "pull model manifest: file does not exist" in str(lines[-1]["error"])
    with pytest.raises(ollama.ResponseError, match="file does not exist") as caught:
        author.create("new", from_=name)
    assert caught.value.status_code == 404
    assert digest_in(author, "new:latest") is None
    with pytest.raises(ollama.ResponseError, match="offline"):
        client.create("new", from_="nobody")
