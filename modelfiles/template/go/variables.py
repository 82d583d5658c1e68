"""What `$x` means while a template runs."""

from __future__ import annotations

from modelfiles.template.errors import Fault
from modelfiles.template.go.values import Value


class Variables:
    """The variables of one template while it runs; of two with the same name the younger one counts."""

    def __init__(self, dot: Value) -> None:
        self._stack: list[tuple[str, list[Value]]] = []
        self._named: dict[str, list[list[Value]]] = {}
        self.declare("$", dot)

    def declare(self, name: str, value: Value) -> None:
        cell = [value]
        self._stack.append((name, cell))
        self._named.setdefault(name, []).append(cell)

    def assign(self, name: str, value: Value) -> None:
        self._cell(name)[0] = value

    def get(self, name: str) -> Value:
        return self._cell(name)[0]

    def set_from_top(self, place: int, value: Value) -> None:
        """Of the youngest variables the one at `place`, from 1."""
        self._stack[-place][1][0] = value

    def mark(self) -> int:
        return len(self._stack)

    def forget(self, mark: int) -> None:
        while len(self._stack) > mark:
            self._named[self._stack.pop()[0]].pop()

    def _cell(self, name: str) -> list[Value]:
        cells = self._named.get(name)
        if not cells:
            raise Fault(f"the variable {name} is not declared here")
        return cells[-1]
