"""What a template says. Each node has `at`, its offset in the template in characters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Dot:
    """`.`"""

    at: int


@dataclass(frozen=True, slots=True)
class Nil:
    """`nil`"""

    at: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A boolean, a number, a character (an int) or a string."""

    at: int
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Field:
    """`.A.B`: names without dots, at least one."""

    at: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """`$x.A.B`: the name has its `$`."""

    at: int
    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    at: int
    name: str


@dataclass(frozen=True, slots=True)
class Chain:
    """`(pipeline).A.B`, or a function that is called without arguments for the sake of a field."""

    at: int
    operand: Pipe | Function
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """Operands with spaces between: a value, or a function and its arguments."""

    at: int
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Pipe:
    """`$x := a | b`: `variables` are declared, or assigned where `assigns`."""

    at: int
    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]


Operand: TypeAlias = Dot | Nil | Literal | Field | Variable | Function | Chain | Pipe


@dataclass(frozen=True, slots=True)
class Text:
    at: int
    text: str


@dataclass(frozen=True, slots=True)
class Action:
    """`{{pipeline}}`: prints its value where it declares nothing."""

    at: int
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class If:
    """`branches` are tried in turn: the `if` and its `else if`s. `otherwise` is None without an `else`."""

    at: int
    branches: tuple[tuple[Pipe, Body], ...]
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class With:
    at: int
    pipe: Pipe
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Range:
    at: int
    pipe: Pipe
    body: Body
    otherwise: Body | None


@dataclass(frozen=True, slots=True)
class Call:
    """`{{template "name" pipeline}}`"""

    at: int
    name: str
    pipe: Pipe | None


@dataclass(frozen=True, slots=True)
class Break:
    at: int


@dataclass(frozen=True, slots=True)
class Continue:
    at: int


Node: TypeAlias = Text | Action | If | With | Range | Call | Break | Continue
Body: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: the text, and the body of each template it defines; its own has the name ``""``."""

    source: str
    bodies: Mapping[str, Body]

    @property
    def main(self) -> Body:
        return self.bodies[""]
