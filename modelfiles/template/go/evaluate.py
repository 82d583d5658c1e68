"""Nodes and values to text."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

from modelfiles.template.errors import Fault, PlacedError
from modelfiles.template.go import nodes, printer, values
from modelfiles.template.go.functions import Function, printable
from modelfiles.template.go.literals import INT_MAX
from modelfiles.template.go.meter import Limits, Meter
from modelfiles.template.go.strings import join
from modelfiles.template.go.values import MISSING, Kind, Value
from modelfiles.template.go.variables import Variables


class MissingKey(enum.Enum):
    """What a map[string]any gives for a key it lacks (Go's option missingkey).

    Both print <no value>; a field of the first is again no value, a field of the second an error.
    """

    INVALID = "default"
    ZERO = "zero"


def evaluate(
    template: nodes.Template,
    data: Value,
    functions: Mapping[str, Function],
    *,
    limits: Limits,
    missing_key: MissingKey = MissingKey.INVALID,
) -> str:
    """The text that `template` makes of `data`. Bytes that are not UTF-8 are in it as `strings` says.

    `functions` has every function that the template was parsed with. Raises TemplateError.
    """
    run = _Run(template, functions, limits, None if missing_key is MissingKey.ZERO else MISSING)
    try:
        run.template("", data, 0)
    except Fault as fault:
        raise PlacedError(str(fault), source=template.source, at=run.at) from None
    except RecursionError:
        raise PlacedError("it is nested too deeply", source=template.source, at=run.at) from None
    return join(run.output)


class _Leaving(enum.Enum):
    BREAK = "break"
    CONTINUE = "continue"


class _Absent(enum.Enum):
    """A command that nothing was piped into."""

    ABSENT = "absent"


_ABSENT = _Absent.ABSENT


class _Run:
    """One evaluation. `at` is the offset of what is being evaluated."""

    def __init__(
        self,
        template: nodes.Template,
        functions: Mapping[str, Function],
        limits: Limits,
        absent: Value,
    ) -> None:
        self._template = template
        self._functions = functions
        self._absent = absent
        self._meter = Meter(limits)
        self._most_depth = limits.depth
        self._variables = Variables(None)
        self._depth = 0
        self.at = 0
        self.output: list[str] = []

    # templates and bodies

    def template(self, name: str, dot: Value, at: int) -> None:
        body = self._template.bodies.get(name)
        if body is None:
            raise Fault(f"there is no template {name!r}")
        outer, self._variables = self._variables, Variables(dot)
        self._body(body, dot)
        self._variables = outer

    def _body(self, body: nodes.Body, dot: Value) -> _Leaving | None:
        self._depth += 1
        if self._depth > self._most_depth:
            raise Fault(f"more than {self._most_depth} blocks and templates are inside each other")
        leaving = None
        for node in body:
            self.at = node.at
            self._meter.step()
            match node:
                case nodes.Text():
                    self._write(node.text)
                case nodes.Action():
                    value = self._pipe(node.pipe, dot)
                    if not node.pipe.variables:
                        self._print(value)
                case nodes.If():
                    leaving = self._if(node, dot)
                case nodes.With():
                    leaving = self._with(node, dot)
                case nodes.Range():
                    leaving = self._range(node, dot)
                case nodes.Call():
                    value = MISSING if node.pipe is None else self._pipe(node.pipe, dot)
                    self.template(node.name, value, node.at)
                case nodes.Break():
                    leaving = _Leaving.BREAK
                case nodes.Continue():
                    leaving = _Leaving.CONTINUE
            if leaving is not None:
                break
        self._depth -= 1
        return leaving

    def _if(self, node: nodes.If, dot: Value) -> _Leaving | None:
        mark = self._variables.mark()
        chosen = node.otherwise
        for pipe, body in node.branches:
            if values.truth(self._pipe(pipe, dot)):
                chosen = body
                break
        leaving = self._body(chosen, dot) if chosen is not None else None
        self._variables.forget(mark)
        return leaving

    def _with(self, node: nodes.With, dot: Value) -> _Leaving | None:
        mark = self._variables.mark()
        value = self._pipe(node.pipe, dot)
        leaving = None
        if values.truth(value):
            leaving = self._body(node.body, value)
        elif node.otherwise is not None:
            leaving = self._body(node.otherwise, dot)
        self._variables.forget(mark)
        return leaving

    def _range(self, node: nodes.Range, dot: Value) -> _Leaving | None:
        outer = self._variables.mark()
        value = self._pipe(node.pipe, dot)
        mark = self._variables.mark()
        elements = self._elements(value)
        leaving = None
        if not elements and node.otherwise is not None:
            leaving = self._body(node.otherwise, dot)
            if leaving is _Leaving.BREAK:
                leaving = None  # it ends this range, though none of its rounds; continue goes on outside
        for key, element in elements:
            self._set_range_variables(node.pipe, key, element)
            end = self._body(node.body, element)
            self._variables.forget(mark)
            if end is _Leaving.BREAK:
                break
        self._variables.forget(outer)
        return leaving

    def _elements(self, value: Value) -> Sequence[tuple[Value, Value]]:
        """What range goes through: indexes or keys, and elements."""
        match values.kind(value):
            case Kind.SLICE:
                found = values.elements(value)
                self._meter.step(len(found))
                return list(enumerate(found))
            case Kind.MAP:
                self._meter.step(len(values.entries(value)))
                return values.sorted_entries(value)
            case Kind.MISSING:
                return []
        raise Fault(f"range cannot go through {values.type_name(value)}")

    def _set_range_variables(self, pipe: nodes.Pipe, key: Value, element: Value) -> None:
        names = pipe.variables
        if pipe.assigns:
            # Go 1.19 sets the youngest variables instead, whatever their names; later ones do this
            for name, value in zip(names, (element,) if len(names) == 1 else (key, element), strict=True):
                self._variables.assign(name, value)
            return
        if names:
            self._variables.set_from_top(1, element)
        if len(names) > 1:
            self._variables.set_from_top(2, key)

    def _print(self, value: Value) -> None:
        if isinstance(value, str):
            self._write(value)
        else:
            self.output.append(printer.sprint([printable(value)], self._meter))

    def _write(self, text: str) -> None:
        self._meter.write(len(text))
        self.output.append(text)

    # pipelines

    def _pipe(self, pipe: nodes.Pipe, dot: Value) -> Value:
        value: Value = _ABSENT
        for command in pipe.commands:
            value = self._command(command, dot, value)
            if value is None:
                value = MISSING  # Go looks into an interface here, and nil has nothing in it
        for name in pipe.variables:
            if pipe.assigns:
                self._variables.assign(name, value)
            else:
                self._variables.declare(name, value)
        return value

    def _command(self, command: nodes.Command, dot: Value, final: Value) -> Value:
        """`final` is what was piped in, the last argument."""
        self.at = command.at
        self._meter.step()
        first = command.operands[0]
        has_arguments = len(command.operands) > 1 or final is not _ABSENT
        match first:
            case nodes.Function():
                return self._call(first, command.operands[1:], dot, final)
            case nodes.Field():
                return self._fields(dot, first.names, has_arguments)
            case nodes.Chain():
                return self._fields(self._operand(first.operand, dot), first.fields, has_arguments)
            case nodes.Variable() if first.fields:
                return self._fields(self._variables.get(first.name), first.fields, has_arguments)
        if has_arguments:
            if isinstance(first, nodes.Variable):
                self._variables.get(first.name)
            raise Fault("only a function takes arguments")
        if isinstance(first, nodes.Nil):
            raise Fault("nil is no command")
        return self._operand(first, dot)

    def _operand(self, operand: nodes.Operand, dot: Value) -> Value:
        """A value by itself, as an argument is one."""
        self._meter.step()
        match operand:
            case nodes.Literal():
                if type(operand.value) is int and operand.value > INT_MAX:
                    raise Fault(f"{operand.value} is too large an integer")
                return operand.value
            case nodes.Dot():
                return dot
            case nodes.Field():
                return self._fields(dot, operand.names, False)
            case nodes.Variable():
                return self._fields(self._variables.get(operand.name), operand.fields, False)
            case nodes.Pipe():
                return self._pipe(operand, dot)
            case nodes.Chain():
                return self._fields(self._operand(operand.operand, dot), operand.fields, False)
            case nodes.Function():
                return self._call(operand, (), dot, _ABSENT)
            case nodes.Nil():
                return MISSING

    def _fields(self, value: Value, names: Sequence[str], has_arguments: bool) -> Value:
        for place, name in enumerate(names):
            if has_arguments and place == len(names) - 1 and value is not MISSING:
                raise Fault(f"the field {name} takes no arguments")
            value = values.lookup(value, name, absent=self._absent)
        return value

    def _call(
        self, node: nodes.Function, operands: Sequence[nodes.Operand], dot: Value, final: Value
    ) -> Value:
        function = self._functions[node.name]
        count = len(operands) + (final is not _ABSENT)
        if count < function.least or (function.most is not None and count > function.most):
            raise Fault(f"{node.name} does not take {count} arguments")
        if node.name in ("and", "or"):
            return self._decide(node.name == "or", operands, dot, final)
        arguments = [self._operand(operand, dot) for operand in operands]
        if final is not _ABSENT:
            arguments.append(final)
        self.at = node.at
        for argument in arguments[: function.strings]:
            if not isinstance(argument, str):
                raise Fault(f"{node.name} takes a string here, not {values.type_name(argument)}")
        return function.call(arguments, self._meter)

    def _decide(self, wanted: bool, operands: Sequence[nodes.Operand], dot: Value, final: Value) -> Value:
        """`or` (wanted) and `and`: the first argument whose truth is `wanted`, else the last one."""
        value: Value = MISSING
        for operand in operands:
            value = self._operand(operand, dot)
            if values.truth(value) is wanted:
                return value
        return value if final is _ABSENT else final
