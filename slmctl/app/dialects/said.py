"""What an author said, by the words of a Modelfile: for sentences about what a format has no place for."""

from __future__ import annotations

from modelfiles.spec import ModelSpec


def said_in(spec: ModelSpec) -> tuple[str, ...]:
    """The instructions that a spec holds, each once; parameters by their names."""
    words = {
        "TEMPLATE": spec.template,
        "SYSTEM": spec.system,
        "MESSAGE": spec.messages or None,
        "LICENSE": spec.licenses or None,
        "REQUIRES": spec.requires,
        "RENDERER": spec.renderer,
        "PARSER": spec.parser,
    }
    return (
        *(word for word, value in words.items() if value is not None),
        *(f"PARAMETER {name}" for name in spec.parameters),
    )
