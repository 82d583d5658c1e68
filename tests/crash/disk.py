"""A model disk: which trees may be there after a power failure, given the calls that a program made.

What is assumed, as little as POSIX and Linux promise (serving.md section 4 T2; CrashMonkey and ALICE, OSDI 2014 and 2018,
test applications and file systems under such models; dm-log-writes replays what a real device was sent):

- `fsync` of a file makes its bytes and its length durable, not its name. Bytes written since may be there whole,
  not at all, in part, as zeros of the right length (delayed allocation), or as something else.
- `fsync` of a folder makes the names in it durable. A name made, moved or removed since may be as it was before
  or as it is now, each by itself, in any order: one is not durable because a later one is.
- `rename` is atomic where nothing was flushed: both halves are there or none. When only the new name's folder
  was flushed, the old name may still be there too.
- `ftruncate` and copying by the kernel are writes. `sync_file_range` promises nothing. Modes are not modelled.

Real file systems promise more (ext4 orders names, and most flush a new file's name with it), so a store that
holds here holds there. Not modelled: a medium that lies about flushing, and sectors that rot (T4).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.crash.tracing import Event


class Node:
    """An inode. `data` and `names` are as programs see them; `flushed` and `kept` as they are on the medium."""

    def __init__(self, *, folder: bool) -> None:
        self.folder = folder
        self.data = b""
        self.flushed = b""
        self.link = False
        self.names: dict[str, Node] = {}
        self.kept: dict[str, Node] = {}

    @property
    def dirty(self) -> bool:
        return self.data != self.flushed


Change = tuple[Node, str, Node | None]
"""In a folder, a name now stands for a node, or for nothing."""

CONTENTS: dict[str, Callable[[Node], bytes]] = {
    "kept": lambda node: node.data,
    "lost": lambda node: node.flushed,
    "cut": lambda node: node.data[: len(node.data) // 2],
    "zeros": lambda node: bytes(len(node.data)),
    "other": lambda node: bytes(byte ^ 0x5A for byte in node.data),
}
"""What may be in a file that was written to and not flushed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What may be there after a power failure: the tree, and what made it. Equal `inodes` are one file."""

    said: str
    tree: dict[str, bytes | None]
    inodes: dict[str, int]

    @property
    def key(self) -> frozenset[tuple[str, bytes | None]]:
        return frozenset(self.tree.items())

    def write(self, root: Path) -> None:
        """Make it real in the folder `root`, which is not there. Blobs are read-only, as they were."""
        root.mkdir()
        made: dict[int, Path] = {}
        for name, data in self.tree.items():  # folders come before what is in them
            path, inode = root / name, self.inodes[name]
            if data is None:
                path.mkdir()
            elif inode in made:
                os.link(made[inode], path)
            elif data.startswith(b"-> "):
                path.symlink_to(os.fsdecode(data[3:]))
            else:
                made[inode] = path
                path.write_bytes(data)
                path.chmod(0o444 if path.parent.name == "sha256" else 0o644)


class Disk:
    """The folder `root` as it is now, all of it durable; `apply` makes a recorded call happen to it."""

    def __init__(self, root: Path) -> None:
        self.place = root
        self._prefix = f"{root}/"
        self.root = Node(folder=True)
        self.pending: list[tuple[Change, ...]] = []
        self._files: dict[int, Node | None] = {}
        self._offsets: dict[int, int] = {}
        seen: dict[tuple[int, int], Node] = {}
        for folder, folders, files in os.walk(root):
            parent = self._at(os.path.relpath(folder, root))
            assert parent is not None
            for name in (*folders, *files):
                path = Path(folder) / name
                status = path.lstat()
                key = (status.st_dev, status.st_ino)
                if key not in seen:
                    seen[key] = _node_of(path)
                parent.names[name] = parent.kept[name] = seen[key]

    def apply(self, event: Event) -> None:
        """Make a call happen. One that failed, or that never returned, did nothing."""
        if event.result is None or event.result < 0:
            return
        family = event.family if event.call != "lseek" else "lseek"
        numbers, paths = (
            [number for number, _ in event.descriptors],
            [self._relative(path) for path in event.paths],
        )
        if family == "openat":
            self._open(event, paths[0])
        elif family == "lseek":
            self._offsets[numbers[0]] = event.result
        elif family in {"write", "pwrite64"}:
            self._write(event)
        elif family == "mkdir" and paths[0]:
            self._change((self._place(paths[0], Node(folder=True)),))
        elif family == "rename" and paths[0] and paths[1]:
            self._rename(paths[0], paths[1])
        elif family == "link" and paths[-1]:
            self._link(event, paths)
        elif family == "unlink" and paths[0]:
            self._change((self._place(paths[0], None),))
        elif family == "fsync" and event.call != "sync_file_range":
            self._flush(event)
        elif family == "ftruncate" and (node := self._meant(event)):
            size = event.numbers[-1]
            node.data = node.data[:size].ljust(size, b"\0")
        elif family == "copy_file_range":
            self._copy(event)

    def tree(self) -> dict[str, bytes | None]:
        """What programs see now."""
        return {
            path: _content(node, CONTENTS["kept"]) for path, node in _walk(self.root, lambda one: one.names)
        }

    def states(self) -> Iterator[State]:
        """What may be there after a power failure now: each state with what made it. Not free of repetitions."""
        contents = CONTENTS if any(node.dirty for node in self._reachable()) else {"kept": CONTENTS["kept"]}
        for said, chosen in self._choices():
            names: dict[int, dict[str, Node]] = {}
            for folder, name, node in (change for operation in chosen for change in operation):
                copied = names.setdefault(id(folder), dict(folder.kept))
                if node is None:
                    copied.pop(name, None)
                else:
                    copied[name] = node
            there = list(_walk(self.root, lambda folder: names.get(id(folder), folder.kept)))  # noqa: B023 - used up in this round
            inodes = {path: id(node) for path, node in there}
            for word, content in contents.items():
                tree = {path: _content(node, content) for path, node in there}
                yield State(said=f"names: {said}, unflushed bytes: {word}", tree=tree, inodes=inodes)

    def _choices(self) -> Iterator[tuple[str, list[tuple[Change, ...]]]]:
        """None of the names that changed since, all, each alone, all but each, and all up to each."""
        pending = self.pending
        yield "none", []
        for position in range(len(pending)):
            yield f"the first {position + 1} of {len(pending)}", pending[: position + 1]
            yield f"only the {position + 1}. of {len(pending)}", [pending[position]]
            yield (
                f"all but the {position + 1}. of {len(pending)}",
                pending[:position] + pending[position + 1 :],
            )

    def _reachable(self) -> Iterator[Node]:
        yield from {id(node): node for node in _nodes(self.root)}.values()

    def _relative(self, path: str) -> str | None:
        if f"{path}/" == self._prefix:
            return "."
        return path[len(self._prefix) :] if path.startswith(self._prefix) else None

    def _at(self, path: str | None) -> Node | None:
        if path is None:
            return None
        node = self.root
        for part in path.split("/"):
            if part != ".":
                if part not in node.names:
                    return None
                node = node.names[part]
        return node

    def _place(self, path: str, node: Node | None) -> Change:
        """Make `path` stand for `node`; gives the change, which is not durable yet."""
        folder, _, name = path.rpartition("/")
        parent = self._at(folder or ".")
        assert parent is not None, path
        if node is None:
            del parent.names[name]
        else:
            parent.names[name] = node
        return parent, name, node

    def _change(self, changes: tuple[Change, ...]) -> None:
        self.pending.append(changes)

    def _open(self, event: Event, path: str | None) -> None:
        assert event.result is not None
        self._files[event.result] = None
        if path is None:
            return
        node = self._at(path)
        if node is None:
            node = Node(folder=False)
            self._change((self._place(path, node),))
        if "O_TRUNC" in event.rest and not node.folder:
            node.data = b""
        self._files[event.result] = node
        self._offsets[event.result] = len(node.data) if "O_APPEND" in event.rest else 0

    def _meant(self, event: Event) -> Node | None:
        """The file that a call names by its first descriptor, or else by its path."""
        if not event.descriptors or event.descriptors[0][0] < 0:
            return self._at(self._relative(event.paths[0]))
        number, path = event.descriptors[0]
        if self._relative(path) is None:
            return None  # the number is another file's by now
        return self._files.get(number) or self._at(self._relative(path))

    def _write(self, event: Event) -> None:
        node = self._meant(event)
        if node is None:
            return
        assert event.result is not None
        number = event.descriptors[0][0]
        data = b"".join(event.strings)[: event.result]
        moves = event.family == "write"
        start = self._offsets.get(number, 0) if moves else event.numbers[-1]
        node.data = node.data[:start].ljust(start, b"\0") + data + node.data[start + len(data) :]
        if moves:
            self._offsets[number] = start + len(data)

    def _rename(self, source: str, target: str) -> None:
        node, there = self._at(source), self._at(target)
        assert node is not None, source
        if node is not there:  # a rename over another name of the same file does nothing (rename(2))
            gone = self._place(source, None)
            self._change((self._place(target, node), gone))

    def _link(self, event: Event, paths: list[str | None]) -> None:
        target = paths[-1]
        assert target is not None
        if event.call.startswith("symlink"):
            node: Node | None = Node(folder=False)
            assert node is not None
            node.link, node.data = True, b"-> " + event.strings[0]
            node.flushed = node.data
        else:
            node = self._at(paths[0])
        assert node is not None, event
        self._change((self._place(target, node),))

    def _flush(self, event: Event) -> None:
        chosen = list(self._reachable()) if event.call == "syncfs" else [self._meant(event)]
        for node in chosen:
            if node is None:
                continue
            node.flushed = node.data
            if node.folder:
                node.kept = dict(node.names)
                self.pending = [
                    rest
                    for operation in self.pending
                    if (rest := tuple(change for change in operation if change[0] is not node))
                ]

    def _copy(self, event: Event) -> None:
        """FICLONE(target, source): strace shows the source's number only. The others nobody here uses."""
        target = self._meant(event)
        if target is not None:
            source = self._files.get(event.numbers[-1]) if event.call == "ioctl" else None
            assert source is not None, f"the model disk does not know {event}"
            target.data = source.data


def _node_of(path: Path) -> Node:
    node = Node(folder=path.is_dir() and not path.is_symlink())
    if path.is_symlink():
        node.data = b"-> " + os.fsencode(path.readlink())
    elif path.is_file():
        node.data = path.read_bytes()
    node.flushed = node.data
    return node


def _nodes(folder: Node) -> Iterator[Node]:
    yield folder
    for node in {**folder.kept, **folder.names}.values():
        yield from _nodes(node)


def _walk(
    folder: Node, names: Callable[[Node], dict[str, Node]], before: str = ""
) -> Iterator[tuple[str, Node]]:
    for name, node in names(folder).items():
        yield f"{before}{name}", node
        if node.folder:
            yield from _walk(node, names, f"{before}{name}/")


def _content(node: Node, content: Callable[[Node], bytes]) -> bytes | None:
    return None if node.folder else content(node) if node.dirty else node.data
