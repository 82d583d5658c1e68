"""What somebody else has published for the load: models that overlap, in a registry that records every request."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.registry import FakeRegistry
from tests.slmctl.cli.program import Program

STAYING: Mapping[str, tuple[str, ...]] = {"one": ("a", "b"), "two": ("b", "c")}
"""Models that all processes pull and nobody removes, and the weights that they are made of."""

CHANGING: Mapping[str, tuple[str, ...]] = {"three": ("d", "e"), "four": ("e", "f"), "five": ("a", "f")}
"""Models that are pulled and removed all the time. One of them shares weights with one that stays."""

ONCE = ("b", "c")
"""The weights that only models have which stay: nothing frees them, so nobody may fetch them twice."""

_ASKED = re.compile(r"/v2/(t/[a-z]+)/blobs/(sha256:[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


def publish(registry: FakeRegistry, author: Program, weights: Mapping[str, Path]) -> dict[str, str]:
    """Push all models; gives the digest of each."""
    author.go_online()
    host = registry.server.url.removeprefix("http://")
    digests = {}
    for name, parts in {**STAYING, **CHANGING}.items():
        modelfile = author.home.parent / f"Modelfile-{name}"
        modelfile.write_text("\n".join(f"FROM {weights[part]}" for part in parts))
        for line in (("create", name, "-f", str(modelfile)), ("push", name, f"{host}/t/{name}")):
            done = author(*line)
            assert done.code == 0, done.err
        digests[name] = author("show", name, "--json").json["digest"]
    return digests


def bytes_served(registry: FakeRegistry) -> Counter[str]:
    """How much of each blob was asked for, by digest."""
    served: Counter[str] = Counter()
    for request in registry.requests:
        match = _ASKED.fullmatch(request.path)
        if match is None or request.method != "GET":
            continue
        size = len(registry.blobs[match[1], match[2]])
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        served[match[2]] += min(int(asked[2]) + 1, size) - int(asked[1]) if asked else size
    return served
