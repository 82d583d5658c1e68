"""What the files of a package are called. A name from outside is checked before it becomes a path."""

from __future__ import annotations

from pathlib import PurePosixPath

from registry.errors import MalformedFile

_LONGEST = 1024


def checked_path(text: str) -> str:
    """A relative path of a file in a package, without tricks; raises MalformedFile."""
    path = PurePosixPath(text)
    tricky = any(
        part in {"..", "."} or "\\" in part or ":" in part or not part.isprintable() for part in path.parts
    )
    if not path.parts or tricky or path.is_absolute() or str(path) != text or len(text) > _LONGEST:
        raise MalformedFile(f"The model names a file {text!r:.80}, which is not a safe relative path.")
    return text


def file_path(role: str, number: int, count: int) -> str:
    """The name of file `number` (from 0) of the `count` that have a role. It says nothing of what the user's
    was called, and llama.cpp finds the parts of a sharded set by this pattern."""
    stem = "model" if role == "weights" else role
    if role == "spec":
        return f"spec/{number}"
    return f"{stem}.gguf" if count == 1 else f"{stem}-{number + 1:05}-of-{count:05}.gguf"
