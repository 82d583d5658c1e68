"""Whatever comes as a layer or as a manifest, nothing but our errors comes out."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from registry.digest import Digest
from registry.errors import BadContent, DoesNotFit
from registry.layers.decompress import Bounds
from registry.layers.layer import LayerReader
from registry.layers.written import Member, WrittenLayer
from registry.manifest import Descriptor, Manifest, parse
from slmctl.app.dialects.reading import describe
from slmctl.app.file_names import checked_path
from tests.fakes import docker_model, kitops, modctl
from tests.fakes.artifact import FakeArtifact, digest_of

FILES = {"a/model.gguf": b"x" * 700, "README.md": b"# read me"}
BOUNDS = Bounds(total_bytes=1 << 20)


def layer_of(data: bytes, packing: str) -> LayerReader:
    described = Descriptor(media_type="", digest=Digest.of(data), size=len(data))
    return LayerReader(described, [data], packing, bounds=BOUNDS)


edits = st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=12)), max_size=4)


@settings(deadline=None, max_examples=300)
@given(packing=st.sampled_from(["tar", "tar+gzip", "tar+zstd"]), changes=edits)
def test_a_changed_tar_gives_files_or_our_errors(packing: str, changes: list[tuple[int, bytes]]) -> None:
    data = bytearray(kitops.compressed(kitops.packed(FILES), packing))
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    layer = layer_of(bytes(data), packing)
    with suppress(BadContent):
        for file in layer.files():
            checked_path(file.path)
            assert sum(map(len, layer.chunks())) == file.size


names = st.from_regex(r"[a-zé]{1,60}(/[a-z]{1,60}){0,3}\.json", fullmatch=True)


@settings(deadline=None, max_examples=60)
@given(files=st.dictionaries(names, st.binary(max_size=1100), min_size=1, max_size=5), data=st.data())
def test_what_is_written_is_read_from_any_offset(files: dict[str, bytes], data: st.DataObject) -> None:
    layer = WrittenLayer(
        [
            Member(path=path, size=len(content), digest=Digest.of(content), open=partial(io.BytesIO, content))
            for path, content in files.items()
        ]
    )
    with layer.open_at(0) as stream:
        whole = stream.read()
    assert len(whole) == layer.size
    assert Digest.of(whole) == layer.digest(lambda _: None)
    offset = data.draw(st.integers(0, layer.size))
    with layer.open_at(offset) as stream:
        assert stream.read(37) == whole[offset : offset + 37]
        assert stream.read() == whole[offset + 37 :]
    read = layer_of(whole, "tar")
    assert {file.path: b"".join(read.chunks()) for file in read.files()} == files


ARTIFACTS = [
    docker_model.gguf_model([b"GGUF"], licenses=[b"MIT"], template=b"x"),
    docker_model.folder_model({"model.safetensors": b"", "config.json": b"{}"}),
    modctl.model_pack({"m.gguf": b"GGUF", "README.md": b""}),
    kitops.model_kit({"m.gguf": b"GGUF"}, docs={"README.md": b""}),
]
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def replaced(document: Any, path: list[int], value: Any) -> Any:
    """The document with `value` somewhere; `path` chooses where."""
    if not path or not isinstance(document, dict | list) or not document:
        return value
    keys = list(document) if isinstance(document, dict) else list(range(len(document)))
    key = keys[path[0] % len(keys)]
    copy = document.copy()
    copy[key] = replaced(copy[key], path[1:], value)
    return copy


@settings(deadline=None, max_examples=300)
@given(
    artifact=st.sampled_from(ARTIFACTS),
    in_config=st.booleans(),
    path=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    value=values,
)
def test_a_changed_manifest_or_config_gives_our_errors_only(
    artifact: FakeArtifact, in_config: bool, path: list[int], value: Any
) -> None:
    manifest = json.loads(artifact.raw)
    blobs = dict(artifact.blobs)
    if in_config:
        config = json.dumps(replaced(json.loads(blobs[artifact.config["digest"]]), path, value)).encode()
        blobs[digest_of(config)] = config
        manifest["config"] |= {"digest": digest_of(config), "size": len(config)}
    else:
        manifest = replaced(manifest, path, value)

    class Blobs:
        def read_blob(self, descriptor: Descriptor, /) -> bytes:
            data = blobs.get(str(descriptor.digest), b"")
            if len(data) != descriptor.size:
                raise BadContent("Another blob.")
            return data

    with suppress(BadContent, DoesNotFit):
        document = parse(json.dumps(manifest).encode())
        if isinstance(document, Manifest):
            for part in describe(Blobs(), document).parts:
                checked_path(part.path)
