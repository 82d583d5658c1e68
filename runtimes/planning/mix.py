"""What llama-quantize would make of a model: the facts of a build that does not exist yet, sized exactly.

A label such as Q4_K_M is a recipe: which type each tensor gets depends on what it does, on its layer and on
the model's shape (`mix_rules`). Facts sum tensors by class, so a class is split over the layers that have it
as if its tensors were of one size. They are, but in models whose width differs from layer to layer (Gemma 3n,
OpenELM): there the figure is as good as the facts (`is_exact` says so).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from registry.errors import MalformedFile, UsageError
from registry.formats.facts import ModelFacts, TensorRow
from registry.formats.ggml_types import BASE_TYPES, GGML_TYPES_BY_NAME, fallback_type
from runtimes.planning.mix_rules import CATEGORIES, Model, Place, target_type

QUANTIZATIONS = tuple(BASE_TYPES)
"""Every label that there is a recipe for."""

NEEDS_IMPORTANCE_MATRIX = frozenset(
    {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S"}
)
"""llama-quantize refuses these without one: some matrix of theirs gets a type that needs it
(`tensor_requires_imatrix`)."""

_NOT_QUANTIZED = frozenset(
    {
        *("norm", "bias", "ffn_gate_inp", "ffn_gate_inp_shexp", "position_embd", "token_types"),
        *("ssm_conv1d", "shortconv_conv", "vision", "audio", "projector"),
    }
)


def quantized(facts: ModelFacts, quantization: str, *, importance_matrix: bool | None = None) -> ModelFacts:
    """The facts of this model quantized from full precision, its rows exact to the byte (see `is_exact`).

    `importance_matrix` changes some recipes; None stands for one only where the recipe needs it. Raises
    UsageError for a label that is none or cannot be made, MalformedFile for facts that lack what the rules
    need: layers, rows of tensors, or how long those are.
    """
    model = _model(facts, quantization, importance_matrix)
    rows = (made for row in _by_class(facts) for made in _quantized_rows(row, model))
    return replace(facts, quantization=quantization, tensors=tuple(rows))


def tensor_types(
    facts: ModelFacts, quantization: str, *, importance_matrix: bool | None = None
) -> Mapping[str, tuple[str, ...]]:
    """The types that the matrices of each class get, in the order of their layers. Raises as `quantized`.

    Classes are those of the facts (`registry.formats.tensor_classes`); what stays as it is has none here.
    """
    model = _model(facts, quantization, importance_matrix)
    return {group.name: _types(group, model) for group in _by_class(facts) if group.count}


def quantized_bytes(facts: ModelFacts, quantization: str, *, importance_matrix: bool | None = None) -> int:
    """Bytes of the tensors after quantization, without the header; a file has a few MB more.

    Raises as `quantized`.
    """
    return quantized(facts, quantization, importance_matrix=importance_matrix).tensor_bytes


def is_exact(facts: ModelFacts) -> bool:
    """Whether the sizes that `quantized` gives are exact: every matrix's class is known and of one shape."""
    return all(
        row.tensor_class in _NOT_QUANTIZED
        or _is_vector(row)
        or (row.tensor_class != "other" and row.columns is not None and not row.elements % row.count)
        for row in facts.tensors
    )


@dataclass(frozen=True, slots=True)
class _Class:
    """All matrices of a class, whatever their types are now; `kept` are those that stay as they are."""

    name: str
    count: int
    columns: int | None
    elements: int
    kept: tuple[TensorRow, ...]


def _by_class(facts: ModelFacts) -> Iterator[_Class]:
    names = sorted({row.tensor_class for row in facts.tensors})
    for name in names:
        rows = [row for row in facts.tensors if row.tensor_class == name]
        kept = tuple(row for row in rows if _stays(row))
        changed = [row for row in rows if row not in kept]
        columns = {row.columns for row in changed}
        yield _Class(
            name=name,
            count=sum(row.count for row in changed),
            columns=columns.pop() if len(columns) == 1 else None,
            elements=sum(row.elements for row in changed),
            kept=kept,
        )


