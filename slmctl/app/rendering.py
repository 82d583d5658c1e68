"""What a model will see of a conversation: the exact prompt that its template makes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from modelfiles.builtin import known_renderer
from modelfiles.template.syntax import Syntax, syntax_of
from registry.errors import NotFound, UsageError
from registry.formats.gguf import read_header
from registry.store.reader import StoreReader
from runtimes.protocol import Think
from slmctl.app import engine_inputs
from slmctl.app.formats import jinja_format
from slmctl.app.own_template import packaged_template
from slmctl.app.package import Package, Variant, check_unpacked
from slmctl.app.prompt import render_outside
from slmctl.app.questions import Messages, opened

_TOKENS = "tokenizer.ggml.tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template's text, its language, and the texts of the tokens that begin and end a text, where known."""

    text: str
    syntax: Syntax
    bos_token: str | None = None
    eos_token: str | None = None


def template_from_text(text: str, syntax: Syntax | None = None) -> Template:
    """Raises UsageError when `syntax` is not given and cannot be seen."""
    found = syntax or syntax_of(text)
    if found is None:
        raise UsageError(
            "The template has nothing of Go's or Jinja's in it.", hint="Say with --syntax which one it is."
        )
    return Template(text=text, syntax=found)


def template_of(store: StoreReader, package: Package, variant: Variant) -> Template:
    """What RENDERER names, else TEMPLATE, else the file's chat template. Raises NotFound without one."""
    check_unpacked(package, variant)
    text, syntax = template_text(store, package, variant)
    if syntax == "go":
        return Template(text=text, syntax=syntax)
    with store.open_file(variant.weights[0].descriptor) as stream:
        metadata = read_header(stream).metadata
        bos, eos = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos"))
        texts = _token_texts(stream.fileno(), [number for number in (bos, eos) if isinstance(number, int)])
    return Template(
        text=text,
        syntax=syntax,
        bos_token=texts.get(bos) if isinstance(bos, int) else None,
        eos_token=texts.get(eos) if isinstance(eos, int) else None,
    )


def template_text(store: StoreReader, package: Package, variant: Variant) -> tuple[str, Syntax]:
    """The template's text and language alone. Raises NotFound without one."""
    renderer = known_renderer(variant.spec.renderer)
    if renderer is not None:
        return jinja_format(renderer), "jinja"
    if variant.spec.template is not None:
        return variant.spec.template, "go"
    if (own := packaged_template(store, variant)) is not None:
        return own, "jinja"
    if not variant.weights:
        raise NotFound(f"The variant {variant.id} has no weights.")
    with store.open_blob(variant.weights[0].descriptor) as stream:
        text = read_header(stream).chat_template
    if text is None:
        raise NotFound(f"{package.name} has no chat template.", hint="A Modelfile's TEMPLATE gives it one.")
    return text, "jinja"


def render(
    template: Template,
    messages: Messages,
    *,
    tools: Sequence[Mapping[str, object]] = (),
    think: Think | None = None,
    environment: Mapping[str, str],
) -> str:
    """The prompt, with the place for an answer at its end, or with an answer that has begun.

    Raises TemplateError.
    """
    now = datetime.now().astimezone()

    def rendered(messages: Messages, variables: Mapping[str, object]) -> str:
        return render_outside(
            template.text,
            messages,
            syntax=template.syntax,
            tools=tools,
            add_generation_prompt=not messages or messages[-1].get("role") != "assistant",
            now=now,
            bos_token=template.bos_token,
            eos_token=template.eos_token,
            variables=variables,
            environment=environment,
        )

    if template.syntax == "go":
        return rendered(messages, {"think": think})
    return engine_inputs.prompt(template.text, messages, think=think, now=now, render=rendered)


def as_run_would(variant: Variant, messages: Messages, system: str | None) -> Messages:
    """The messages behind the system message (theirs, else the package's) and the opening, as in `run`."""
    return opened(variant.spec, messages, system)


def messages_from_json(data: bytes, what: str) -> list[Mapping[str, object]]:
    """A list of objects, bare or under the key `what`. Raises UsageError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The {what} are not valid JSON: {error}.") from None
    if isinstance(value, dict):
        value = value.get(what)
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UsageError(f"The {what} are no JSON list of objects.")
    if what == "messages" and not all(isinstance(each.get("role"), str) for each in value):
        raise UsageError("A message has no role.", hint='A message is {"role": "user", "content": "Hi"}.')
    return value


def _token_texts(fd: int, numbers: Sequence[int]) -> dict[int, str]:
    """The texts of some tokens of the checked GGUF that `fd` is open for."""
    import gguf  # takes a while, and only this needs it

    from runtimes.launch import fd_path

    field = gguf.GGUFReader(fd_path(fd)).fields.get(_TOKENS)
    if field is None:
        return {}
    found = {}
    for number in numbers:
        if 0 <= number < len(field.data):
            found[number] = bytes(field.parts[field.data[number]]).decode("utf-8", errors="replace")
    return found
