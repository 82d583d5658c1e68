"""Chat templates, as they are: nothing here renders one.

Source: Transformers keeps one in chat_template.jinja and others in additional_chat_templates/ (since 4.51),
in chat_template.json (processors), or in tokenizer_config.json, as a text or as a list of names and texts;
a file wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from gguf import Keys

from runtimes.convert.files import SourceFiles
from runtimes.convert.keys import text, texts
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.tokens import require_text

_FILE = "chat_template.jinja"
_JSON = "chat_template.json"
_OTHERS = "additional_chat_templates"
_DEFAULT = "default"
_STRANGE = re.compile("[^A-Za-z0-9]")
_MAX_BYTES = 1 << 20


def template_keys(files: SourceFiles, declared: object) -> list[Key]:
    """The keys; `declared` is the `chat_template` of tokenizer_config.json. Raises MalformedFile."""
    found = _from_files(files) or _listed(declared)
    named = {name: template for name, template in found.items() if name != _DEFAULT}
    for name, template in found.items():
        require_text(template, f"The chat template {name}")
    keys = [text(Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), named[name]) for name in named]
    if named:
        keys.append(texts(Keys.Tokenizer.CHAT_TEMPLATES, sorted(named)))
    if _DEFAULT in found:
        keys.append(text(Keys.Tokenizer.CHAT_TEMPLATE, found[_DEFAULT]))
    return keys


def _from_files(files: SourceFiles) -> Mapping[str, str]:
    if _FILE not in files:
        return _listed(files.optional_json(_JSON, _MAX_BYTES).get("chat_template"))
    found = {_DEFAULT: files.text(_FILE, _MAX_BYTES)}
    for name in files.paths:
        path = PurePosixPath(name)
        if str(path.parent) == _OTHERS and path.suffix == ".jinja":
            found[_STRANGE.sub("_", path.stem)] = files.text(name, _MAX_BYTES)
    return found


def _listed(declared: object) -> Mapping[str, str]:
    """Templates by name, of either way to write them; what is no template is left out."""
    if isinstance(declared, str):
        return {_DEFAULT: declared}
    found = {}
    for item in declared if isinstance(declared, list) else ():
        name, template = (item.get("name"), item.get("template")) if isinstance(item, dict) else (None, None)
        if isinstance(name, str) and name and isinstance(template, str):
            found[_STRANGE.sub("_", name)] = template
    return found
