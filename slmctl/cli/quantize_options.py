"""How a model is quantized, as options of every command that does."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import click

from registry.errors import UsageError
from slmctl.app.wanted import Recipe


def labels_of(texts: str) -> tuple[str, ...]:
    """Quantizations with commas between them, in any case. Raises UsageError for one that there is not."""
    from runtimes.quantize.request import quantization_label  # few commands quantize

    labels = tuple(
        dict.fromkeys(quantization_label(text.strip()) for text in texts.split(",") if text.strip())
    )
    if not labels:
        raise UsageError("No quantization is named.", hint="For example: --to q4_k_m,q8_0")
    return labels


def recipe_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add them; the function gets `recipe`, a Recipe."""

    @click.option(
        "--imatrix",
        "importance_matrix",
        type=click.Path(path_type=Path, exists=False),
        metavar="FILE",
        help="An importance matrix of this model, which IQ1, IQ2 and IQ3 types need.",
    )
    @click.option(
        "--tensor-type",
        "tensor_types",
        multiple=True,
        metavar="PATTERN=TYPE",
        help="A type of its own for the tensors whose names have PATTERN in them. May be said several times.",
    )
    @click.option("--output-tensor-type", "output_type", metavar="TYPE", help="That of the output.")
    @click.option(
        "--token-embedding-type", "embedding_type", metavar="TYPE", help="That of the token embedding."
    )
    @click.option("--pure", is_flag=True, help="One type for all matrices, without a mix.")
    @click.option(
        "--allow-requantize", is_flag=True, help="Start from a build that is quantized, and lose twice."
    )
    @click.option(
        "--threads", type=click.IntRange(1, 1024), metavar="NUMBER", help="Cores to use.  [default: all]"
    )
    @functools.wraps(function)
    def decorated(
        *args: object,
        importance_matrix: Path | None,
        tensor_types: tuple[str, ...],
        output_type: str | None,
        embedding_type: str | None,
        pure: bool,
        allow_requantize: bool,
        threads: int | None,
        **kwargs: object,
    ) -> None:
        from runtimes.quantize.request import parse_override, tensor_type

        recipe = Recipe(
            importance_matrix=importance_matrix,
            tensor_types=tuple(map(parse_override, tensor_types)),
            output_type=None if output_type is None else tensor_type(output_type),
            embedding_type=None if embedding_type is None else tensor_type(embedding_type),
            pure=pure,
            allow_requantize=allow_requantize,
            threads=threads,
        )
        function(*args, recipe=recipe, **kwargs)

    return decorated
