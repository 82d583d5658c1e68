from __future__ import annotations

import os
from pathlib import Path

import pytest

from registry.errors import MalformedFile, NotFound, OperationFailed
from runtimes.convert import files as module
from runtimes.convert.files import SourceFiles


def test_names_of_a_folder_and_of_the_folders_in_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"b": 2}')
    (tmp_path / "1_Pooling" / "deeper").mkdir()
    (tmp_path / "1_Pooling" / "deeper" / "config.json").write_text("{}")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".cache").symlink_to("/etc")
    files = SourceFiles.of_folder(tmp_path)
    assert list(files.paths) == ["1_Pooling/config.json", "config.json"]
    assert "config.json" in files
    assert "../config.json" not in files
    assert files.json("1_Pooling/config.json") == {"b": 2}
    assert files.optional_json("generation_config.json") == {}


def test_a_folder_behind_a_link_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "config.json").write_text("{}")
    (tmp_path / "link").symlink_to("real")
    assert list(SourceFiles.of_folder(tmp_path / "link").paths) == ["config.json"]


def test_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(NotFound, match="no folder"):
            SourceFiles.of_folder(path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "missing", "config.json"])
def test_links_stay_in_the_folder(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside").write_text("secret")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").symlink_to(target)
    if target == "config.json":
        assert SourceFiles.of_folder(folder).data("model.safetensors") == b"{}"
        return
    with pytest.raises(MalformedFile, match=r"'model\.safetensors' is a link that leads"):
        SourceFiles.of_folder(folder)


def test_a_link_in_a_folder_of_the_folder_stays_in_it_too(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (folder / "1_Pooling" / "config.json").symlink_to("../../outside")
    with pytest.raises(MalformedFile, match="leads out of its folder"):
        SourceFiles.of_folder(folder)


def test_the_cache_of_the_hub_has_its_files_beside_the_snapshot(tmp_path: Path) -> None:
    blobs = tmp_path / "models--org--name" / "blobs"
    snapshot = tmp_path / "models--org--name" / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "abc").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    assert SourceFiles.of_folder(snapshot).json("config.json") == {"a": 1}
    (tmp_path / "models--org--name" / "refs").write_text("{}")
    (snapshot / "tokenizer.json").symlink_to("../../refs")
    with pytest.raises(MalformedFile, match="leads out"):
        SourceFiles.of_folder(snapshot)


def test_the_files_of_a_package_have_the_names_that_it_gives_them(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text('{"a": 1}')
    (tmp_path / "link").symlink_to("blob")
    files = SourceFiles.of_files({"config.json": tmp_path / "link"}, "hello:latest")
    assert files.json("config.json") == {"a": 1}
    with pytest.raises(NotFound, match=r"'hello:latest' has no file 'model\.safetensors'"):
        files.open("model.safetensors")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[1]", "not a JSON object"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
        (b'{"a": "' + b"x" * 100 + b'"}', "more than 64 bytes"),
    ],
)
def test_what_is_no_json(raw: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(raw)
    limit = 64 if b"xxx" in raw else module.MAX_TEXT_BYTES
    with pytest.raises(MalformedFile, match=words):
        SourceFiles.of_folder(tmp_path).json("config.json", limit)


def test_no_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(MalformedFile, match="no regular file"):
        SourceFiles.of_folder(tmp_path).data("config.json")


def test_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    files = SourceFiles.of_folder(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("/etc/passwd")
    with pytest.raises(OperationFailed, match="cannot be read"):
        files.open("config.json")


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    for number in range(4):
        (tmp_path / str(number)).touch()
    with pytest.raises(MalformedFile, match="more than 3 files"):
        SourceFiles.of_folder(tmp_path)
