"""Where a template reads `.Response`: the place at which the model goes on writing."""

from __future__ import annotations

from collections.abc import Iterator

from modelfiles.template.go import nodes


def identifiers(template: nodes.Template) -> Iterator[str]:
    """The names of all fields and variables that a template and those it defines read."""
    for body in template.bodies.values():
        yield from _in_body(body)


def cut_after_response(template: nodes.Template) -> nodes.Template:
    """The template without what comes after the first `.Response` of its own body.

    A branch beside the one with the `.Response` ends at its own, if it has one; Ollama fails there.
    """
    body, _ = _cut_body(template.main)
    return nodes.Template(template.source, {**template.bodies, "": body})


def _in_body(body: nodes.Body) -> Iterator[str]:
    for node in body:
        match node:
            case nodes.Action():
                yield from _in_pipe(node.pipe)
            case nodes.Call() if node.pipe is not None:
                yield from _in_pipe(node.pipe)
            case nodes.If():
                for pipe, branch in node.branches:
                    yield from _in_pipe(pipe)
                    yield from _in_body(branch)
                yield from _in_body(node.otherwise or ())
            case nodes.With() | nodes.Range():
                yield from _in_pipe(node.pipe)
                yield from _in_body(node.body)
                yield from _in_body(node.otherwise or ())


def _in_pipe(pipe: nodes.Pipe) -> Iterator[str]:
    for command in pipe.commands:
        for operand in command.operands:
            match operand:
                case nodes.Field():
                    yield from operand.names
                case nodes.Variable():
                    yield operand.name
                    yield from operand.fields
                case nodes.Pipe():
                    yield from _in_pipe(operand)


def _cut_body(body: nodes.Body) -> tuple[nodes.Body, bool]:
    """The body up to `.Response`, and whether that is in it."""
    kept: list[nodes.Node] = []
    for node in body:
        shortened, found = _cut_node(node)
        if shortened is not None:
            kept.append(shortened)
        if found:
            return tuple(kept), True
    return body, False


def _cut_node(node: nodes.Node) -> tuple[nodes.Node | None, bool]:
    match node:
        case nodes.Action():
            pipe, found = _cut_pipe(node.pipe)
            return (nodes.Action(node.at, pipe) if pipe is not None else None), found
        case nodes.If():
            cuts = [(pipe, *_cut_body(body)) for pipe, body in node.branches]
            otherwise, found = _cut_otherwise(node.otherwise)
            branches = tuple((pipe, body) for pipe, body, _ in cuts)
            return nodes.If(node.at, branches, otherwise), found or any(cut for *_, cut in cuts)
        case nodes.With() | nodes.Range():
            body, found = _cut_body(node.body)
            otherwise, other = _cut_otherwise(node.otherwise)
            return type(node)(node.at, node.pipe, body, otherwise), found or other
    return node, False


def _cut_otherwise(body: nodes.Body | None) -> tuple[nodes.Body | None, bool]:
    return (None, False) if body is None else _cut_body(body)


def _cut_pipe(pipe: nodes.Pipe) -> tuple[nodes.Pipe | None, bool]:
    """Operands after `.Response` go too; None where a command would have none left, as in Ollama."""
    found = False
    commands: list[nodes.Command] = []
    for command in pipe.commands:
        operands: list[nodes.Operand] = []
        for operand in command.operands:
            if found:
                break
            kept: nodes.Operand | None = operand
            if isinstance(operand, nodes.Field):
                found = "Response" in operand.names
            elif isinstance(operand, nodes.Pipe):
                kept, found = _cut_pipe(operand)
            if kept is not None:
                operands.append(kept)
        if not operands:
            return None, found
        commands.append(nodes.Command(command.at, tuple(operands)))
    return nodes.Pipe(pipe.at, pipe.variables, pipe.assigns, tuple(commands)), found
