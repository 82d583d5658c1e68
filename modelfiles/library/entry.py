"""An entry of the library: what family.toml, about.toml and the Modelfile of a model say together.

    source = "# " format ":" text with an address *("#" text)     ; directly above each FROM
    format = "gguf" | "mlx" | "onnx" | "safetensors"

The text says where the reference was read and what stands there. A FROM without it is refused: nobody could
check it. about.toml adds to family.toml and overrides it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from modelfiles.syntax import Comment, Instruction, Modelfile, parse
from registry.errors import InvalidReference, MalformedFile
from registry.names import ModelRef, Source, parse_name

FORMATS = ("gguf", "mlx", "onnx", "safetensors")
KINDS = ("base", "instruct", "embedding")
TASKS = ("chat", "code", "embedding", "reasoning", "summarization", "tools", "translation", "vision")

LICENSES: Mapping[str, str] = MappingProxyType(
    {
        "Apache-2.0": "https://spdx.org/licenses/Apache-2.0.html",
        "MIT": "https://spdx.org/licenses/MIT.html",
        "gemma": "https://ai.google.dev/gemma/terms",
        "llama3": "https://llama.meta.com/llama3/license",
        "llama3.1": "https://github.com/meta-llama/llama-models/blob/main/models/llama3_1/LICENSE",
        "llama3.2": "https://github.com/meta-llama/llama-models/blob/main/models/llama3_2/LICENSE",
    }
)
"""By SPDX's identifier, or the name that the licence has on Hugging Face; and where each can be read."""

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "ar": "Arabic",
        "cs": "Czech",
        "da": "Danish",
        "de": "German",
        "en": "English",
        "es": "Spanish",
        "fi": "Finnish",
        "fr": "French",
        "he": "Hebrew",
        "hi": "Hindi",
        "hu": "Hungarian",
        "it": "Italian",
        "ja": "Japanese",
        "ko": "Korean",
        "mul": "many languages",
        "nl": "Dutch",
        "no": "Norwegian",
        "pl": "Polish",
        "pt": "Portuguese",
        "ru": "Russian",
        "sv": "Swedish",
        "th": "Thai",
        "tr": "Turkish",
        "uk": "Ukrainian",
        "zh": "Chinese",
    }
)
"""By ISO 639-1's code; `mul` is ISO 639-2's, for models whose makers name no list."""

CLASSES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "micro": (100_000_000, 1_450_000_000),
        "small": (1_450_000_000, 13_950_000_000),
        "medium": (13_950_000_000, 31_000_000_000),
    }
)
"""Parameters from and below which a model belongs to a class: 100M to 1.4B, 1.5B to 13.9B, 14B to 30B, where
each figure stands for all that is rounded to it (a "30B" has 30.5 billion)."""

MAX_SUMMARY = 76
"""Characters of a summary: a line of a terminal, indented."""

