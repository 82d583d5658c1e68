"""A Modelfile understood: instructions -> ModelSpec, the values of its FROM lines, and warnings."""

from __future__ import annotations

from dataclasses import dataclass

from modelfiles.errors import ModelfileError, Problem
from modelfiles.spec import DEPRECATED, PARAMETERS, Message, ModelSpec, ParameterValue, parse_parameter
from modelfiles.syntax import KEYWORDS, MAX_PROBLEMS, Instruction, Modelfile, scan
from modelfiles.template.errors import TemplateError
from modelfiles.template.ollama import parse_template
from modelfiles.words import nearest, printable
from registry.errors import UsageError

_UNDERSTOOD = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "MESSAGE", "LICENSE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authored:
    """A Modelfile understood: the spec, the values of its FROM lines in order, and the warnings."""

    spec: ModelSpec
    sources: tuple[str, ...]
    warnings: tuple[Problem, ...]


def from_text(text: str | bytes, *, filename: str = "Modelfile") -> Authored:
    """Read and understand a Modelfile. Raises ModelfileError with all problems, of syntax and of meaning."""
    modelfile, problems = scan(text, filename=filename)
    authored, others = check(modelfile)
    if problems or others:
        raise ModelfileError((*problems, *others), filename=filename, text=modelfile.text)
    return authored


def from_instructions(modelfile: Modelfile) -> Authored:
    """Understand a parsed Modelfile. Raises ModelfileError with all problems of meaning."""
    authored, problems = check(modelfile)
    if problems:
        raise ModelfileError(problems, filename=modelfile.filename, text=modelfile.text)
    return authored


def check(modelfile: Modelfile) -> tuple[Authored, list[Problem]]:
    """As `from_instructions`, but gives what could be understood together with the problems."""
    reader = _Reader()
    for instruction in modelfile.instructions:
        if len(reader.problems) >= MAX_PROBLEMS:
            break
        reader.read(instruction)
    authored = Authored(
        spec=ModelSpec(
            parameters=reader.parameters,
            system=reader.system,
            template=reader.template,
            messages=tuple(reader.messages),
            licenses=tuple(reader.licenses),
        ),
        sources=tuple(reader.sources),
        warnings=(*modelfile.warnings, *reader.warnings),
    )
    return authored, reader.problems


class _Reader:
    """Takes instructions one by one: later values replace earlier ones; stop, MESSAGE and LICENSE collect."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.system: str | None = None
        self.template: str | None = None
        self.messages: list[Message] = []
        self.licenses: list[str] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._parameters: dict[str, ParameterValue] = {}
        self._stops: list[str] = []

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        return {**self._parameters, "stop": tuple(self._stops)} if self._stops else self._parameters

    def read(self, instruction: Instruction) -> None:
        match instruction.keyword:
            case "FROM":
                self.sources.append(instruction.value)
            case "SYSTEM":
                self.system = instruction.value
            case "PARAMETER":
                self._read_parameter(instruction)
            case "TEMPLATE":
                self._read_template(instruction)
            case "LICENSE":
                if instruction.value not in self.licenses:
                    self.licenses.append(instruction.value)
            case "MESSAGE":
                role = instruction.name or ""  # the grammar takes no message without one
                self.messages.append(Message(role=role, content=instruction.value))
            case keyword:
                message = f"{keyword} is not supported yet; this version reads {', '.join(_UNDERSTOOD)}."
                hint = f"Remove the {keyword} instruction."
                self.problems.append(
                    _about_keyword(instruction, rule="unsupported", message=message, hint=hint)
                )

    def _read_template(self, instruction: Instruction) -> None:
        try:
            parse_template(instruction.value)
        except TemplateError as error:
            self.problems.append(
                Problem(
                    rule="template",
                    message=error.message,
                    line=instruction.line,
                    column=instruction.value_column,
                    span=instruction.value_span,
                    hint=error.hint or "TEMPLATE is a template of Go's text/template, as Ollama reads it.",
                )
            )
            return
        self.template = instruction.value

    def _read_parameter(self, instruction: Instruction) -> None:
        name, text = instruction.name or "", instruction.value
        if not name:
            self.problems.append(_nameless(instruction))
            return
        if name in DEPRECATED:
            message = f"The parameter {name} no longer has an effect and was left out."
            self._warn(instruction, "deprecated-parameter", message)
            return
        try:
            value = parse_parameter(name, text)
        except UsageError as error:
            self.problems.append(_refused_parameter(instruction, name, error))
            return
        if not isinstance(value, tuple):
            self._parameters[name] = value
        elif text:
            self._stops.extend(value)
        else:
            self._warn(instruction, "empty-stop", "An empty stop sequence does nothing and was left out.")

    def _warn(self, instruction: Instruction, rule: str, message: str) -> None:
        self.warnings.append(_about_name(instruction, rule=rule, message=message, hint="Remove the line."))


def _nameless(instruction: Instruction) -> Problem:
    """Two blanks behind PARAMETER: to Ollama a parameter whose name is empty, and unknown."""
    return _about_name(
        instruction,
        rule="unknown-parameter",
        message="This PARAMETER has no name, because two blanks stand before it.",
        hint="Remove the other blanks.",
    )


def _refused_parameter(instruction: Instruction, name: str, error: UsageError) -> Problem:
    if name in PARAMETERS:
        return Problem(
            rule="parameter-value",
            message=error.message,
            line=instruction.line,
            column=instruction.value_column,
            span=instruction.value_span,
            hint=error.hint,
        )
    keyword = "FROM" if name.lower() == "model" else name.upper()
    if keyword in KEYWORDS:
        message = f"{printable(name)} is no parameter but an instruction of its own."
        hint = f"Write {keyword} instead of PARAMETER {printable(name)}."
        return _about_name(instruction, rule="unknown-parameter", message=message, hint=hint)
    nearby = nearest(name.lower(), PARAMETERS)
    known = None if nearby else error.hint
    return _about_name(
        instruction, rule="unknown-parameter", message=error.message, hint=known, suggestion=nearby
    )


def _about_keyword(instruction: Instruction, *, rule: str, message: str, hint: str) -> Problem:
    start = instruction.span[0]
    return Problem(
        rule=rule,
        message=message,
        line=instruction.line,
        column=instruction.column,
        span=(start, start + len(instruction.keyword)),
        hint=hint,
    )


def _about_name(
    instruction: Instruction, *, rule: str, message: str, hint: str | None, suggestion: str | None = None
) -> Problem:
    return Problem(
        rule=rule,
        message=message,
        line=instruction.line,
        column=instruction.name_column,
        span=instruction.name_span or instruction.span,
        suggestion=suggestion,
        hint=hint,
    )
