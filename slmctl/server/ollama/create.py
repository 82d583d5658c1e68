"""POST /api/create"""

from __future__ import annotations

import re
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response

from modelfiles.builtin import PARSERS, RENDERERS
from modelfiles.spec import Message, ModelSpec
from modelfiles.template.errors import TemplateError
from modelfiles.template.ollama import parse_template
from modelfiles.words import ROLES
from registry.digest import Digest
from registry.errors import BadContent, NameTaken, UsageError
from registry.names import ModelRef, parse_name
from slmctl.app.clock import now
from slmctl.app.create import Created, CreateRequest
from slmctl.app.create import create as create_model
from slmctl.app.events import Note, OnEvent
from slmctl.app.finding import find_package
from slmctl.app.package import Package
from slmctl.server.call import Call
from slmctl.server.ollama.fields import Fields, model_name, options_of
from slmctl.server.ollama.names import is_here, new_name
from slmctl.server.ollama.transfers import (
    FORCE_HINT,
    Line,
    finished,
    progress,
    progress_answer,
    pullable,
    pulled,
)
from slmctl.server.state import ServerState

_FILE_NAME = re.compile(r"\w[\w .+=,@()-]{0,254}")
_REQUIRES = re.compile(r"v?\d+(\.\d+){0,2}(-[\w.-]+)?(\+[\w.-]+)?", re.ASCII)

Files = Mapping[str, Digest]
"""Blobs in the store by the names of the files that they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    name: ModelRef
    base: ModelRef | None
    pulls: ModelRef | None
    files: Files
    adapters: Files
    drafts: Files
    spec: ModelSpec
    force: bool


async def create(call: Call) -> Response:
    """Make a model of another, which is pulled if it is not here, or of files that were uploaded."""
    fields = Fields(await call.json())
    asked = _asked(call, fields)
    pulls = f", and pulls {str(asked.pulls)!r:.120} for it" if asked.pulls is not None else ""
    call.state.log.note(call, f"Creates {asked.name.full_name!r:.120}{pulls}.")
    before = [] if asked.pulls is None else [pulled(call.state, asked.pulls)]
    lines = finished(*before, _lines(call.state, asked))
    return await progress_answer(call, lines, stream=fields.flag("stream", default=True))


def _asked(call: Call, fields: Fields) -> _Asked:
    name = new_name(model_name(fields))
    _refuse(fields)
    base = fields.text("from")
    files = _files(fields, "files")
    if not base and not files:
        if fields.value("files") is not None:
            raise UsageError("no files provided to convert")
        raise UsageError("neither 'from' or 'files' was specified")
    adapters = _files(fields, "adapters")
    if len(adapters) > 1:
        raise UsageError("only one adapter is currently supported")
    return _Asked(
        name=name,
        base=_base(base) if base else None,
        pulls=pullable(base) if base and not is_here(call.state, base) else None,
        files={} if base else files,
        adapters=adapters,
        drafts=_files(fields, "draft_files"),
        spec=_spec(call, fields),
        force=fields.flag("force"),
    )


def _refuse(fields: Fields) -> None:
    """What is known and cannot be done."""
    for field in ("quantize", "quantization", "draft_quantize"):
        if fields.text(field):
            raise UsageError(
                "slmctl serve does not quantize models yet.",
                hint="'slmctl quantize' does, on the server's machine; or upload a quantized file.",
            )
    for field in ("remote_host", "modelfile", "path"):
        if fields.text(field):
            raise UsageError(
                f"{field} is not supported.", hint="Say 'from' or 'files', and what is to be added."
            )


def _base(text: str) -> ModelRef:
    """The model that another is made from. Never a path: what lies on the server's disk is not the client's.

    Raises InvalidReference.
    """
    return parse_name(text)


def _files(fields: Fields, name: str) -> Files:
    """Raises UsageError for names and digests that are none."""
    found = {}
    for file, digest in fields.mapping(name).items():
        path = Path(file)
        if path.is_absolute() or ".." in path.parts or "\0" in file:
            raise UsageError("file path must be relative")
        if not _FILE_NAME.fullmatch(path.name):
            raise UsageError(f"invalid file name {path.name!r:.100}")
        if path.suffix in (".safetensors", ".bin", ".pth"):
            raise UsageError(
                "slmctl serve does not convert models yet.",
                hint="'slmctl create' does, on the server's machine; or upload a GGUF file of it.",
            )
        try:
            found[file] = Digest.parse(str(digest))
        except BadContent:
            raise UsageError(f'invalid digest format "{digest!s:.100}"') from None
    return found


def _spec(call: Call, fields: Fields) -> ModelSpec:
    """What the author says. Raises UsageError in Ollama's words where it has some."""
    template = fields.text("template") or None
    if template is not None:
        try:
            parse_template(template)
        except TemplateError as error:
            raise UsageError(f"template error: {error.message}") from None
    requires = fields.text("requires") or None
    if requires is not None and not _REQUIRES.fullmatch(requires):
        raise UsageError("requires must be a valid semver (e.g. 0.14.0)")
    unknown: list[str] = []
    given = dict(fields.mapping("parameters"))
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    parameters = options_of(given, unknown.append)
    if unknown:
        raise UsageError(f"unknown parameter '{unknown[0]:.60}'")
    renderer, parser = fields.text("renderer") or None, fields.text("parser") or None
    for text, known, what in ((renderer, RENDERERS, "renderer"), (parser, PARSERS, "parser")):
        if text is not None and text not in known:
            call.state.log.note(call, f"The {what} {text!r:.60} is not known here and changes nothing.")
    return ModelSpec(
        parameters=parameters,
        system=fields.text("system") or None,
        template=template,
        messages=tuple(_message(each) for each in fields.mappings("messages")),
        licenses=_licenses(fields),
        requires=requires.removeprefix("v") if requires else None,
        renderer=renderer,
        parser=parser,
    )


