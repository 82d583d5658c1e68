from __future__ import annotations

import dataclasses

import pytest

from runtimes.sampling import Sampling, chat_fields, completion_fields

SAME = [
    (Sampling(), {}),
    (Sampling(temperature=0.0), {"temperature": 0.0}),
    (Sampling(top_k=40), {"top_k": 40}),
    (Sampling(top_p=0.9), {"top_p": 0.9}),
    (Sampling(min_p=0.05), {"min_p": 0.05}),
    (Sampling(typical_p=0.7), {"typical_p": 0.7}),
    (Sampling(repeat_penalty=1.1), {"repeat_penalty": 1.1}),
    (Sampling(repeat_last_n=-1), {"repeat_last_n": -1}),
    (Sampling(presence_penalty=1.5), {"presence_penalty": 1.5}),
    (Sampling(frequency_penalty=1.0), {"frequency_penalty": 1.0}),
    (Sampling(seed=42), {"seed": 42}),
    (Sampling(seed=0), {"seed": 0}),
    (Sampling(seed=-1), {"seed": 0xFFFFFFFF}),
    (Sampling(seed=2**32 + 5), {"seed": 5}),
    (Sampling(num_keep=4), {"n_keep": 4}),
    (Sampling(stop=("a", "b")), {"stop": ["a", "b"]}),
    (Sampling(stop=()), {}),
]


@pytest.mark.parametrize(("sampling", "fields"), SAME)
def test_what_both_endpoints_call_the_same(sampling: Sampling, fields: dict[str, object]) -> None:
    assert completion_fields(sampling) == chat_fields(sampling) == fields


@pytest.mark.parametrize(("num_predict", "limit"), [(100, 100), (1, 1), (0, -1), (-1, -1), (-2, -1)])
def test_the_limit(num_predict: int, limit: int) -> None:
    assert completion_fields(Sampling(num_predict=num_predict)) == {"n_predict": limit}
    assert chat_fields(Sampling(num_predict=num_predict)) == {"max_tokens": limit}


def test_every_parameter_is_in_the_table() -> None:
    tried = {
        field.name
        for sampling, _ in SAME
        for field in dataclasses.fields(Sampling)
        if getattr(sampling, field.name) is not None
    }
    assert tried | {"num_predict"} == {field.name for field in dataclasses.fields(Sampling)}
