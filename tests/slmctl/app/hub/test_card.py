"""What a model card says, written by anybody."""

from __future__ import annotations

import pytest

from slmctl.app.hub.card import Card, read_card
from slmctl.app.hub.defaults import from_generation_config, from_ollama_files


def card(yaml: str) -> Card:
    return read_card(f"---\n{yaml}\n---\n# text".encode())


@pytest.mark.parametrize(
    ("yaml", "licenses"),
    [
        ("license: apache-2.0", ("apache-2.0",)),
        ("license: [mit, apache-2.0]", ("mit", "apache-2.0")),
        ("license: other\nlicense_name: gemma terms", ("gemma terms",)),
        ("license: other", ()),
        ("license: 7", ("7",)),
        ("license:\n- mit\n- x\ntags:\n- y", ("mit", "x")),
        ("license: mit  # really", ("mit",)),
        ("license: \x1b[31mred", ()),
        ('license: "\\e[31mred"', ()),
        ("license: " + "x" * 1000, ()),
        ("licence: mit", ()),
    ],
)
def test_licenses(yaml: str, licenses: tuple[str, ...]) -> None:
    assert card(yaml).licenses == licenses


def test_library_and_base_model() -> None:
    found = card("library_name: MLX\nbase_model: [org/base]")
    assert (found.library, found.base_model) == ("mlx", "org/base")


def test_lines_may_end_as_they_like() -> None:
    assert read_card(b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\ntext").licenses == ("mit",)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"# a readme",
        b"---\nlicense: mit\n",
        b"text\n---\nlicense: mit\n---\n",
        b"---\n- license\n---\n",
        b"---\n{{{\n---\n",
        b"---\nlicense: !!python/object/apply:os.system ['true']\n---\n",
        b"---\nother: &a mit\nlicense: *a\n---\n",
        b"---\nlicense: \xff\n---\n",
        b"---\n? [a]\n: license\n---\n",
        b"---\ndate: 99999-99-99\nlicense: !!timestamp x\n---\n",
        b"---\n" + b"[" * 50_000 + b"\n---\n",
        b"---\nx: 1_" + b"1" * 20_000 + b"e\n---\n",
    ],
)
def test_what_is_no_card_is_an_empty_one(raw: bytes) -> None:
    assert read_card(raw) == Card()


def test_a_card_that_grows_without_end_is_an_empty_one() -> None:
    lines = ["license: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert read_card(("---\n" + "\n".join(lines) + "\n---\n").encode()) == Card()


def test_results_of_benchmarks_are_passed_over() -> None:
    results = "".join(f"- task: {number}\n  value: [{{ [\n" for number in range(2000))
    assert read_card(f"---\nmodel-index:\n{results}license: mit\n---\n".encode()).licenses == ("mit",)


@pytest.mark.parametrize(
    ("raw", "parameters"),
    [
        (b'{"temperature": 0.7, "top_k": 20.0, "min_p": 0}', {"temperature": 0.7, "top_k": 20, "min_p": 0.0}),
        (b'{"temperature": true, "top_k": "20", "top_p": null}', {}),
        (b'{"temperature": 1e400}', {}),
        (b'{"temperature": NaN, "top_p": 0.5}', {"top_p": 0.5}),
        (b'{"top_k": 1e30}', {}),
        (b"[]", {}),
        (b"{", {}),
        (b"", {}),
    ],
)
def test_generation_config(raw: bytes, parameters: dict[str, object]) -> None:
    assert from_generation_config(raw) == parameters


def test_ollamas_files() -> None:
    spec = from_ollama_files(
        {"params": b'{"stop": "<e>", "num_ctx": 2048, "evil": 1}', "template": b"\xff", "system": b""}
    )
    assert dict(spec.parameters) == {"stop": ("<e>",), "num_ctx": 2048}
    assert (spec.template, spec.system) == (None, None)