def _stays(row: TensorRow) -> bool:
    # what has no class of its own is mostly small and F32; what the converter made 16-bit is quantized
    unknown = row.tensor_class == "other" and (row.type == "F32" or row.columns is None)
    return row.tensor_class in _NOT_QUANTIZED or _is_vector(row) or unknown


def _is_vector(row: TensorRow) -> bool:
    return row.columns is not None and row.elements == row.columns * row.count


def _model(facts: ModelFacts, quantization: str, importance_matrix: bool | None) -> Model:
    base = BASE_TYPES.get(quantization)
    if base is None:
        raise UsageError(
            f"There is no quantization {quantization}.", hint=f"There are {', '.join(QUANTIZATIONS)}."
        )
    needs_matrix = quantization in NEEDS_IMPORTANCE_MATRIX
    if needs_matrix and importance_matrix is False:
        raise UsageError(
            f"{quantization} cannot be made without an importance matrix.",
            hint="Q2_K and Q3_K_S are the smallest that can.",
        )
    if not facts.layers or not facts.tensors:
        raise MalformedFile("These facts have no layers or no tensors, and so no size after quantization.")
    return Model(
        architecture=facts.architecture,
        label=quantization,
        base=base,
        layers=facts.layers,
        value_matrices=sum(row.count for row in facts.tensors if CATEGORIES.get(row.tensor_class) == "value"),
        heads_per_kv_head=_heads_per_kv_head(facts),
        experts=facts.experts.count if facts.experts is not None else 0,
        tied=bool(facts.tied_embeddings),
        importance_matrix=needs_matrix if importance_matrix is None else importance_matrix,
    )


def _types(group: _Class, model: Model) -> tuple[str, ...]:
    if group.columns is None:
        raise MalformedFile(f"These facts do not say how long the rows of {group.name} are.")
    places = (Place(group.name, number, group.count, group.columns) for number in range(group.count))
    return tuple(_fitting(target_type(model, place), group.columns) for place in places)


def _quantized_rows(group: _Class, model: Model) -> Iterator[TensorRow]:
    """The group's rows after quantization, sorted by type."""
    rows = list(group.kept)
    for name, count in Counter(_types(group, model) if group.count else ()).items():
        kind = GGML_TYPES_BY_NAME[name]
        elements = group.elements * count // group.count
        rows.append(
            TensorRow(
                tensor_class=group.name,
                type=name,
                count=count,
                columns=group.columns,
                elements=elements,
                bytes=elements // kind.block_size * kind.block_bytes,
            )
        )
    for kind_name in sorted({row.type for row in rows}):
        yield _sum([row for row in rows if row.type == kind_name])


def _fitting(name: str, columns: int) -> str:
    """The type, or the one that stands in where it does not divide the rows (`tensor_type_fallback`)."""
    if columns % GGML_TYPES_BY_NAME[name].block_size == 0:
        return name
    other = fallback_type(name) or "F16"
    return other if columns % GGML_TYPES_BY_NAME[other].block_size == 0 else "F16"


def _sum(rows: list[TensorRow]) -> TensorRow:
    columns = {row.columns for row in rows}
    return replace(
        rows[0],
        count=sum(row.count for row in rows),
        columns=columns.pop() if len(columns) == 1 else None,
        elements=sum(row.elements for row in rows),
        bytes=sum(row.bytes for row in rows),
    )


def _heads_per_kv_head(facts: ModelFacts) -> int:
    heads = facts.heads[0] if isinstance(facts.heads, tuple) else facts.heads
    kv_heads = facts.kv_heads[0] if isinstance(facts.kv_heads, tuple) else facts.kv_heads
    return heads // kv_heads if heads and kv_heads else 0
