"""The real registry that formats are pushed to."""

from __future__ import annotations

from tests.registries.fixtures import plain_registry

__all__ = ["plain_registry"]
