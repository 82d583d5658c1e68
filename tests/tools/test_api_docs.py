from __future__ import annotations

import re

import pytest

from slmctl.server.call import Endpoint
from tools.api_docs import SERVED, TARGET, filled

PAGE = TARGET.read_text()


def test_the_page_of_apis_says_what_the_tables_say() -> None:
    assert filled(PAGE) == PAGE, "run: python -m tools.api_docs"


@pytest.mark.parametrize("endpoint", SERVED, ids=lambda each: f"{each.method} {each.path}")
def test_every_endpoint_and_every_field_is_told_of(endpoint: Endpoint) -> None:
    assert f"| {endpoint.method} `{endpoint.path}` |" in PAGE
    schema = endpoint.request_schema or {}
    fields = schema.get("properties", {})
    assert isinstance(fields, dict)
    named = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", PAGE))))
    assert set(fields) <= named, set(fields) - named
