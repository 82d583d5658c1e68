"""What stands behind the colon, and what is taken where nothing does."""

from __future__ import annotations

import pytest

from registry.errors import DoesNotFit, NotFound, UsageError
from slmctl.app.hub.choosing import Choice, choose
from slmctl.app.hub.variants import variants_of
from tests.slmctl.app.hub.listings import listing

SEVERAL = (
    "m-Q2_K.gguf",
    "m-Q4_K_M.gguf",
    "m-Q8_0.gguf",
    "BF16/m-BF16-00001-of-00002.gguf",
    "BF16/m-BF16-00002-of-00002.gguf",
    "m-UD-Q4_K_XL.gguf",
    "m-lora.gguf",
)


def chosen(*paths: str, selector: str | None = None) -> Choice:
    return choose(variants_of(listing(*paths)), selector, "org/repo")


@pytest.mark.parametrize(
    ("selector", "identity"),
    [
        (None, "gguf-q4_k_m"),
        ("latest", "gguf-q4_k_m"),
        ("Q8_0", "gguf-q8_0"),
        ("q8_0", "gguf-q8_0"),
        ("GGUF-Q8_0", "gguf-q8_0"),
        ("ud-q4_k_xl", "gguf-ud-q4_k_xl"),
        ("bf16", "gguf-bf16"),
        ("M-Q8_0.GGUF", "gguf-q8_0"),
        ("m-q8_0", "gguf-q8_0"),
        ("BF16/m-BF16-00002-of-00002.gguf", "gguf-bf16"),
        ("m-BF16-00001-of-00002.gguf", "gguf-bf16"),
        ("m-bf16.gguf", "gguf-bf16"),
    ],
)
def test_a_selector_is_a_quantization_or_a_file_in_any_case(selector: str | None, identity: str) -> None:
    choice = chosen(*SEVERAL, selector=selector)
    assert choice.variant.id == identity


@pytest.mark.parametrize(
    ("labels", "best"),
    [
        (("Q8_0", "Q5_K_M", "F16"), "Q5_K_M"),
        (("Q4_0", "Q8_0"), "Q4_0"),
        (("Q2_K", "Q8_0"), "Q8_0"),
        (("F16", "Q3_K_M"), "Q3_K_M"),
        (("IQ4_XS", "Q4_K_S"), "Q4_K_S"),
    ],
)
def test_without_a_wish_and_without_q4_k_m_a_near_one_is_taken_and_said(
    labels: tuple[str, ...], best: str
) -> None:
    choice = chosen(*(f"m-{label}.gguf" for label in labels))
    assert choice.variant.label == best
    assert choice.said == f"hf.co/org/repo has no Q4_K_M, so gguf-{best.lower()} is taken."


def test_nothing_is_said_where_nothing_was_chosen() -> None:
    assert chosen("m-Q8_0.gguf").said is None
    assert chosen("m-Q8_0.gguf", "m-Q4_K_M.gguf").said is None


def test_gguf_goes_before_other_formats() -> None:
    choice = chosen("config.json", "model.safetensors", "m-Q8_0.gguf")
    assert choice.variant.id == "gguf-q8_0"
    assert chosen("config.json", "model.safetensors", "m-Q8_0.gguf", selector="safetensors").variant.parts


def test_an_adapter_is_left_out_unless_it_is_named() -> None:
    left_out = chosen(*SEVERAL)
    assert left_out.variant.of_role("adapter") == ()
    assert left_out.said is not None
    assert "m-lora.gguf" in left_out.said
    named = chosen(*SEVERAL, selector="M-LoRA.gguf")
    assert [(part.role, part.path) for part in named.variant.parts] == [
        ("weights", "model.gguf"),
        ("adapter", "adapter.gguf"),
    ]


def test_what_is_not_there() -> None:
    with pytest.raises(NotFound) as caught:
        chosen(*SEVERAL, selector="Q6_K")
    assert caught.value.hint == "It has BF16, Q2_K, Q4_K_M, Q8_0, UD-Q4_K_XL."


@pytest.mark.parametrize("selector", [None, "Q4_K_M"])
def test_two_of_a_kind_must_be_told_apart(selector: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        chosen("a-Q4_K_M.gguf", "b-Q4_K_M.gguf", selector=selector)
    assert caught.value.hint == "Name one of a-Q4_K_M, b-Q4_K_M."
    assert chosen("a-Q4_K_M.gguf", "b-Q4_K_M.gguf", selector="b-Q4_K_M").variant.name == "b-Q4_K_M"


def test_the_one_nearest_to_the_top_is_meant() -> None:
    assert chosen("a-Q4_K_M.gguf", "old/a-Q4_K_M.gguf", selector="q4_k_m").variant.name == "a-Q4_K_M"
    assert chosen("a-Q4_K_M.gguf", "old/a-Q4_K_M.gguf").variant.name == "a-Q4_K_M"


@pytest.mark.parametrize("selector", [None, "Q8_0"])
def test_a_set_with_a_missing_part_is_refused(selector: str | None) -> None:
    with pytest.raises(DoesNotFit, match="part 2 of its 2 files is not in the repository"):
        chosen("m-Q8_0-00001-of-00002.gguf", selector=selector)
