"""What must hold in a store, whatever happened to it; written from the design without the store's own code.

It looks at a `Tree`: paths relative to a world's root and what lies there. A tree is read from a real folder or
made by the model disk, so the same rules judge both. Rules: ../shared/DESIGN.md section 4, the OCI image layout 1.1.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STORE = "home/store"
REF_NAME = "org.opencontainers.image.ref.name"

LEFT_OVER = "is left over"
"""How the sentence about another tool's or the user's folder ends in which a crash has left a temporary file."""

Tree = Mapping[str, bytes | None]
"""Path -> bytes of a file, None for a folder. Of a link the bytes are its target behind an arrow."""

_KNOWN = re.compile(r"(index\.json(\.1|\.damaged.*)?|oci-layout|slmctl\.json)\Z")
_FOLDERS = frozenset({"blobs", "ingest", "leases", "locks", "cache", "quarantine", "borrowed", "linked"})
_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """`names` -> digest, as the table says; `table` is where it was read: "current", "previous", "none", "lost".

    `problems` are sentences about what must never be; `sweepable` are paths of what a crash may leave;
    `unneeded` are whole blobs that no name reaches, `bereft` those of them that are manifests whose blobs are gone.
    `damaged` are blobs with other bytes at their final path.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    table: str = "none"
    problems: tuple[str, ...] = ()
    sweepable: tuple[str, ...] = ()
    unneeded: tuple[str, ...] = ()
    bereft: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()


def read_tree(root: Path) -> dict[str, bytes | None]:
    """Everything below `root`."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        base = Path(folder)
        for name in folders:
            found[str((base / name).relative_to(root))] = None
        for name in files:
            path = base / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                found[str(path.relative_to(root))] = b"-> " + os.fsencode(path.readlink())
            elif stat.S_ISREG(mode):
                found[str(path.relative_to(root))] = path.read_bytes()
    return found


def inspect(tree: Tree, root: Path) -> Findings:
    """Judge the store in a tree; `root` is what absolute paths in its notes begin with."""
    store = {
        path.removeprefix(f"{STORE}/"): data for path, data in tree.items() if path.startswith(f"{STORE}/")
    }
    problems: list[str] = []
    damaged: list[str] = []
    rows, table = _table(store, problems)
    blobs = {
        path[len("blobs/sha256/") :]: data for path, data in store.items() if path.startswith("blobs/sha256/")
    }
    for name, data in blobs.items():
        if _HEX.match(name) is None or data is None:
            problems.append(f"{name} in blobs/sha256 is no blob")
        elif _sha256(data) != name:
            damaged.append(name)
            problems.append(f"the blob {name[:12]} at its final path has other bytes ({len(data)})")
    present = blobs | _borrowed(store, tree, root)
    reached: set[str] = set()
    for row in rows:
        _follow(row, present, reached, problems, str(row.get("digest"))[:19])
    for path, data in store.items():
        head = path.split("/")[0]
        if head in {"oci-layout", "slmctl.json"} and not _is_json(data):
            problems.append(f"{path} is torn")
        if not _KNOWN.match(path) and head not in _FOLDERS:
            problems.append(f"{path} does not belong in a store")
    names = {
        str(row["annotations"][REF_NAME]): str(row["digest"])
        for row in rows
        if REF_NAME in row.get("annotations", {})
    }
    unneeded = tuple(name for name in blobs if f"sha256:{name}" not in reached)
    return Findings(
        names=names,
        table=table,
        problems=tuple(problems),
        sweepable=tuple(path for path in store if path.startswith(("ingest/", "leases/"))),
        unneeded=unneeded,
        damaged=tuple(damaged),
        bereft=tuple(name for name in unneeded if not {*_needs(blobs[name])} <= present.keys()),
    )


def judge(tree: Tree, before: Tree, after: Tree, root: Path, *, finished: bool = False) -> list[str]:
    """What is wrong in a tree that a command which turns `before` into `after` left when it was cut short.

    `finished`: the command has said that it is done, so that everything must be as in `after`.
    """
    now, old, new = inspect(tree, root), inspect(before, root), inspect(after, root)
    hurt = (
        [] if finished else [digest[:12] for digest in old.damaged]
    )  # it may be put aside before it is mended
    problems = [problem for problem in now.problems if not any(digest in problem for digest in hurt)]
    if now.table not in {old.table, new.table}:
        problems.append(f"the table of names is {now.table}")
    for name in sorted({*now.names, *old.names, *new.names}):
        digest = now.names.get(name)
        allowed = {new.names.get(name)} if finished else {old.names.get(name), new.names.get(name)}
        if digest not in allowed:
            problems.append(f"{name} is {digest or 'gone'}, not {' or '.join(str(one) for one in allowed)}")
    return problems + _judge_outside(tree, before, after, is_new=now.names == new.names, finished=finished)


def is_new(tree: Tree, after: Tree, root: Path) -> bool:
    """Whether the names are what they are when the command is done, and what it writes elsewhere is there."""
    outside = [path for path in {*tree, *after} if path.startswith(("out/", "files/", "other/"))]
    made = all(tree.get(path, b"absent") == after[path] for path in outside if path in after)
    return made and inspect(tree, root).names == inspect(after, root).names


def is_leased(tree: Tree, digest: str) -> bool:
    """Whether a lease, of whoever, lists a blob: then it is somebody's work, who may go on with it."""
    line = f"\nsha256:{digest}\n".encode()
    return any(path.startswith(f"{STORE}/leases/") and line in (data or b"") for path, data in tree.items())


