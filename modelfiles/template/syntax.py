"""Which language a template is written in, from its text."""

from __future__ import annotations

import re
from typing import Literal

Syntax = Literal["go", "jinja"]

# a name that is called, indexed, filtered or printed; Go's words come first, and are looked for first
_JINJA = re.compile(r"\{#|\{\{-?\s*[a-z_]\w*\s*(?:[|.\[(+~]|-?\}\})")
_GO = re.compile(r"\{\{-?\s*(?:[.$]|/\*|(?:range|if|with|end|else|define|template|block|break|continue)\b)")


def syntax_of(template: str) -> Syntax | None:
    """ "jinja" for a text with Jinja's statements or names, "go" for one with Go's; None for plain text."""
    if "{%" in template:
        return "jinja"
    if _GO.search(template):
        return "go"
    return "jinja" if _JINJA.search(template) else None
