"""What a model can, in Ollama's words, from what its author said and what its files say.

"completion" (and chat), "embedding" or "rerank"; beside completion "tools" and "thinking" where the chat
template knows them, "insert" where TEMPLATE reads .Suffix or the tokenizer has the tokens for it, and
"vision" with a projector.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from modelfiles.builtin import PARSERS
from modelfiles.spec import ModelSpec
from modelfiles.template.errors import TemplateError
from modelfiles.template.ollama import parse_template
from registry.digest import Digest
from registry.errors import BadContent, NotFound
from registry.formats.gguf import GgufHeader, read_header
from registry.store.reader import StoreReader
from slmctl.app.own_template import packaged_template
from slmctl.app.package import Variant
from slmctl.app.questions import Manner

RANK_POOLING = 4
"""llama.cpp's LLAMA_POOLING_TYPE_RANK."""

NO_POOLING = 0

_FILL_IN_TOKENS = ("fim_pre_token_id", "prefix_token_id"), ("fim_suf_token_id", "suffix_token_id")
_JINJA_TOOLS = re.compile(r"\b(?:tools|custom_tools|builtin_tools|available_tools)\b")
_JINJA_THINKING = re.compile(
    r"\b(?:enable_thinking|reasoning_content|reasoning_effort|thinking)\b|<think>|<\|channel\|>"
)


@dataclass(frozen=True, slots=True)
class HeaderSays:
    """What of a model file's header counts here. `pooling` is llama.cpp's number, None where it has none."""

    chat_template: str | None = None
    pooling: int | None = None
    fills_in: bool = False

    @classmethod
    def of(cls, header: GgufHeader) -> HeaderSays:
        known = [name.removeprefix("tokenizer.ggml.") for name in header.metadata]
        pooling = header.metadata.get(f"{header.architecture}.pooling_type")
        return cls(
            header.chat_template,
            pooling if type(pooling) is int else None,
            all(any(name in known for name in names) for names in _FILL_IN_TOKENS),
        )


def capabilities(spec: ModelSpec, header: HeaderSays, *, has_projector: bool = False) -> frozenset[str]:
    """Of "completion", "tools", "thinking", "vision", "insert", "embedding", "rerank"."""
    if header.pooling == RANK_POOLING:
        return frozenset({"rerank"})
    if header.pooling not in (None, NO_POOLING):
        return frozenset({"embedding"})
    found = {"completion"}
    manner = Manner.of(spec, header.chat_template, header.chat_template is not None)
    if manner.go_template is not None:
        found |= _go_capabilities(manner.go_template)
    elif manner.chat_template is not None:
        if _JINJA_TOOLS.search(manner.chat_template):
            found.add("tools")
        if _JINJA_THINKING.search(manner.chat_template):
            found.add("thinking")
    if PARSERS.get(spec.parser or "") is not None:
        found.add("thinking")
    if header.fills_in:
        found.add("insert")
    if has_projector:
        found.add("vision")
    return frozenset(found)


def capabilities_of(store: StoreReader, variant: Variant) -> frozenset[str]:
    """What a variant in the store can. Of one whose weights are not here, what its facts and spec say."""
    says = HeaderSays(pooling=variant.facts.pooling if variant.facts is not None else None)
    try:
        own = packaged_template(store, variant)
        if variant.weights and variant.packed is None:
            says = _header_says(store, variant)
    except (BadContent, NotFound):
        own = None
    if own is not None:
        says = HeaderSays(own, says.pooling, says.fills_in)
    return capabilities(variant.spec, says, has_projector=bool(variant.of_role("projector")))


def _header_says(store: StoreReader, variant: Variant) -> HeaderSays:
    descriptor = variant.weights[0].descriptor
    if (known := _KNOWN.get(descriptor.digest)) is None:
        with store.open_blob(descriptor) as stream:
            known = HeaderSays.of(read_header(stream))
        while len(_KNOWN) >= _MOST_KNOWN:
            _KNOWN.pop(next(iter(_KNOWN)), None)
        _KNOWN[descriptor.digest] = known
    return known


_MOST_KNOWN = 256
_KNOWN: dict[Digest, HeaderSays] = {}
"""Headers that were read, by the digest of the file: what a digest names does not change."""


@functools.lru_cache(maxsize=64)
def _go_capabilities(template: str) -> frozenset[str]:
    try:
        variables = parse_template(template).variables
    except TemplateError:
        return frozenset()
    names = {"tools": "tools", "thinking": "thinking", "think": "thinking", "suffix": "insert"}
    return frozenset(names[each] for each in variables & names.keys())