_FIELDS = frozenset(
    {"title", "maker", "license", "kind", "tasks", "languages", "summary", "chat_format", "sources"}
)
_OR = " or ".join(f"{name}:" for name in FORMATS)
_BUILD = re.compile(rf"# ({'|'.join(FORMATS)}):\s(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One alternative: what FROM names, its format, and where that was read."""

    reference: ModelRef
    format: str
    read_in: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryEntry:
    """A model of the library, without its facts. `default` says that the bare family means this one.

    `chat_format` is the name of a known chat format, None where the model has none or one of its own;
    `sources` say where all this was read.
    """

    family: str
    tag: str
    default: bool
    title: str
    maker: str
    license: str
    kind: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    summary: str
    chat_format: str | None
    sources: tuple[str, ...]
    builds: tuple[Build, ...]

    @property
    def name(self) -> str:
        return f"{self.family}:{self.tag}"

    @property
    def license_url(self) -> str:
        return LICENSES[self.license]

    @property
    def ships(self) -> bool:
        """Whether the model comes with slmctl, so that nothing has to be fetched."""
        return all(build.reference.source is Source.BARE for build in self.builds)

    def says(self, word: str) -> bool:
        """Whether `word` begins a word, or a number, of what the entry says, in any case."""
        languages = (LANGUAGES[code] for code in self.languages)
        texts = (self.name, self.title, self.maker, self.kind, self.summary, *self.tasks, *languages)
        word = word.lower()
        return word in self.languages or any(_begins_a_word(word, text.lower()) for text in texts)


def size_class(parameters: int | None) -> str | None:
    """The class of a model with so many parameters; None for one outside of all, or an unknown number."""
    if parameters is None:
        return None
    return next((name for name, (low, high) in CLASSES.items() if low <= parameters < high), None)


def parse_entry(family: str, tag: str, *, family_text: str, about: str, modelfile: str) -> LibraryEntry:
    """An entry from the texts of its three files.

    Raises MalformedFile for a field that is missing, unknown or not of its vocabulary, and ModelfileError for
    a Modelfile that is none.
    """
    where = f"{family}/{tag}/about.toml"
    fields = _table(family_text, f"{family}/family.toml") | _table(about, where)
    default = _text(f"{family}/family.toml", "default", fields)
    del fields["default"]
    if unknown := fields.keys() - _FIELDS:
        _refuse(where, min(unknown), "is no field of an entry")
    entry = LibraryEntry(
        family=family,
        tag=tag,
        default=tag == default,
        title=_text(where, "title", fields),
        maker=_text(where, "maker", fields),
        license=_text(where, "license", fields),
        kind=_text(where, "kind", fields),
        tasks=_list(where, "tasks", fields),
        languages=_list(where, "languages", fields),
        summary=_text(where, "summary", fields),
        chat_format=_text(where, "chat_format", fields) if "chat_format" in fields else None,
        sources=_list(where, "sources", fields),
        builds=_builds(parse(modelfile, filename=f"{family}/{tag}/Modelfile")),
    )
    _check(where, "license", (entry.license,), LICENSES)
    _check(where, "kind", (entry.kind,), KINDS)
    _check(where, "tasks", entry.tasks, TASKS)
    _check(where, "languages", entry.languages, LANGUAGES)
    if len(entry.summary) > MAX_SUMMARY:
        _refuse(where, "summary", f"is longer than {MAX_SUMMARY} characters")
    return entry


def _builds(modelfile: Modelfile) -> tuple[Build, ...]:
    builds: list[Build] = []
    above: Comment | Instruction | None = None
    for node in modelfile.nodes:
        if isinstance(node, Instruction) and node.keyword == "FROM":
            builds.append(_build(modelfile.filename, node, above))
        above = node
    return tuple(builds)


def _build(filename: str, instruction: Instruction, above: Comment | Instruction | None) -> Build:
    block = ""
    if isinstance(above, Comment) and above.line + above.text.count("\n") == instruction.line - 1:
        block = above.text.rpartition("\n\n")[2]
    match = _BUILD.fullmatch(block)
    if match is None:
        _refuse(filename, f"line {instruction.line}", f"has no comment above it that begins with {_OR}")
    try:
        reference = parse_name(instruction.value)
    except InvalidReference as error:
        _refuse(filename, f"line {instruction.line}", f"names no model: {error.message}")
    read_in = " ".join(line.lstrip("# ") for line in match[2].splitlines()).strip()
    if reference.source is not Source.BARE and "https://" not in read_in:
        _refuse(filename, f"line {instruction.line}", "does not say at which address the reference was read")
    return Build(reference=reference, format=match[1], read_in=read_in)


def _begins_a_word(word: str, text: str) -> bool:
    start = text.find(word)
    while start >= 0:
        before, first = text[start - 1 : start], word[:1]
        if not (before.isalpha() and first.isalpha()) and not (before.isdigit() and first.isdigit()):
            return True
        start = text.find(word, start + 1)
    return False


def _table(text: str, where: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MalformedFile(f"{where} is not valid TOML: {error}.") from None


def _text(where: str, name: str, fields: Mapping[str, object]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        _refuse(where, name, "must be text")
    return value


def _list(where: str, name: str, fields: Mapping[str, object]) -> tuple[str, ...]:
    value = fields.get(name)
    items = tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
    if not isinstance(value, list) or not items or len(items) != len(value):
        _refuse(where, name, "must be a list of texts")
    return items


def _check(
    where: str, name: str, values: tuple[str, ...], known: Mapping[str, object] | tuple[str, ...]
) -> None:
    if strange := [value for value in values if value not in known]:
        _refuse(where, name, f"has {strange[0]!r:.60}, which is none of {', '.join(known)}")


def _refuse(where: str, what: str, why: str) -> NoReturn:
    raise MalformedFile(f"{where}: {what} {why}.")
