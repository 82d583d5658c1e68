from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.servers import Server


@pytest.fixture(scope="session")
def client(served: Server) -> Iterator[OpenAI]:
    """OpenAI's own client, which tries nothing twice."""
    with OpenAI(base_url=f"{served.base_url}/v1", api_key="nobody asks", max_retries=0, timeout=60) as client:
        yield client
