"""docs/hostile-registries.md names tests that exist, and no row without one."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "R": "tests/registry/remotes",
    "T": "tests/registry/transfer",
    "L": "tests/registry/layers",
    "C": "tests/slmctl/cli",
}
_NAMED = re.compile(r"`([RTLC])/(\w+\.py)::(\w+\*?)`")


def test_every_test_that_the_table_names_is_there() -> None:
    text = (ROOT / "docs" / "hostile-registries.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| row ")]
    assert {int(row.split()[1]) for row in rows if row.split()[1].isdecimal()} == {*range(1, 21), 22}
    assert all(_NAMED.search(row) for row in rows)
    assert text.count("::") == len(_NAMED.findall(text))
    for folder, file, name in _NAMED.findall(text):
        source = (ROOT / FOLDERS[folder] / file).read_text(encoding="utf-8")
        tests = re.findall(r"^def (test_\w+)", source, re.MULTILINE)
        assert any(fnmatchcase(test, name) for test in tests), f"{file}::{name}"
