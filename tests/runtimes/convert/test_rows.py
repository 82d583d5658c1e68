from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from registry.errors import OperationFailed
from runtimes.convert.rows import Array, Rows, encode, fits, made
from tests.runtimes.convert.folders import brain, from_brain


def whole(rows: Rows, unit: int = 1) -> Array:
    return np.concatenate(list(rows.pieces(unit)))


def test_the_halves_of_each_head_lie_beside_each_other() -> None:
    """Two heads of four rows: 0 and 2 rotate together, 1 and 3 do."""
    rows = made("q", np.arange(8, dtype=np.float32).reshape(8, 1))
    assert whole(rows.interleaved(2)).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_a_vector_is_interleaved_as_the_rows_it_belongs_to() -> None:
    rows = made("q", np.arange(8, dtype=np.float32))
    assert rows.interleaved(1).shape == (8,)
    assert whole(rows.interleaved(1)).ravel().tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_sums_products_and_first_rows() -> None:
    rows = made("n", np.arange(6, dtype=np.float32).reshape(3, 2))
    assert whole(rows.plus(1.0)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert whole(rows.times(2.0)).tolist() == [[0, 2], [4, 6], [8, 10]]
    assert rows.first(2).shape == (2, 2)
    assert whole(rows.first(2)).tolist() == [[0, 1], [2, 3]]
    assert rows.first(3) is rows


@given(arrays.arrays(np.float32, some.integers(1, 40), elements=some.floats(-(2.0**120), 2.0**120, width=32)))
def test_brain_floats_are_the_nearest(values: Array) -> None:
    found = from_brain(encode(values.reshape(1, -1), "F32", Kind.BF16, "x")).ravel()
    with np.errstate(over="ignore"):
        below, above = from_brain(brain(values)), from_brain(brain(values) + np.uint16(1))
    exact = values.astype(np.float64)
    finite = np.isfinite(found) & np.isfinite(above)
    near = np.minimum(np.abs(exact - below), np.abs(exact - above))
    assert np.array_equal(np.abs(exact - found)[finite], near[finite])


def test_ties_go_to_even_and_what_is_no_number_stays_none() -> None:
    bits = np.array([0x3F808000, 0x3F818000, 0x7F800000, 0x7F800001, 0xFFFFFFFF], np.uint32)
    found = encode(bits.view(np.float32).reshape(1, -1), "F32", Kind.BF16, "x").ravel()
    assert found[:3].tolist() == [0x3F80, 0x3F82, 0x7F80]
    assert np.isnan(from_brain(found[3:])).all()


def test_a_number_that_is_too_large_for_f16() -> None:
    with pytest.raises(OperationFailed, match="The tensor 'a' holds a number beyond 65504"):
        encode(np.array([[70000.0]], np.float32), "F32", Kind.F16, "'a'")
    assert encode(np.array([[65504.0, 1e-9]], np.float32), "F32", Kind.F16, "a").tolist() == [[65504.0, 0.0]]


def test_every_brain_float_becomes_the_half_that_its_value_is_nearest_to() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).reshape(1, -1)
    with np.errstate(all="ignore"):
        expected = from_brain(every).astype(np.float16)
    fine = np.isfinite(expected) | ~np.isfinite(from_brain(every))
    found = encode(every[fine].reshape(1, -1), "BF16", Kind.F16, "a")
    assert np.array_equal(found.view(np.uint16), expected[fine].reshape(1, -1).view(np.uint16))
    for number in every[~fine][::100]:
        with pytest.raises(OperationFailed, match="beyond 65504"):
            encode(np.array([[number]], np.uint16), "BF16", Kind.F16, "a")


def test_a_type_that_is_kept_is_not_touched() -> None:
    piece = np.array([[1, 2]], np.uint16)
    assert encode(piece, "BF16", Kind.BF16, "a") is piece


def test_which_rows_can_have_which_type() -> None:
    assert fits(64, Kind.Q8_0)
    assert not fits(172, Kind.Q8_0)
    assert not fits(128, Kind.TQ1_0)
    assert fits(1, Kind.F16)
