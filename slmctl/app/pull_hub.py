"""Pulling from a place of files."""

from __future__ import annotations

from collections.abc import Sequence

from modelfiles.spec import ModelSpec
from registry.errors import UsageError
from registry.remotes.base import Listing, Remote
from slmctl.app.coming import Coming
from slmctl.app.events import OnEvent


def coming_hub(
    found: Sequence[tuple[Remote, Listing]],
    *,
    spec: ModelSpec,
    wanted: Sequence[str],
    all_variants: bool,
    on_event: OnEvent,
) -> Coming:
    raise UsageError("not there yet")
