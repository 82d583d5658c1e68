from __future__ import annotations

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.servers import Server
from tests.slmctl.server.models import GO_TOOLS, HELLO, RANKER, TINY, TOOLS


def test_the_list_has_all_models_by_their_short_names(client: OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert {HELLO, TINY, TOOLS, GO_TOOLS, RANKER} <= models.keys()
    assert {model.object for model in models.values()} == {"model"}
    assert models[TINY].owned_by == "library"
    assert models[RANKER].owned_by == "my"
    assert all(model.created > 1_700_000_000 for model in models.values())


@pytest.mark.parametrize("name", [TINY, "tiny:latest", RANKER])
def test_one_model(client: OpenAI, name: str) -> None:
    assert client.models.retrieve(name).id == name


@pytest.mark.parametrize("name", ["nobody", "no/body", "tiny:other"])
def test_a_model_that_is_not_here(client: OpenAI, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve(name)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


def test_a_name_that_is_none(client: OpenAI) -> None:
    with pytest.raises(BadRequestError):
        client.models.retrieve("no such name!")


def test_the_name_may_be_written_with_slashes(served: Server) -> None:
    assert httpx.get(f"{served.base_url}/v1/models/{RANKER}").json()["id"] == RANKER


def test_models_are_looked_at_and_nothing_else(served: Server) -> None:
    answer = httpx.post(f"{served.base_url}/v1/models", json={})
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
