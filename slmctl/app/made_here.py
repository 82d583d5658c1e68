"""The sources of names that came from no registry. Most of them were made here, and so were whole once."""

from __future__ import annotations

CREATED_HERE = "create"
"""The source of a name that `create` made: it belongs to no remote."""

SHIPPED_HERE = "slmctl"
"""That of a model that comes with slmctl."""

IMPORTED_HERE = "import"
"""That of a name that came in a bundle which names no registry for it."""

MADE_HERE = frozenset({CREATED_HERE, SHIPPED_HERE})
"""Only what was pulled can be sparse."""
