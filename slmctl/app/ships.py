"""Which models come with slmctl, and where their files lie; `shipped` packages them."""

from __future__ import annotations

from pathlib import Path

from registry.names import ModelRef, Source

FOLDER = Path(__file__).parents[1] / "shipped"
SHIPPED = {"hello:latest": FOLDER / "hello" / "Modelfile"}


def is_shipped(ref: ModelRef) -> bool:
    """Whether `ref` names a model that comes with slmctl."""
    return ref.source is Source.BARE and ref.digest is None and ref.full_name.casefold() in SHIPPED
