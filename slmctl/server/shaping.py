"""Structured output: the shape that an answer is held to, and the look at it before it is given."""

from __future__ import annotations

from slmctl.app.asks import Schema
from slmctl.server.prompting import FREE, Shape
from slmctl.server.scheduler import Served


async def shape_for(served: Served, schema: Schema | None, grammar: str | None) -> Shape:
    if schema is None and grammar is None:
        return FREE
    return Shape(json_schema=schema, grammar=grammar)
