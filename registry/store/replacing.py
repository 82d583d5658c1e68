"""Whether a name that exists may come to mean another model."""

from __future__ import annotations

import enum

from registry.errors import NameTaken
from registry.store.index import Entry


class Replace(enum.Enum):
    """What `link` may do to a name that exists and points elsewhere."""

    NOTHING = "nothing"
    SAME_SOURCE = "same source"
    ANYTHING = "anything"


def check_replaceable(old: Entry, new: Entry, rule: Replace) -> None:
    """Raise NameTaken unless `rule` lets `new` take the place of `old`."""
    same_content = old.descriptor.digest == new.descriptor.digest and old.source == new.source
    if rule is Replace.ANYTHING or same_content:
        return
    if rule is Replace.NOTHING:
        raise NameTaken(
            f"There is a model {old.name} already.", hint="Add --force to replace it, or choose another name."
        )
    if old.source != new.source:
        raise NameTaken(
            f"The name {old.name} belongs to a model from {old.source or 'another tool'}.",
            hint="Add --force to replace it, or choose another name.",
        )
    lost = [each for each in old.made if each not in new.made]
    if lost:
        raise NameTaken(
            f"The model {old.name} has variants that were made here ({', '.join(lost)}), and what would take"
            " its place has not.",
            hint="Add --force to replace it without them, or choose another name.",
        )
