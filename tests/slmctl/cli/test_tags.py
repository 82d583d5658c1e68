"""`slmctl tags`: what places have, and that no weights are fetched to say so."""

from __future__ import annotations

import re

from tests.fakes.hub import serve_hub
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.publishing import Author


def _path(place: str) -> str:
    return place.partition("/")[2]


def test_the_sizes_of_a_family_of_the_library_need_no_network(slmctl: Program) -> None:
    done = slmctl("tags", "qwen3", "--json").json
    assert {"0.6b", "1.7b", "4b", "8b"} <= set(done["tags"])
    assert [each["tag"] for each in done["library"] if each["default"]] == ["8b"]
    assert "hf://" in slmctl("tags", "qwen3").out


def test_a_repository_has_tags_and_a_tag_has_builds(
    slmctl: Program, author: Author, plain_registry: Registry, place: str
) -> None:
    author.create("m", 1, "F32", "F16")
    author.publish("m", f"{_path(place)}:v1")
    author.publish("m", f"{_path(place)}:v2")
    assert sorted(slmctl("tags", place).out.split()) == ["v1", "v2"]
    before = plain_registry.log.read_text()
    builds = slmctl("tags", f"{place}:v1", "--json").json["variants"]
    assert [(each["id"], each["size"] > 100_000, each["facts"]["layers"]) for each in builds] == [
        ("gguf-f32", True, 2),
        ("gguf-f16", True, 2),
    ]
    sizes = {each["size"] for each in builds}
    fetched = [
        int(match) for match in re.findall(r'blobs/sha256:[0-9a-f]+ HTTP/1.1" 200 (\d+)', plain_registry.log.read_text()[len(before):])
    ]  # fmt: skip
    assert fetched
    assert max(fetched) < min(sizes) / 10
    assert slmctl("tags", f"{place}:v3").code == 3


def test_facts_that_no_manifest_has_come_from_the_header_by_a_range(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    author.slmctl.go_online()
    assert author.slmctl("push", "m", f"{place}:d", "--format", "docker").code == 0
    plain = slmctl("tags", f"{place}:d", "--json").json["variants"][0]
    assert plain["facts"] is None
    looked = slmctl("tags", f"{place}:d", "--facts", "--json").json["variants"][0]
    assert (looked["facts"]["layers"], looked["facts"]["hidden"]) == (2, 64)
    assert not slmctl.store.exists()


def test_a_repository_of_the_hub_has_builds(slmctl: Program, author: Author) -> None:
    author.create("m", 1, "F32", "F16")
    weights = {path.name: path.read_bytes() for path in author.files}
    with serve_hub({"org/model": {**weights, "README.md": b"# A model\n"}}) as hub:
        slmctl.environment["HF_ENDPOINT"] = hub.endpoint
        builds = slmctl("tags", "hf.co/org/model", "--json").json["variants"]
        assert sorted(each["id"] for each in builds) == ["gguf-f16", "gguf-f32"]
        assert not [path for path in hub.paths() if ".gguf" in path]
        looked = slmctl("tags", "hf.co/org/model:f16", "--facts", "--json").json["variants"]
        assert [(each["id"], each["facts"]["layers"]) for each in looked] == [("gguf-f16", 2)]
        assert slmctl("tags", "hf.co/org/missing").code == 3


def test_a_place_without_a_list_says_where_one_is(slmctl: Program) -> None:
    slmctl.go_online()
    done = slmctl("tags", "ollama://qwen3")
    assert (done.code, "ollama.com/library/qwen3/tags" in done.err) == (2, True)
