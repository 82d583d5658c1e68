"""The value behind slmctl.facts/1: its JSON obeys the schema and comes back as it was; anything else is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import MalformedFile
from registry.formats.facts import Experts, LatentAttention, ModelFacts, Recurrent, TensorRow, Window

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/schemas/facts-1.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
counts = st.integers(0, 2**63 - 1)
maybe = st.none() | counts
flags = st.none() | st.booleans()
per_layer = maybe | st.lists(counts, min_size=1, max_size=5).map(tuple)
patterns = st.none() | st.lists(st.booleans(), min_size=1, max_size=8).map(tuple)
rows = st.builds(
    TensorRow, tensor_class=labels, type=labels, count=counts, columns=maybe, elements=counts, bytes=counts
)
windows = st.builds(Window, size=counts, layers=patterns, head_size_k=maybe, head_size_v=maybe)
recurrents = st.builds(
    Recurrent, layers=patterns, **{name: maybe for name in Recurrent.__slots__ if name != "layers"}
)
experts = st.builds(
    Experts, count=counts, used=maybe, shared=maybe, feed_forward=maybe, shared_feed_forward=maybe
)
facts = st.builds(
    ModelFacts,
    format=labels,
    architecture=labels,
    quantization=st.none() | labels,
    feed_forward=per_layer,
    heads=per_layer,
    kv_heads=per_layer,
    tied_embeddings=flags,
    causal=flags,
    kv_layers=patterns,
    window=st.none() | windows,
    latent=st.none() | st.builds(LatentAttention, rank=maybe, head_size_k=counts, head_size_v=counts),
    recurrent=st.none() | recurrents,
    experts=st.none() | experts,
    tensors=st.lists(rows, max_size=4).map(tuple),
    **dict.fromkeys(
        (
            *(
                "parameters",
                "layers",
                "decoder_layers",
                "nextn_layers",
                "hidden",
                "head_size_k",
                "head_size_v",
            ),
            *("vocabulary", "trained_context", "pooling", "shared_kv_layers"),
        ),
        maybe,
    ),
)


def full() -> dict[str, Any]:
    """A document in which every optional part is there."""
    made = ModelFacts(
        format="gguf",
        architecture="llama",
        kv_heads=(1, 2),
        kv_layers=(True, False),
        window=Window(size=1, layers=(True,), head_size_k=None, head_size_v=None),
        latent=LatentAttention(rank=1, head_size_k=1, head_size_v=1),
        recurrent=Recurrent(layers=None, **{name: 1 for name in Recurrent.__slots__ if name != "layers"}),
        experts=Experts(count=1, used=1, shared=1, feed_forward=1, shared_feed_forward=1),
        tensors=(TensorRow(tensor_class="norm", type="F32", count=1, columns=1, elements=1, bytes=4),),
    )
    return made.to_json()


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@given(facts)
def test_json_round_trips_and_obeys_the_schema(made: ModelFacts) -> None:
    document = json.loads(json.dumps(made.to_json()))
    VALIDATOR.validate(document)
    assert ModelFacts.from_json(document) == made


BAD_VALUES = ["1", "", "\x1b", -1, 1.5, True, [], [None], ["a"], [-1], {}, [{}], 2**63, float("nan")]


def _places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += _places(value, (*path, key))
    return found


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize("path", _places(full()), ids=str)
def test_from_json_refuses_exactly_what_the_schema_refuses(path: tuple[Any, ...]) -> None:
    for bad in BAD_VALUES:
        document = copy.deepcopy(full())
        _at(document, path[:-1])[path[-1]] = bad
        if not VALIDATOR.is_valid(document):
            with pytest.raises(MalformedFile):
                ModelFacts.from_json(document)
        else:
            ModelFacts.from_json(document)


@pytest.mark.parametrize("path", [place for place in _places(full()) if isinstance(place[-1], str)], ids=str)
def test_a_missing_field_is_refused(path: tuple[Any, ...]) -> None:
    document = copy.deepcopy(full())
    del _at(document, path[:-1])[path[-1]]
    with pytest.raises(MalformedFile, match=path[-1]):
        ModelFacts.from_json(document)


@pytest.mark.parametrize("path", [(), ("window",), ("latent",), ("recurrent",), ("experts",), ("tensors", 0)])
def test_an_unknown_field_is_refused(path: tuple[Any, ...]) -> None:
    document = copy.deepcopy(full())
    _at(document, path)["later"] = None
    with pytest.raises(MalformedFile, match="later"):
        ModelFacts.from_json(document)


@pytest.mark.parametrize("document", [None, 1, "x", [], {}, {"schema": "slmctl.facts/2"}])
def test_no_facts_at_all(document: object) -> None:
    with pytest.raises(MalformedFile):
        ModelFacts.from_json(document)


def test_another_schema_is_refused() -> None:
    with pytest.raises(MalformedFile, match=r"slmctl\.facts/1"):
        ModelFacts.from_json(full() | {"schema": "slmctl.facts/2"})
