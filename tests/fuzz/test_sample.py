from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.fuzz.fuzzing import fuzz
from tests.fuzz.servers import guarded, still_answers
from tests.servers import Server


@pytest.fixture(scope="module")
def guarded_server() -> Iterator[tuple[Server, str]]:
    folder = Path(tempfile.mkdtemp(prefix="slm"))  # short, for socket paths
    try:
        with guarded(folder) as served:
            yield served
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_no_request_that_is_made_up_is_answered_badly(guarded_server: tuple[Server, str]) -> None:
    """`make api-fuzz` does this for minutes."""
    server, secret = guarded_server
    findings = fuzz(server, secret, examples=3, seed=18)
    assert findings.wrong == {}
    assert {status for _, status in findings.answers} >= {200, 400, 404}
    still_answers(server, secret)


def test_whatever_the_document_says_needs_a_key_is_refused_without_one(
    guarded_server: tuple[Server, str],
) -> None:
    server, secret = guarded_server
    headers = {"x-api-key": secret}
    paths = requests.get(f"{server.base_url}/openapi.json", headers=headers, timeout=30).json()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            url = server.base_url + path.replace("{", "").replace("}", "")
            for wrong in ({}, {"Authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
                answer = requests.request(method, url, headers=wrong, json={}, timeout=30)
                needs_key = bool(operation["security"])
                assert (answer.status_code == 401) == needs_key, (method, path)
