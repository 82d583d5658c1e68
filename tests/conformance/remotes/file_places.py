"""The places of files that the suite is run on. To add one, add a function to FILE_PLACES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pytest

from registry.names import parse
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.huggingface import HuggingFaceRemote
from tests.conformance.remotes.places import Place
from tests.conformance.remotes.samples import Sample, digest_of, some_bytes
from tests.fakes.hub import FakeHub, serve_hub
from tests.registries.fixtures import client_of

FILES = {
    "model-Q8_0.gguf": some_bytes(3 << 20),
    "mmproj-F16.gguf": some_bytes(1000, 2),
    "deep er/config.json": b"{}",
    "README.md": b"# text\n",
}


def _hub(request: pytest.FixtureRequest, change: Callable[[FakeHub], None] = lambda _: None) -> Place:
    stack = ExitStack()
    request.addfinalizer(stack.close)
    fake = stack.enter_context(serve_hub({"org/sample": FILES}))
    change(fake)
    http = stack.enter_context(client_of())
    return Place(
        remote=HuggingFaceRemote(http, HubAccess(endpoint=fake.endpoint), "org/sample"),
        ref=parse("hf.co/org/sample:Q8_0"),
        missing=parse("hf.co/org/sample@none"),
        sample=Sample(root="", documents={}, blobs={digest_of(data): data for data in FILES.values()}),
        tags=["main", "feature/x", "v1.0"],
    )


def _in_pages(fake: FakeHub) -> None:
    fake.blobs, fake.page_size = False, 2


def _from_git(fake: FakeHub) -> None:
    fake.large = ("model-Q8_0.gguf",)


FILE_PLACES: Mapping[str, Callable[[pytest.FixtureRequest], Place]] = {
    "fake hub": _hub,
    "fake hub that lists its files in pages": lambda request: _hub(request, _in_pages),
    "fake hub with hardly any LFS": lambda request: _hub(request, _from_git),
}
"""The fake is one that the real huggingface_hub client downloads from: tests/registry/remotes/test_hub_fake.py."""