def _message(message: Fields) -> Message:
    role = message.text("role").lower()
    if role not in ROLES:
        raise UsageError('message role must be one of "system", "user", or "assistant"')
    return Message(role=role, content=message.text("content"))


def _licenses(fields: Fields) -> tuple[str, ...]:
    value = fields.value("license")
    if isinstance(value, str):
        return (value,) if value else ()
    return fields.texts("license")


def _lines(state: ServerState, asked: _Asked) -> AsyncGenerator[Line]:
    return progress(
        lambda on_event: _create(state, asked, on_event),
        begins="parsing GGUF" if asked.files else "reading model metadata",
        verb="creating",
        ends=("writing manifest",),
    )


def _create(state: ServerState, asked: _Asked, on_event: OnEvent) -> Created:
    store = state.store
    for digest in (*asked.files.values(), *asked.adapters.values(), *asked.drafts.values()):
        if not store.has(digest):
            raise UsageError(f"there is no blob {digest}: upload it first")
    with tempfile.TemporaryDirectory(prefix="slmctl-create-") as folder:
        links = _Links(state, Path(folder))
        files = [links.add(name, digest) for name, digest in asked.files.items()]
        adapters = [links.add(name, digest) for name, digest in asked.adapters.items()]
        drafts = [links.add(name, digest) for name, digest in asked.drafts.items()]
        request = CreateRequest(
            name=asked.name,
            bases=[asked.base] if asked.base is not None else [str(path) for path in files],
            folder=Path(folder),
            spec=asked.spec,
            adapter=str(adapters[0]) if adapters else None,
            drafts=[str(path) for path in drafts],
            force=asked.force,
            stored=links.stored,
        )
        known = _known(state, asked)
        further = state.reader if state.settings.stores else None
        try:
            created = create_model(store, request, now=now(), on_event=on_event, reader=further)
        except NameTaken as error:
            raise NameTaken(error.message, hint=FORCE_HINT) from None
    state.uploads.named(store, links.stored.values())
    for variant in Package.of(store, created.entry).variants:
        for file in variant.files:
            what = "using existing" if file.digest in known else "creating new"
            on_event(Note(text=f"{what} layer {file.digest}"))
    return created


def _known(state: ServerState, asked: _Asked) -> set[Digest]:
    """The blobs that the new model has from what was here."""
    known = {*asked.files.values(), *asked.adapters.values(), *asked.drafts.values()}
    if asked.base is not None:
        package = find_package(state.reader, asked.base)
        known |= {file.digest for variant in package.variants for file in variant.files}
    return known


class _Links:
    """Links to blobs under the names that their files had, by which the parts of a set find each other."""

    def __init__(self, state: ServerState, folder: Path) -> None:
        self._store = state.store
        self._folder = folder
        self.stored: dict[Path, Digest] = {}

    def add(self, name: str, digest: Digest) -> Path:
        """Raises UsageError for two files of one name."""
        path = self._folder / Path(name).name
        if path in self.stored:
            if self.stored[path] == digest:
                return path
            raise UsageError(f"two files are called {path.name!r:.100}")
        path.symlink_to(self._store.layout.blob(digest).absolute())
        self.stored[path] = digest
        return path
