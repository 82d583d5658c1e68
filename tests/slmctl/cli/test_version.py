"""Where `slmctl version` finds the version of the engine."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from runtimes.installed import installed_packages, installed_version
from tests.slmctl.cli.program import Program


def test_it_is_what_importlib_says(slmctl: Program) -> None:
    assert installed_version("xllamacpp", sys.path) == metadata.version("xllamacpp")
    engine = slmctl("version", "--json").json["engines"]["llama.cpp"]
    assert engine == {"package": "xllamacpp", "version": metadata.version("xllamacpp")}


def test_the_first_folder_that_has_it_counts(tmp_path: Path) -> None:
    folders = [tmp_path / "missing", tmp_path / "empty", tmp_path / "first", tmp_path / "second"]
    (tmp_path / "empty").mkdir()
    for folder, names in (
        ("first", ("engine_cuda-9.dist-info", "engine-9.data", "engine", "Engine-1!2.0rc1+cu12.dist-info")),
        ("second", ("engine-3.dist-info",)),
    ):
        for name in names:
            (tmp_path / folder / name).mkdir(parents=True)
    assert installed_version("engine", [str(folder) for folder in folders]) == "1!2.0rc1+cu12"


def test_other_ways_to_install_are_left_to_importlib(tmp_path: Path) -> None:
    assert installed_version("engine", [str(tmp_path)]) is None
    (tmp_path / "engine.egg-info").mkdir()
    (tmp_path / "engine.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: engine\nVersion: 4.5\n"
    )
    assert installed_version("engine", [str(tmp_path)]) == "4.5"


def test_all_at_once_are_what_each_is_alone(tmp_path: Path) -> None:
    for name in (
        "first/A-1.0.dist-info",
        "second/a-2.0.dist-info",
        "second/b_c-3.0+cu12.dist-info",
        "second/d-4",
    ):
        (tmp_path / name).mkdir(parents=True)
    folders = [str(tmp_path / name) for name in ("missing", "first", "second")]
    found = installed_packages(folders)
    assert found == {"a": "1.0", "b_c": "3.0+cu12"}
    assert all(installed_version(name, folders) == version for name, version in found.items())
    assert installed_packages(sys.path)["xllamacpp"] == metadata.version("xllamacpp")
