"""The sources of names whose models were made on this machine, and so were whole once."""

from __future__ import annotations

CREATED_HERE = "create"
"""The source of a name that `create` made: it belongs to no remote."""

SHIPPED_HERE = "slmctl"
"""That of a model that comes with slmctl."""

MADE_HERE = frozenset({CREATED_HERE, SHIPPED_HERE})
"""Only what was pulled can be sparse."""