def is_kept(tree: Tree, path: str) -> bool:
    """Whether a path in the store is a lease, or what came of a blob that one lists: for the next try."""
    folder, _, name = path.rpartition("/")
    stem, _, kind = name.partition(".")
    return folder == "leases" or (kind in {"partial", "journal"} and is_leased(tree, stem))


def _judge_outside(tree: Tree, before: Tree, after: Tree, *, is_new: bool, finished: bool) -> list[str]:
    """A user's files: none lost before its model is named, none changed; what is made is whole or not there."""
    problems = []
    for path in sorted({*tree, *before, *after}):
        if path.startswith(("home/", "run/")) or path in {"home", "run"} or path.endswith(".partial"):
            continue
        now, old, new = (where.get(path, b"absent") for where in (tree, before, after))
        if now == new or (now == old and not finished):
            if now == b"absent" != old and not is_new:
                problems.append(f"{path} is lost, and its model has no name")
        elif path in before or path in after:
            problems.append(f"{path} is {_shown(now)}, not {_shown(old)} or {_shown(new)}")
        elif finished and now is not None:
            problems.append(f"{path} {LEFT_OVER}")
    return problems


def _shown(data: bytes | None) -> str:
    return "a folder" if data is None else "absent" if data == b"absent" else f"{len(data)} bytes"


def _table(store: Tree, problems: list[str]) -> tuple[list[dict[str, Any]], str]:
    for path, said in (("index.json", "current"), ("index.json.1", "previous")):
        data = store.get(path)
        if data is None:
            continue
        try:
            rows = json.loads(data)["manifests"]
        except (ValueError, KeyError, TypeError):
            continue
        return list(rows), said
    if "index.json" in store or "index.json.1" in store:
        problems.append("no generation of the table of names can be read")
        return [], "lost"
    return [], "none"


def _follow(row: Mapping[str, Any], blobs: Tree, reached: set[str], problems: list[str], whose: str) -> None:
    digest = str(row.get("digest"))
    reached.add(digest)
    data = blobs.get(digest.removeprefix("sha256:"))
    if data is None:
        problems.append(f"{whose} needs {digest[:19]}, which is gone")
        return
    if len(data) != row.get("size"):
        problems.append(f"{whose} needs {digest[:19]} with {row.get('size')} bytes; it has {len(data)}")
        return
    if not str(row.get("mediaType", "")).endswith(("manifest.v1+json", "index.v1+json", "manifest.v2+json")):
        return
    for child in _children(data):
        _follow(child, blobs, reached, problems, whose)


def _children(data: bytes | None) -> list[dict[str, Any]]:
    """The descriptors in a manifest or an index; none in anything else."""
    try:
        document = json.loads(data or b"")
    except ValueError:
        return []
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        return []
    config = [document["config"]] if "config" in document else []
    return [*config, *document.get("layers", ()), *document.get("manifests", ())]


def _needs(data: bytes | None) -> list[str]:
    return [str(child.get("digest")).removeprefix("sha256:") for child in _children(data)]


def _borrowed(store: Tree, tree: Tree, root: Path) -> dict[str, bytes | None]:
    """Blobs that lie elsewhere: what the notes in `borrowed/` say, if it is so."""
    found: dict[str, bytes | None] = {}
    for path, data in store.items():
        if path.startswith("borrowed/") and data is not None and _is_json(data):
            where = str(json.loads(data).get("path", ""))
            content = tree.get(os.path.relpath(where, root))
            if content is not None and _sha256(content) == path.split("/")[-1].removesuffix(".json"):
                found[_sha256(content)] = content
    return found


def _is_json(data: bytes | None) -> bool:
    try:
        json.loads(data or b"")
    except ValueError:
        return False
    return True


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lines(problems: Iterable[str]) -> str:
    return "\n".join(f"    {problem}" for problem in problems)
