"""Who chooses what a pull brings where there are several builds, or sizes of a family.

Most pulls have nothing to choose, and planning takes longer to import than to do: so what chooses is made
when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtimes.planning.values import Build, Plan
    from slmctl.app.library import LibraryModel
    from slmctl.app.planning.picking import Picked, Picker


class Chooser:
    """A `Picker` that `make` makes for the first question; see there for what the answers are."""

    def __init__(self, make: Callable[[], Picker]) -> None:
        self._make = make
        self._made: list[Picker] = []

    @property
    def _picker(self) -> Picker:
        if not self._made:
            self._made.append(self._make())
        return self._made[-1]

    def prepare(self) -> None:
        """Make it now, so that what is wrong with it is said before anything is done. Raises as `make`."""
        _ = self._picker

    @property
    def last(self) -> Plan | None:
        """The plan that was made last; None where nothing was asked."""
        return self._made[-1].last if self._made else None

    def size(self, models: Sequence[LibraryModel]) -> tuple[LibraryModel, str] | None:
        return self._picker.size(models)

    def build(self, name: str, builds: Sequence[Build]) -> Picked | None:
        return self._picker.build(name, builds)
