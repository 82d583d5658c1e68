"""A Modelfile understood: instructions -> ModelSpec, the texts that name models and files, and warnings.

Whether such a text is a file or a model's name is not decided here: `modelfiles` looks at no disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from modelfiles.builtin import PARSERS, RENDERERS
from modelfiles.errors import ModelfileError, Problem
from modelfiles.instructions import PARAMETER_INSTRUCTIONS
from modelfiles.spec import DEPRECATED, PARAMETERS, Message, ModelSpec, ParameterValue, parse_parameter
from modelfiles.syntax import MAX_PROBLEMS, MAX_WARNINGS, Instruction, Modelfile, scan
from modelfiles.template.errors import TemplateError
from modelfiles.template.ollama import parse_template
from modelfiles.words import ROLES, nearest, printable
from registry.errors import InvalidReference, UsageError
from registry.names import Source, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Authored:
    """A Modelfile understood.

    `sources` and `drafts` are the texts of its FROM and DRAFT lines in order, `adapter` that of its last
    ADAPTER line.
    """

    spec: ModelSpec
    sources: tuple[str, ...]
    warnings: tuple[Problem, ...]
    adapter: str | None = None
    drafts: tuple[str, ...] = ()


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
    for written in modelfile.instructions:
        if len(reader.problems) >= MAX_PROBLEMS:
            break
        reader.read(_meant(written))
    reader.end()
    odd = (each for each in modelfile.warnings if each.rule != "two-blanks")  # is a problem by now
    authored = Authored(
        spec=ModelSpec(
            parameters=reader.parameters,
            messages=tuple(reader.messages),
            licenses=tuple(reader.licenses),
            **{name: each.value for name, each in reader.texts.items()},
        ),
        sources=tuple(reader.sources),
        adapter=reader.adapter.value if reader.adapter else None,
        drafts=tuple(reader.drafts),
        warnings=tuple(sorted((*odd, *reader.warnings), key=lambda each: each.span)),
    )
    return authored, reader.problems


_ROLE_AND_TEXT = re.compile(rf"({'|'.join(ROLES)}): (.*)", re.DOTALL)
_VERSION = re.compile(
    r"v?(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?",
    re.ASCII,
)
"""As golang.org/x/mod/semver has it, with or without the v: `0.14` and `1` are versions too."""


def _meant(instruction: Instruction) -> Instruction:
    """The instruction that `PARAMETER model x` and its like are to Ollama; all others as they are."""
    keyword = (
        PARAMETER_INSTRUCTIONS.get(instruction.name or "") if instruction.keyword == "PARAMETER" else None
    )
    if keyword is None:
        return instruction
    if keyword != "MESSAGE":
        return replace(instruction, keyword=keyword, name=None)
    said = _ROLE_AND_TEXT.fullmatch(instruction.value)
    return replace(instruction, keyword=keyword, name=said[1], value=said[2]) if said else instruction


class _Reader:
    """Takes instructions one by one: later values replace earlier ones, or are added to them."""

    def __init__(self) -> None:
        self.sources: list[str] = []
        self.drafts: list[str] = []
        self.texts: dict[str, Instruction] = {}
        self.adapter: Instruction | None = None
        self.messages: list[Message] = []
        self.licenses: dict[str, None] = {}  # in order, each once
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._parameters: dict[str, tuple[Instruction, ParameterValue]] = {}
        self._stops: list[str] = []
        self._named: Instruction | None = None  # the last FROM that names a model

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        said = {name: value for name, (_, value) in self._parameters.items()}
        return {**said, "stop": tuple(self._stops)} if self._stops else said

    def read(self, instruction: Instruction) -> None:
        match instruction.keyword:
            case "FROM":
                self._read_from(instruction)
            case "DRAFT":
                self.drafts.append(instruction.value)
            case "ADAPTER":
                self._replaced(self.adapter, "ADAPTER")
                self.adapter = instruction
            case "PARAMETER":
                self._read_parameter(instruction)
            case "LICENSE":
                self.licenses.setdefault(instruction.value)
            case "MESSAGE":
                role = instruction.name or ""  # the grammar takes no message without one
                self.messages.append(Message(role=role, content=instruction.value))
            case keyword:
                self._read_text(keyword, instruction)

    def end(self) -> None:
        """What only the whole file can tell."""
        renderer, template = self.texts.get("renderer"), self.texts.get("template")
        if renderer is not None and renderer.value not in RENDERERS:
            instead = "TEMPLATE" if template is not None else "the model's own chat template"
            self._warn_unknown(renderer, RENDERERS, f"{instead} is used instead")
        elif renderer is not None and template is not None:
            message = f"RENDERER {renderer.value} writes the prompts, so this TEMPLATE is not used."
            self._warn(template, "unused-template", message, hint="Leave one of the two out.")
        parser = self.texts.get("parser")
        if parser is not None and parser.value not in PARSERS:
            instead = "what the engine makes of the model's template is used instead"
            self._warn_unknown(parser, PARSERS, instead)

    def _read_from(self, instruction: Instruction) -> None:
        self.sources.append(instruction.value)
        if not _names_a_model(instruction.value):
            return
        if self._named is not None:
            message = "Ollama takes only the last model that a FROM names; here each one is a variant."
            self._warn(instruction, "several-models", message, hint="Leave out all but one for Ollama.")
        self._named = instruction

    def _read_text(self, keyword: str, instruction: Instruction) -> None:
        """One of those texts of which the last counts."""
        if keyword == "TEMPLATE" and (wrong := _template_problem(instruction)) is not None:
            self.problems.append(wrong)
            return
        if keyword == "REQUIRES":
            if not _VERSION.fullmatch(instruction.value):
                message = f"{printable(instruction.value)!r} is no version."
                hint = "Write the oldest version of Ollama that runs the model, for example 0.14.0."
                self.problems.append(_about_value(instruction, rule="requires", message=message, hint=hint))
                return
            instruction = replace(instruction, value=instruction.value.removeprefix("v"))
        self._replaced(self.texts.get(keyword.lower()), keyword)
        self.texts[keyword.lower()] = instruction

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
            earlier = self._parameters.get(name)
            self._replaced(earlier[0] if earlier else None, f"PARAMETER {name}")
            self._parameters[name] = instruction, value
        elif text:
            self._stops.extend(value)
        else:
            self._warn(instruction, "empty-stop", "An empty stop sequence does nothing and was left out.")

    def _replaced(self, earlier: Instruction | None, what: str) -> None:
        if earlier is not None:
            self._warn(earlier, "replaced", f"A later {what} replaces this one.")

    def _warn(
        self, instruction: Instruction, rule: str, message: str, *, hint: str = "Remove the line."
    ) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(_about_name(instruction, rule=rule, message=message, hint=hint))

    def _warn_unknown(self, instruction: Instruction, known: Iterable[str], instead: str) -> None:
        what = instruction.keyword.lower()
        self.warnings.append(
            _about_value(
                instruction,
                rule=f"unknown-{what}",
                message=f"There is no built-in {what} {printable(instruction.value)!r}; {instead}.",
                hint=f"Built in are {', '.join(known)}.",
            )
        )


def is_path(text: str) -> bool:
    """Whether a text behind FROM is written like a path; another text may be a file's name all the same.

    Raises InvalidReference for what can be neither a path nor a name.
    """
    has_ending = text.lower().endswith((".gguf", ".safetensors", ".bin", "/"))
    try:
        source = parse(text).source
    except InvalidReference:
        if has_ending:
            return True
        raise
    return source is Source.FILE or (has_ending and source is not Source.HUGGINGFACE)  # where it selects one


def _names_a_model(text: str) -> bool:
    try:
        return bool(text) and not is_path(text)
    except InvalidReference:
        return False


def _template_problem(instruction: Instruction) -> Problem | None:
    try:
        parse_template(instruction.value)
    except TemplateError as error:
        hint = error.hint or "TEMPLATE is a template of Go's text/template, as Ollama reads it."
        return _about_value(instruction, rule="template", message=error.message, hint=hint)
    return None


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
        return _about_value(instruction, rule="parameter-value", message=error.message, hint=error.hint)
    keyword = PARAMETER_INSTRUCTIONS.get(name.lower(), "FROM" if name.lower() == "from" else None)
    if keyword is not None:
        message = f"{printable(name)} is no parameter but an instruction of its own."
        hint = f"Write {keyword} instead of PARAMETER {printable(name)}."
        return _about_name(instruction, rule="unknown-parameter", message=message, hint=hint)
    nearby = nearest(name.lower(), PARAMETERS)
    known = None if nearby else error.hint
    return _about_name(
        instruction, rule="unknown-parameter", message=error.message, hint=known, suggestion=nearby
    )


def _about_value(instruction: Instruction, *, rule: str, message: str, hint: str | None) -> Problem:
    return Problem(
        rule=rule,
        message=message,
        line=instruction.line,
        column=instruction.value_column,
        span=instruction.value_span,
        hint=hint,
    )


def _about_name(
    instruction: Instruction, *, rule: str, message: str, hint: str | None, suggestion: str | None = None
) -> Problem:
    """About PARAMETER's name or MESSAGE's role, and of all others about the keyword."""
    start = instruction.span[0]
    return Problem(
        rule=rule,
        message=message,
        line=instruction.line,
        column=instruction.name_column,
        span=instruction.name_span or (start, start + len(instruction.keyword)),
        suggestion=suggestion,
        hint=hint,
    )
