from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest

from tests.servers import Server


@pytest.fixture
def client(served: Server) -> Iterator[anthropic.Anthropic]:
    """Anthropic's own client; what goes wrong goes wrong once."""
    with anthropic.Anthropic(base_url=served.base_url, api_key="none", max_retries=0) as client:
        yield client
