"""Tokens to pipelines: what stands inside an action, after its keyword.

What Go's parser refuses is refused here, also where the action would never be reached: unknown functions and
variables that were not declared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from modelfiles.template.errors import Fault, PlacedError, TemplateError
from modelfiles.template.go import literals, nodes
from modelfiles.template.go.lexer import Kind, Token, tokens

MAX_PARENTHESES = 30  # inside each other

_OPERANDS = frozenset(
    [
        Kind.BOOL,
        Kind.CHARACTER,
        Kind.DOT,
        Kind.FIELD,
        Kind.LEFT,
        Kind.NUMBER,
        Kind.STRING,
        Kind.VARIABLE,
        Kind.WORD,
    ]
)


class Scope:
    """What one template sees: the variables declared so far, and how many ranges it is inside."""

    def __init__(self) -> None:
        self.order: list[str] = ["$"]
        self.names = Counter(self.order)
        self.ranges = 0

    def declare(self, name: str) -> None:
        self.order.append(name)
        self.names[name] += 1

    def forget(self, mark: int) -> None:
        """Drops what was declared since `order` had `mark` names."""
        while len(self.order) > mark:
            self.names[self.order.pop()] -= 1


class PipelineParser:
    """The tokens of a template, and how far they are read."""

    def __init__(
        self,
        source: str,
        functions: Collection[str],
    ) -> None:
        self._source = source
        self._tokens = tokens(source)
        self._at = 0
        self._functions = functions
        self._scope = Scope()
        self._parentheses = 0

    # tokens

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind is not Kind.END:
            self._at += 1
        return token

    def _skip_space(self) -> None:
        while self._tokens[self._at].kind is Kind.SPACE:
            self._at += 1

    def _peek(self) -> Token:
        """The next token that is no space; the spaces before it are gone."""
        self._skip_space()
        return self._tokens[self._at]

    def _take(self) -> Token:
        self._skip_space()
        return self._next()

    def _close(self, what: str) -> None:
        token = self._take()
        if token.kind is not Kind.CLOSE:
            raise self._unexpected(token, what)

    def _error(self, reason: str, at: int) -> TemplateError:
        return PlacedError(reason, source=self._source, at=at)

    def _unexpected(self, token: Token, where: str) -> TemplateError:
        shown = token.kind.value if token.kind is Kind.END else repr(token.text[:20])
        return self._error(f"{shown} is not expected in {where}", token.at)

    # pipelines

    def _pipe(self, where: str, end: Kind) -> nodes.Pipe:
        """``pipe: (variable (, variable)? (:= | =))? command (| command)*``, and `end`, which goes."""
        at = self._peek().at
        variables, assigns = self._declarations(where)
        commands: list[nodes.Command] = []
        while True:
            token = self._peek()
            if token.kind is end:
                self._at += 1
                break
            if token.kind not in _OPERANDS and not is_keyword(token, "nil"):
                raise self._unexpected(token, where)
            commands.append(self._command())
        if not commands:
            raise self._error(f"a value is missing in {where}", at)
        for command in commands[1:]:
            if isinstance(command.operands[0], nodes.Dot | nodes.Nil | nodes.Literal):
                raise self._error("only a function can take what comes before |", command.at)
        return nodes.Pipe(at, variables, assigns, tuple(commands))

    def _declarations(self, where: str) -> tuple[tuple[str, ...], bool]:
        """The variables that the pipeline sets, and whether they were there before."""
        names: list[str] = []
        while True:
            token = self._peek()
            if token.kind is not Kind.VARIABLE:
                return tuple(names), False
            start = self._at
            self._at += 1
            sign = self._peek()
            if sign.kind in (Kind.ASSIGN, Kind.DECLARE):
                self._at += 1
                names.append(token.text)
                self._scope.declare(token.text)
                return tuple(names), sign.kind is Kind.ASSIGN
            if sign.kind is not Kind.OTHER or sign.text != ",":
                self._at = start  # it is an operand
                return tuple(names), False
            self._at += 1
            names.append(token.text)
            self._scope.declare(token.text)
            if where != "range" or len(names) == 2:
                raise self._error(f"there are too many variables in {where}", token.at)
            if self._peek().kind not in (Kind.VARIABLE, Kind.CLOSE, Kind.RIGHT):
                raise self._error("a variable must follow the comma", self._peek().at)

    def _command(self) -> nodes.Command:
        """``command: operand (space operand)*``; takes the `|` after it."""
        at = self._peek().at
        operands: list[nodes.Operand] = []
        while True:
            operand = self._operand()
            if operand is not None:
                operands.append(operand)
            token = self._tokens[self._at]
            if token.kind is Kind.SPACE:
                self._skip_space()
            elif token.kind in (Kind.CLOSE, Kind.RIGHT):
                break
            elif token.kind is Kind.PIPE:
                self._at += 1
                break
            else:
                raise self._unexpected(token, "a command")
        if not operands:
            raise self._error("a command is empty", at)
        return nodes.Command(at, tuple(operands))

    def _operand(self) -> nodes.Operand | None:
        """``operand: term field*``, or None where none follows."""
        term = self._term()
        if term is None or self._tokens[self._at].kind is not Kind.FIELD:
            return term
        at = self._tokens[self._at].at
        names: list[str] = []
        while self._tokens[self._at].kind is Kind.FIELD:
            names.append(self._next().text[1:])
        match term:
            case nodes.Field():
                return nodes.Field(term.at, (*term.names, *names))
            case nodes.Variable():
                return nodes.Variable(term.at, term.name, (*term.fields, *names))
            case nodes.Pipe() | nodes.Function():
                return nodes.Chain(at, term, tuple(names))
        raise self._error("this value has no fields", at)

    def _term(self) -> nodes.Operand | None:
        """A literal, a function, `.`, a field, a variable, or a pipeline in parentheses."""
        token = self._peek()
        match token.kind:
            case Kind.DOT:
                term: nodes.Operand = nodes.Dot(token.at)
            case Kind.FIELD:
                term = nodes.Field(token.at, (token.text[1:],))
            case Kind.VARIABLE:
                if not self._scope.names[token.text]:
                    raise self._error(f"the variable {token.text} is not declared", token.at)
                term = nodes.Variable(token.at, token.text)
            case Kind.WORD:
                if token.text not in self._functions:
                    raise self._error(f"there is no function {token.text}", token.at)
                term = nodes.Function(token.at, token.text)
            case Kind.STRING:
                term = nodes.Literal(token.at, self._string(token))
            case Kind.NUMBER | Kind.CHARACTER:
                term = nodes.Literal(token.at, self._number(token))
            case Kind.BOOL:
                term = nodes.Literal(token.at, token.text == "true")
            case Kind.KEYWORD if is_keyword(token, "nil"):
                term = nodes.Nil(token.at)
            case Kind.LEFT:
                return self._parenthesized()
            case _:
                return None
        self._at += 1
        return term

    def _parenthesized(self) -> nodes.Pipe:
        token = self._next()
        self._parentheses += 1
        if self._parentheses > MAX_PARENTHESES:
            raise self._error(f"more than {MAX_PARENTHESES} parentheses are open", token.at)
        pipe = self._pipe("parentheses", Kind.RIGHT)
        self._parentheses -= 1
        return pipe

    def _string(self, token: Token) -> str:
        try:
            return literals.string(token.text)
        except Fault as fault:
            raise self._error(str(fault), token.at) from None

    def _number(self, token: Token) -> int | float:
        try:
            if token.kind is Kind.CHARACTER:
                return literals.character(token.text)
            return literals.number(token.text)
        except Fault as fault:
            raise self._error(str(fault), token.at) from None


def is_keyword(token: Token, *words: str) -> bool:
    return token.kind is Kind.KEYWORD and token.text in words
