"""The folders of tests/golden/modelfiles, one file each: what is in them, and what they should say.

python -m tests.modelfiles.golden      writes what is missing in the folders, to be read before it is committed
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from modelfiles.errors import Problem, render
from modelfiles.syntax import Modelfile, scan

ROOT = Path(__file__).parents[1] / "golden" / "modelfiles"


def folders(kind: str) -> list[Path]:
    return sorted(path for path in (ROOT / kind).iterdir() if path.is_dir())


def read(folder: Path) -> tuple[Modelfile, tuple[Problem, ...]]:
    return scan((folder / "Modelfile").read_bytes())


def instructions(folder: Path) -> str:
    """One JSON object for each instruction, on lines of their own."""
    modelfile, _ = read(folder)
    found = [
        {"keyword": each.keyword, "name": each.name, "value": each.value, "line": each.line}
        for each in modelfile.instructions
    ]
    return "[\n" + ",\n".join(f"  {json.dumps(each, ensure_ascii=False)}" for each in found) + "\n]\n"


def warnings(folder: Path) -> str:
    """Empty for a normal file, which has no warnings.txt."""
    modelfile, _ = read(folder)
    return _rendered(modelfile, modelfile.warnings, "warning")


def problems(folder: Path) -> str:
    return _rendered(*read(folder), "error")


def _rendered(modelfile: Modelfile, found: tuple[Problem, ...], severity: str) -> str:
    return "".join(
        render(each, filename="Modelfile", text=modelfile.text, severity=severity) + "\n" for each in found
    )


FILES: Mapping[str, Mapping[str, Callable[[Path], str]]] = {
    "good": {"instructions.json": instructions, "warnings.txt": warnings},
    "bad": {"problems.txt": problems},
}


def expected(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_bytes().decode() if path.exists() else ""


def main() -> int:
    for kind, files in FILES.items():
        for folder in folders(kind):
            for name, made in files.items():
                text = made(folder)
                if text and not (folder / name).exists():
                    (folder / name).write_bytes(text.encode())
                    sys.stdout.write(f"{folder / name}\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
