"""Tokens to nodes: the blocks of text/template and the templates that a text defines."""

from __future__ import annotations

from collections.abc import Collection

from modelfiles.template.errors import PlacedError
from modelfiles.template.go import nodes
from modelfiles.template.go.lexer import Kind, Token
from modelfiles.template.go.pipelines import PipelineParser, Scope, is_keyword
from modelfiles.template.go.strings import clean

MAX_BLOCKS = 80  # if, with, range, block within each other; templates that people write have ten at most

# white space in the sense of Unicode, of which Go's test for an empty template is
_WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def parse(source: str, functions: Collection[str]) -> nodes.Template:
    """A template that may call `functions`. Raises TemplateError."""
    source = clean(source)
    parser = _Parser(source, functions)
    try:
        parser.main()
    except RecursionError:
        raise PlacedError("it is nested too deeply", source=source, at=0) from None
    return nodes.Template(source, parser.bodies)


class _Parser(PipelineParser):
    """`bodies` are the templates found so far, by name."""

    def __init__(self, source: str, functions: Collection[str]) -> None:
        super().__init__(source, functions)
        self.bodies: dict[str, nodes.Body] = {}
        self._blocks = 0

    # templates and lists

    def main(self) -> None:
        """``main: (text | action | define)*``"""
        found: list[nodes.Node] = []
        while self._tokens[self._at].kind is not Kind.END:
            start = self._at
            if self._next().kind is Kind.OPEN and is_keyword(self._take(), "define"):
                self._define()
                continue
            self._at = start
            found.append(self._node())
        self._add("", tuple(found), len(self._source))

    def _define(self) -> None:
        """``{{define "name"}} list {{end}}``; the keyword is past."""
        token = self._take()
        name = self._template_name(token, "define")
        self._close("define")
        self._add(name, self._separate("define"), token.at)

    def _separate(self, what: str) -> nodes.Body:
        """A list up to its `end` that sees nothing of what is around it."""
        outer, self._scope = self._scope, Scope()
        body, end = self._list()
        if end.text != "end":
            raise self._unexpected(end, what)
        self._close("end")
        self._scope = outer
        return body

    def _add(self, name: str, body: nodes.Body, at: int) -> None:
        """A template may be defined twice only where one of the definitions is empty."""
        if name in self.bodies and not _is_empty(self.bodies[name]):
            if not _is_empty(body):
                raise self._error(f"the template {name!r} is defined twice", at)
            return
        self.bodies[name] = body

    def _list(self) -> tuple[nodes.Body, Token]:
        """``list: (text | action)*``, and the keyword that ends it, `end` or `else`, which is past."""
        self._blocks += 1
        found: list[nodes.Node] = []
        while True:
            token = self._peek()
            if self._blocks > MAX_BLOCKS:
                raise self._error(f"more than {MAX_BLOCKS} blocks are inside each other", token.at)
            if token.kind is Kind.END:
                raise self._error("an end is missing", token.at)
            start = self._at
            if token.kind is Kind.OPEN:
                self._at += 1
                word = self._take()
                if is_keyword(word, "end", "else"):
                    self._blocks -= 1
                    return tuple(found), word
                self._at = start
            found.append(self._node())

    def _node(self) -> nodes.Node:
        """``text | action``"""
        token = self._take()
        if token.kind is Kind.TEXT:
            return nodes.Text(token.at, token.text)
        if token.kind is not Kind.OPEN:
            raise self._unexpected(token, "a template")
        start = self._at
        word = self._take()
        if word.kind is Kind.KEYWORD:
            match word.text:
                case "if":
                    return self._if(word.at)
                case "with" | "range":
                    return self._with_or_range(word)
                case "template":
                    return self._call(word.at)
                case "block":
                    return self._block(word.at)
                case "break" | "continue":
                    return self._leave(word)
        self._at = start
        return nodes.Action(word.at, self._pipe("an action", Kind.CLOSE))

    # control

    def _if(self, at: int) -> nodes.If:
        """``{{if pipe}} list ({{else if pipe}} list)* ({{else}} list)? {{end}}``; the keyword is past."""
        mark = len(self._scope.order)
        branches = [(self._pipe("if", Kind.CLOSE), *self._list())]
        otherwise = None
        while branches[-1][2].text == "else":
            if is_keyword(self._peek(), "if"):
                self._take()
                branches.append((self._pipe("else if", Kind.CLOSE), *self._list()))
                continue
            otherwise = self._else()
            break
        else:
            self._close("end")
        self._scope.forget(mark)
        return nodes.If(at, tuple((pipe, body) for pipe, body, _ in branches), otherwise)

    def _with_or_range(self, word: Token) -> nodes.With | nodes.Range:
        """``{{range pipe}} list ({{else}} list)? {{end}}``, or `with`; the keyword is past."""
        mark = len(self._scope.order)
        is_range = word.text == "range"
        pipe = self._pipe(word.text, Kind.CLOSE)
        self._scope.ranges += is_range
        body, end = self._list()
        self._scope.ranges -= is_range
        otherwise = None
        if end.text == "else":
            otherwise = self._else()
        else:
            self._close("end")
        self._scope.forget(mark)
        return (nodes.Range if is_range else nodes.With)(word.at, pipe, body, otherwise)

    def _else(self) -> nodes.Body:
        """``}} list {{end}}``: what follows the keyword `else`."""
        self._close("else")
        body, end = self._list()
        if end.text != "end":
            raise self._unexpected(end, "else")
        self._close("end")
        return body

    def _leave(self, word: Token) -> nodes.Break | nodes.Continue:
        self._close(word.text)
        if not self._scope.ranges:
            raise self._error(f"{word.text} is outside of range", word.at)
        return nodes.Break(word.at) if word.text == "break" else nodes.Continue(word.at)

    def _template_name(self, token: Token, what: str) -> str:
        if token.kind is not Kind.STRING:
            raise self._unexpected(token, what)
        return self._string(token)

    def _call(self, at: int) -> nodes.Call:
        """``{{template "name" pipe?}}``; the keyword is past."""
        name = self._template_name(self._take(), "template")
        if self._peek().kind is Kind.CLOSE:
            self._close("template")
            return nodes.Call(at, name, None)
        return nodes.Call(at, name, self._pipe("template", Kind.CLOSE))

    def _block(self, at: int) -> nodes.Call:
        """``{{block "name" pipe}} list {{end}}``: a template that is defined where it is called."""
        token = self._take()
        name = self._template_name(token, "block")
        pipe = self._pipe("block", Kind.CLOSE)
        self._add(name, self._separate("block"), token.at)
        return nodes.Call(at, name, pipe)


def _is_empty(body: nodes.Body) -> bool:
    return all(isinstance(node, nodes.Text) and not node.text.strip(_WHITE) for node in body)
