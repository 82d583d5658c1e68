from __future__ import annotations

from slmctl.server.ollama.endpoints import ENDPOINTS

SCOPES = {
    None: {("GET", "/"), ("HEAD", "/")},
    "read": {
        ("GET", "/api/version"),
        ("HEAD", "/api/version"),
        ("GET", "/api/status"),
        ("GET", "/api/tags"),
        ("HEAD", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/show"),
    },
    "infer": {
        ("POST", "/api/generate"),
        ("POST", "/api/chat"),
        ("POST", "/api/embed"),
        ("POST", "/api/embeddings"),
    },
    "manage": {
        ("POST", "/api/create"),
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("HEAD", "/api/blobs/{digest}"),
        ("POST", "/api/blobs/{digest}"),
    },
}


def test_what_changes_something_needs_a_key_that_may() -> None:
    found: dict[str | None, set[tuple[str, str]]] = {}
    for each in ENDPOINTS:
        found.setdefault(each.scope, set()).add((each.method, each.path))
    assert found == SCOPES


def test_every_request_with_a_body_has_a_schema_for_the_document() -> None:
    for each in ENDPOINTS:
        takes_json = each.method in {"POST", "DELETE"} and each.reads_body
        assert (each.request_schema is not None) == takes_json, each.path
