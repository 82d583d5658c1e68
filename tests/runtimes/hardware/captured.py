"""Machines from files: what `captures/README.md` describes, unpacked into a folder that probes look at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtimes.hardware.machine import Hardware
from runtimes.hardware.parse_cpu import cpu_list
from runtimes.hardware.probe import probe_system
from runtimes.hardware.system import System
from runtimes.hardware.tools import TOOL_SECONDS, Answer

CAPTURES = Path(__file__).parent / "captures"
NAMES = tuple(sorted(path.stem for path in CAPTURES.glob("*.txtar")))

_HEAD = re.compile(r"^-- (.+) --\n", re.MULTILINE)
_OURS = {"nvml.py": "nvml", "llamacpp_inspect.py": "inspect", "bandwidth.py": "bandwidth"}


@dataclass
class Capture:
    """`files` by path (a link has its target), `answers` by command, `facts` by name."""

    files: dict[str, bytes]
    links: dict[str, str]
    answers: dict[str, str]
    killed: set[str]
    facts: dict[str, str]


def read_capture(name: str) -> Capture:
    pieces = _HEAD.split((CAPTURES / f"{name}.txtar").read_text(encoding="utf-8"))
    assert pieces[0] == ""
    found = Capture(files={}, links={}, answers={}, killed=set(), facts={})
    for head, text in zip(pieces[1::2], pieces[2::2], strict=True):
        path, arrow, target = head.partition(" -> ")
        if head.startswith("@"):
            found.facts[head[1:]] = text.strip()
        elif head.startswith("$ ") and head.endswith(" SIGILL"):
            found.killed.add(head[2:-7])
        elif head.startswith("$ "):
            found.answers[head[2:]] = text
        elif arrow:
            found.links[path] = target
        elif head.endswith(" hex"):
            found.files[head[:-4]] = bytes.fromhex(text)
        else:
            found.files[path] = text.encode()
    return found


def unpack(capture: Capture, root: Path) -> None:
    for path, data in capture.files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for path, target in capture.links.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


def system_of(capture: Capture, root: Path) -> System:
    """The machine of a capture that is unpacked at `root`."""

    def run(argv: Sequence[str], *, seconds: float = TOOL_SECONDS, with_errors: bool = False) -> Answer:
        ours = next((word for name, word in _OURS.items() for part in argv[:3] if part.endswith(name)), None)
        command = ours or ("sysctl" if argv[0] == "sysctl" else " ".join(argv))
        if command in capture.killed:
            return Answer(problem="python ended with SIGILL")
        return Answer(text=capture.answers.get(command))

    environment = dict(line.split("=", 1) for line in capture.facts.get("environment", "").splitlines())
    affinity = capture.facts.get("affinity")
    return System(
        root=root,
        platform=capture.facts.get("platform", "linux"),
        machine=capture.facts["machine"],
        environment=environment,
        run=run,
        affinity=cpu_list(affinity) if affinity else None,
    )


def engine_folder(root: Path) -> str:
    """A folder for `sys.path` with an installed xllamacpp in it, as far as names tell."""
    folder = root.parent / f"{root.name}-packages"
    (folder / "xllamacpp-2026.10.11549.dist-info").mkdir(parents=True, exist_ok=True)
    return str(folder)


def probed(name: str, root: Path) -> Hardware:
    """The machine of that name, with xllamacpp where the capture has its answer."""
    capture = read_capture(name)
    unpack(capture, root)
    asked = "inspect" in capture.answers.keys() | capture.killed
    return probe_system(system_of(capture, root), folders=[engine_folder(root)] if asked else [])
