from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from slmctl.server.app import TABLES
from slmctl.server.openapi import document, is_public
from slmctl.server.problems import Problem

SERVED = [endpoint for table in TABLES for endpoint in table if is_public(endpoint)]
DOCUMENT: dict[str, Any] = document(SERVED, needs_key=True)


def test_it_is_an_openapi_document() -> None:
    validate(DOCUMENT)
    validate(document(SERVED, needs_key=False, root_path="/models"))


def test_everything_that_is_served_stands_in_it_once() -> None:
    told = [(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods]
    assert len(told) == len(set(told)) == len(SERVED)
    assert {path for _, path in told} == {each.path.replace(":path}", "}") for each in SERVED}
    names = [each["operationId"] for methods in DOCUMENT["paths"].values() for each in methods.values()]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    used: set[str] = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str):
                assert reference.removeprefix("#/components/schemas/") in schemas, reference
                used.add(reference.removeprefix("#/components/schemas/"))
            for child in value.values():
                look(child)
        elif isinstance(value, list):
            for child in value:
                look(child)

    look(DOCUMENT)
    assert set(schemas) == used


def test_only_what_needs_no_key_is_told_to_need_none() -> None:
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            assert bool(operation["security"]) == ("x-slmctl-scope" in operation)
            assert bool(operation["security"]) == ("401" in operation["responses"])
    open_to_all = document(SERVED, needs_key=False)
    paths = open_to_all["paths"]
    assert isinstance(paths, dict)
    assert not any(operation["security"] for methods in paths.values() for operation in methods.values())


@pytest.mark.parametrize("family", ["ollama", "openai", "anthropic"])
def test_errors_are_as_they_are_told_to_be(family: Any) -> None:
    problem = Problem(status=500, kind="api_error", code="failed", message="No.")
    names = {
        "ollama": "OllamaError",
        "openai": "OpenAIError",
        "anthropic": "AnthropicError",
    }
    schema = DOCUMENT["components"]["schemas"][names[family]]
    body = problem.body(family, "id")
    assert set(schema["required"]) <= set(body)
    assert set(body) <= set(schema["properties"])
