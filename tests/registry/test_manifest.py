import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import mediatypes
from registry.digest import Digest
from registry.errors import MalformedFile
from registry.manifest import (
    MAX_MANIFEST_BYTES,
    Descriptor,
    Index,
    Manifest,
    canonical_json,
    modelpack_config,
    modelpack_index,
    modelpack_layer,
    modelpack_manifest,
    param_size,
    parse,
)

WEIGHTS = Digest.of(b"weights")


def example() -> Manifest:
    layer = modelpack_layer(media_type=mediatypes.MODELPACK_WEIGHT, digest=WEIGHTS, size=7, path="model.gguf")
    config = modelpack_config(
        architecture="llama",
        format="gguf",
        quantization="F32",
        parameters=260_032,
        licenses=["mit"],
        diff_ids=[WEIGHTS],
    )
    descriptor = Descriptor(
        media_type=mediatypes.MODELPACK_CONFIG, digest=Digest.of(config), size=len(config)
    )
    return modelpack_manifest(config=descriptor, layers=[layer], annotations={"b": "2", "a": "1"})


def test_a_manifest_has_the_bytes_that_the_format_and_reproducibility_ask_for() -> None:
    manifest = example()
    assert manifest.raw == (
        b'{"annotations":{"a":"1","b":"2"},"artifactType":"application/vnd.cncf.model.manifest.v1+json",'
        b'"config":{"digest":"sha256:' + manifest.config.digest.hex.encode() + b'",'
        b'"mediaType":"application/vnd.cncf.model.config.v1+json","size":'
        + str(manifest.config.size).encode()
        + b"},"
        b'"layers":[{"annotations":{"org.cncf.model.file.mediatype.untested":"false",'
        b'"org.cncf.model.file.metadata+json":"{\\"gid\\":0,\\"mode\\":420,'
        b'\\"mtime\\":\\"1970-01-01T00:00:00Z\\",\\"name\\":\\"model.gguf\\",\\"size\\":7,'
        b'\\"typeflag\\":0,\\"uid\\":0}","org.cncf.model.filepath":"model.gguf"},'
        b'"digest":"sha256:' + WEIGHTS.hex.encode() + b'",'
        b'"mediaType":"application/vnd.cncf.model.weight.v1.raw","size":7}],'
        b'"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    )
    assert manifest.digest == Digest.of(manifest.raw)
    assert parse(manifest.raw) == manifest


def test_an_index_keeps_the_order_of_its_manifests() -> None:
    manifests = [
        Descriptor(
            media_type=mediatypes.OCI_MANIFEST,
            digest=Digest.of(name),
            size=len(name),
            annotations={mediatypes.SLMCTL_VARIANT: name.decode()},
        )
        for name in (b"gguf-q8_0", b"gguf-f16")
    ]
    index = modelpack_index(manifests)
    assert index.raw == (
        b'{"artifactType":"application/vnd.cncf.model.manifest.v1+json","manifests":['
        b'{"annotations":{"dev.slmctl.variant":"gguf-q8_0"},"digest":"sha256:'
        + Digest.of(b"gguf-q8_0").hex.encode()
        + b'","mediaType":"application/vnd.oci.image.manifest.v1+json","size":9},'
        b'{"annotations":{"dev.slmctl.variant":"gguf-f16"},"digest":"sha256:'
        + Digest.of(b"gguf-f16").hex.encode()
        + b'","mediaType":"application/vnd.oci.image.manifest.v1+json","size":8}],'
        b'"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}'
    )
    assert list(index.manifests) == manifests


def test_the_config_has_only_what_modelpack_allows() -> None:
    config = json.loads(
        modelpack_config(
            architecture=None, format="gguf", quantization=None, parameters=None, licenses=[], diff_ids=[WEIGHTS]
        )
    )  # fmt: skip
    assert config == {
        "descriptor": {},
        "config": {"format": "gguf"},
        "modelfs": {"type": "layers", "diffIds": [str(WEIGHTS)]},
    }


def _break(change: Callable[[dict[str, object]], None]) -> bytes:
    value = json.loads(example().raw)
    change(value)
    return json.dumps(value).encode()


BAD_DIGESTS = [
    "../../../../etc/x",
    f"sha256-{WEIGHTS.hex}",
    f"md5:{WEIGHTS.hex}",
    f"sha256:{WEIGHTS.hex}0",
    None,
    3,
]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        _break(lambda value: value.update(config=None)),
        _break(lambda value: value.update(layers={})),
        _break(lambda value: value.update(layers=[None])),
        _break(lambda value: value.update(manifests=[])),
        _break(lambda value: value.update(mediaType=5)),
        _break(lambda value: value.update(annotations=["x"])),
        _break(lambda value: value.update(annotations={"x": 1})),
        _break(lambda value: value["layers"][0].update(size=-1)),  # type: ignore[index]
        _break(lambda value: value["layers"][0].update(size=2**63)),  # type: ignore[index]
        _break(lambda value: value["layers"][0].update(size="7")),  # type: ignore[index]
        _break(lambda value: value["layers"][0].update(size=True)),  # type: ignore[index]
        *[_break(lambda value, bad=bad: value["layers"][0].update(digest=bad)) for bad in BAD_DIGESTS],  # type: ignore[misc]
        *[_break(lambda value, bad=bad: value["config"].update(digest=bad)) for bad in BAD_DIGESTS],  # type: ignore[misc]
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
)
def test_a_malformed_manifest_is_refused_with_a_sentence(raw: bytes) -> None:
    with pytest.raises(MalformedFile) as caught:
        parse(raw)
    assert caught.value.message.endswith(".")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    with pytest.raises(MalformedFile):
        parse(raw)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_raises_nothing_else(position: int, byte: int) -> None:
    raw = bytearray(example().raw)
    raw[position] = byte
    with suppress(MalformedFile):
        parse(bytes(raw))


def test_an_index_is_told_from_a_manifest() -> None:
    manifest = example()
    row = Descriptor(media_type=mediatypes.OCI_MANIFEST, digest=manifest.digest, size=len(manifest.raw))
    index = parse(canonical_json({"schemaVersion": 2, "manifests": [row.to_json()]}))
    assert isinstance(index, Index)
    assert index.manifests == (row,)


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999"), (260_032, "260k"), (1500, "1.5k"), (596_049_920, "596m"), (4_022_468_096, "4b"), (1_720_574_976, "1.7b")],
)  # fmt: skip
def test_parameter_counts_are_short(count: int, text: str) -> None:
    assert param_size(count) == text
