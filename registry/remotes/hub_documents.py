"""What the Hugging Face Hub says about a repository: its JSON, read into values.

Source: the Hub's API documentation and huggingface_hub's hf_api.py: `/api/models/ID/revision/REV?blobs=true`
gives `siblings` with `rfilename`, `size`, `blobId` and `lfs.sha256`; `/api/models/ID/tree/REV?recursive=true`
gives a list, in pages, of entries with `path`, `size`, `oid` and `lfs.oid`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import BadContent, MalformedFile
from registry.formats.quote import quoted
from registry.remotes.base import HubFile

MAX_DOCUMENT_BYTES = 32 << 20
MAX_FILES = 100_000

_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_MAX_SIZE = 2**63 - 1
_MAX_LINK = 8192
_NEXT = re.compile(r'<([^<>\s]{1,4096})>\s*;(?:[^,"]|"[^"]*")*\brel="?next"?', re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A repository at a commit. `files` is None where the answer does not say sizes and hashes of all.

    `id` is what the repository is called now, None where the answer does not say.
    """

    commit: str
    id: str | None
    files: tuple[HubFile, ...] | None


def read_revision(raw: bytes) -> Revision:
    """Read what a revision is. Raises MalformedFile."""
    document = _object(_json(raw), "what the hub says of the repository")
    commit, name = document.get("sha"), document.get("id")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise MalformedFile(f"The hub gives {quoted(commit)} for the repository's commit.")
    siblings = document.get("siblings")
    files: tuple[HubFile, ...] | None = None
    if isinstance(siblings, list) and all(map(_is_described, siblings)):
        files = checked_files(_sibling(_object(each, "a file")) for each in siblings)
    known = isinstance(name, str) and _ID.fullmatch(name)
    return Revision(commit=commit, id=str(name) if known else None, files=files)


def read_tree(raw: bytes) -> list[HubFile]:
    """Read one page of a tree; folders are passed over. Raises MalformedFile."""
    page = _json(raw)
    if not isinstance(page, list) or len(page) > MAX_FILES:
        raise MalformedFile("The hub's list of files is not a list.")
    entries = [_object(each, "a file") for each in page]
    return [_tree_entry(entry) for entry in entries if entry.get("type") != "directory"]


def read_refs(raw: bytes) -> list[str]:
    """The names of the branches and the tags, in the hub's order. Raises MalformedFile."""
    document = _object(_json(raw), "the hub's list of branches and tags")
    names = []
    for kind in ("branches", "tags"):
        entries = document.get(kind)
        for entry in entries if isinstance(entries, list) else []:
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name.isprintable() and 0 < len(name) <= 255:
                names.append(name)
    return names[:MAX_FILES]


def next_page(link: str) -> str | None:
    """The address of the next page in a Link header (RFC 8288); None for the last."""
    found = _NEXT.search(link[:_MAX_LINK])
    return found[1] if found else None


def checked_files(files: Iterable[HubFile]) -> tuple[HubFile, ...]:
    """The files by path, without those whose path is none that a package may have: they are never asked for.

    Raises MalformedFile for too many, and for two of one path.
    """
    found: dict[str, HubFile] = {}
    for count, file in enumerate(files):
        if count >= MAX_FILES:
            raise MalformedFile(f"The repository has more than {MAX_FILES} files.")
        if not is_safe_path(file.path):
            continue
        if file.path in found:
            raise MalformedFile(f"The hub lists the file {quoted(file.path)} twice.")
        found[file.path] = file
    return tuple(found[path] for path in sorted(found))


def is_safe_path(path: str) -> bool:
    """Whether a path is relative, stays in its folder, and is written in one way only."""
    parts = path.split("/")
    return 0 < len(path) <= 1024 and all(
        part not in {"", ".", ".."} and len(part.encode("utf-8", "surrogatepass")) <= 255 and _is_plain(part)
        for part in parts
    )


def _is_plain(part: str) -> bool:
    return part.isprintable() and "\\" not in part and ":" not in part


def _is_described(sibling: object) -> bool:
    if not isinstance(sibling, dict):
        return True  # and refused
    return sibling.get("size") is not None and (sibling.get("blobId") or sibling.get("lfs")) is not None


def _sibling(entry: dict[str, object]) -> HubFile:
    return _file(entry.get("rfilename"), entry.get("size"), entry.get("blobId"), entry.get("lfs"), "sha256")


def _tree_entry(entry: dict[str, object]) -> HubFile:
    return _file(entry.get("path"), entry.get("size"), entry.get("oid"), entry.get("lfs"), "oid")


def _file(path: object, size: object, oid: object, lfs: object, key: str) -> HubFile:
    if not isinstance(path, str):
        raise MalformedFile(f"The hub lists a file called {quoted(path)}.")
    if lfs is not None:
        pointer = _object(lfs, "a large file")
        text = pointer.get(key)
        try:
            digest = Digest.parse(text) if str(text).startswith("sha256:") else Digest(str(text))
        except BadContent:
            raise MalformedFile(f"The hub gives {quoted(text)} for the sha256 of {quoted(path)}.") from None
        return HubFile(path=path, size=_size(pointer.get("size"), path), sha256=digest, git_sha1=None)
    if not isinstance(oid, str) or not _COMMIT.fullmatch(oid):
        raise MalformedFile(f"The hub gives {quoted(oid)} for the git object of {quoted(path)}.")
    return HubFile(path=path, size=_size(size, path), sha256=None, git_sha1=oid)


def _size(value: object, path: str) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise MalformedFile(f"The hub gives {quoted(value)} for the size of {quoted(path)}.")
    return value


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise MalformedFile(f"Of {what} the hub says {quoted(value)}, which is no JSON object.")
    return value


def _json(raw: bytes) -> object:
    try:
        return json.loads(raw, object_pairs_hook=_unique)
    except RecursionError:
        raise MalformedFile("The hub's answer is nested too deeply.") from None
    except ValueError:
        raise MalformedFile("The hub's answer is no JSON.") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value
