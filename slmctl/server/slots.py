"""Which slot of a worker answers whom: nobody's prompt is answered out of what a slot remembers of another's.

An engine answers a prompt faster whose beginning one of its slots has computed before, and so tells by its
speed what others have asked (CVE-2025-46570). Each key therefore gets slots that it had last, or new ones, or
one that has to forget.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_ANYBODY = object()
"""Had the slot last, perhaps: the engine has chosen it by itself."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot by its number in the engine, None where that chooses; `fresh`: it must forget what it knows."""

    slot: int | None
    fresh: bool


class Slots:
    """The slots of one worker. Whoever asks knows that one is free."""

    def __init__(self, count: int) -> None:
        self._free: OrderedDict[int, object | None] = OrderedDict.fromkeys(range(count))
        """Those that are free, the longest unused first, and who had them last; None for nobody."""
        self._unseated = 0

    def take(self, principal: str | None) -> Seat:
        """A seat for a request with this key, or without any."""
        if principal is None:
            self._unseated += 1
            for slot in self._free:
                self._free[slot] = _ANYBODY
            return Seat(None, fresh=False)
        if self._unseated:  # the engine may have put that one anywhere
            return Seat(None, fresh=True)
        own = [slot for slot, owner in self._free.items() if owner == principal]
        new = [slot for slot, owner in self._free.items() if owner is None]
        slot = own[-1] if own else (new or list(self._free))[0]
        owner = self._free.pop(slot)
        return Seat(slot, fresh=owner is not None and owner != principal)

    def give_back(self, principal: str | None, seat: Seat) -> None:
        if seat.slot is not None:
            self._free[seat.slot] = _ANYBODY if self._unseated else principal
        elif principal is None:
            self._unseated -= 1
