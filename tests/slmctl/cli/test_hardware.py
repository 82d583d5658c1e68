"""`slmctl hardware`: this machine as it is, others as they are described, and files of either."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from runtimes.hardware.profiles import profile, profile_names
from slmctl.cli.describe_hardware import command_lines, describe_hardware
from tests.runtimes.hardware.captured import NAMES, probed
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.test_places import Wrapped

GIB = 1 << 30


def fits(text: str) -> bool:
    """Whether it fits 80 columns; a single word may be as long as it is."""
    return all(len(line) <= 80 or " " not in line.strip() for line in text.splitlines())


def test_this_machine(slmctl: Program) -> None:
    done = slmctl("hardware", "--json")
    assert done.code == 0, done.err
    machine = done.json
    if sys.platform == "linux":
        total = Path("/proc/meminfo").read_text().split()[1]
        assert machine["memory"]["total"] == int(total) * 1024
        assert machine["cpu"]["affinity"] == len(os.sched_getaffinity(0))
    engine = next(each for each in machine["engines"] if each["name"] == "llama.cpp")
    assert (engine["installed"], engine["version"]) == (True, metadata.version("xllamacpp"))
    assert "cpu" in engine["apis"]
    assert machine["disk_free"] > 0
    assert machine["name"] is None


def test_it_is_shown_in_80_columns(slmctl: Program) -> None:
    done = slmctl("hardware")
    assert done.code == 0, done.err
    assert fits(done.out), done.out
    assert "\x1b" not in done.out
    for title in ("Machine", "Memory", "Processor", "GPUs and NPUs", "Engines"):
        assert f"  {title}\n" in done.out
    assert f"llama.cpp          {metadata.version('xllamacpp')}: cpu" in done.out


def test_the_memory_is_measured_and_kept(slmctl: Program) -> None:
    first = slmctl("hardware", "--json").json["memory"]
    if first["available"] > 2 * GIB:
        assert first["bandwidth_measured"]
        second = slmctl("hardware", "--json").json["memory"]
        assert second["bandwidth"] >= first["bandwidth"]
    assert not (slmctl.home / "store").exists(), "looking makes no store"


def test_fewer_cpus_are_fewer_threads(slmctl: Program) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no affinity")
    one = min(os.sched_getaffinity(0))
    bind = f"import os, sys; os.sched_setaffinity(0, {{{one}}}); os.execv(sys.argv[1], sys.argv[1:])"
    cpu = Wrapped(slmctl, [sys.executable, "-c", bind])("hardware", "--json").json["cpu"]
    assert (cpu["affinity"], cpu["physical"]) == (1, 1)
    assert "decoding  with 1 thread\n" in Wrapped(slmctl, [sys.executable, "-c", bind])("hardware").out


@contextlib.contextmanager
def cgroups_of_memory(limit: int) -> Iterator[Path]:
    """A group without a limit below one with a limit, in whichever version has memory; skips where none can be."""
    for parent, name in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        outer = Path(parent) / f"slmctl-test-{os.getpid()}"
        inner = outer / "inner"
        try:
            outer.mkdir()
            (outer / name).write_text(str(limit))
            if name == "memory.max":
                (outer / "cgroup.subtree_control").write_text("+memory")
            inner.mkdir()
        except OSError:
            with contextlib.suppress(OSError):
                outer.rmdir()
            continue
        try:
            yield inner
        finally:
            inner.rmdir()
            outer.rmdir()
        return
    pytest.skip("no control group of memory can be made here")


@pytest.mark.root
def test_a_limit_of_a_group_above_is_seen(slmctl: Program) -> None:
    with cgroups_of_memory(GIB) as group:
        enter = 'echo $$ > "$1"/cgroup.procs; shift; exec "$@"'
        inside = Wrapped(slmctl, ["sh", "-c", enter, "sh", str(group)])
        done = inside("hardware", "--json")
        assert done.code == 0, done.err
        (limit,) = [each for each in done.json["memory"]["limits"] if each["limit"] == GIB]
        assert str(group.parent) in limit["source"]
        assert limit["usage"] < GIB
        text = inside("hardware").out
        assert "1.0 GiB, of which" in text
        assert "of the limit stay free" in text


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_is_shown(name: str, slmctl: Program) -> None:
    text = describe_hardware(profile(name))
    assert fits(text), text
    assert f"name    {name}\n" in text
    if name == "rtx-3060-12gb":
        done = slmctl("hardware", "--for", name)
        assert (done.code, done.out.rstrip("\n")) == (0, text.rstrip("\n"))


@pytest.mark.parametrize("name", NAMES)
def test_every_captured_machine_is_shown(name: str, tmp_path: Path) -> None:
    text = describe_hardware(probed(name, tmp_path / "root"))
    assert fits(text), text


def test_what_is_missing_has_a_command_that_a_shell_reads(tmp_path: Path) -> None:
    text = describe_hardware(probed("wsl2-rtx-4090", tmp_path / "root"))
    assert (
        "  Missing\n"
        "    llama.cpp:\n"
        "      pip install xllamacpp --force-reinstall \\\n"
        "        --index-url https://xorbitsai.github.io/xllamacpp/whl/cu128\n"
    ) in text


@pytest.mark.parametrize("width", [20, 40, 74, 200])
def test_broken_commands_are_the_same_commands(width: int) -> None:
    command = "pip install xllamacpp --force-reinstall --index-url https://example.org/whl/cu128"
    joined = "".join(line.removesuffix("\\") for line in command_lines(command, width))
    assert joined.split() == command.split()


def test_a_shared_gpu_is_never_added_to_the_memory() -> None:
    text = describe_hardware(profile("strix-halo-128gb"))
    assert "shares the memory above, up to 62.3 GiB of it" in " ".join(text.split())


def test_the_profiles_are_listed(slmctl: Program) -> None:
    done = slmctl("hardware", "--profiles", "--json")
    assert [each["name"] for each in done.json["profiles"]] == list(profile_names())
    text = slmctl("hardware", "--profiles").out
    assert len(text.splitlines()) == 24
    assert "NVIDIA GeForce RTX 3060, 12.0 GiB; 31.2 GiB of memory" in text


def test_a_saved_machine_is_a_profile(slmctl: Program, tmp_path: Path) -> None:
    saved = slmctl("hardware", "--save", "mine.json", "--json", cwd=tmp_path)
    assert saved.code == 0, saved.err
    document = json.loads((tmp_path / "mine.json").read_text())
    assert document == saved.json
    shown = slmctl("hardware", "--for", "./mine.json", "--json", cwd=tmp_path).json
    assert shown == document | {"name": "mine"}
    assert "--for mine.json" in saved.err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["mine.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--for", "rtx-9090"), 2, "There is no profile 'rtx-9090'."),
        (("--for", "./nowhere.json"), 2, "cannot be read (No such file or directory)"),
        (("--for", "{out}/bad.json"), 5, "is no JSON document"),
        (("--for", "{out}/wrong.json"), 5, "cpu.logical is missing"),
        (("--profiles", "--for", "vps-2cpu-4gb"), 2, "--profiles goes with neither"),
        (("--save", "{out}/nowhere/x.json"), 1, "cannot be saved"),
        (("--save", "{out}"), 1, "cannot be saved"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    slmctl: Program, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "wrong.json").write_text(
        '{"schema": "slmctl.hardware/1", "system": "linux", "cpu": {"architecture": "x86_64"}, "memory": {}}'
    )
    filled = [each.replace("{out}", str(tmp_path)) for each in arguments]
    done = slmctl("hardware", *filled)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 2
    assert done.hint
    assert "error" in slmctl("hardware", *filled, "--json").json


def test_a_tool_that_hangs_is_told_and_not_waited_for(slmctl: Program, tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    slmctl.environment["PATH"] = f"{tmp_path}:{slmctl.environment['PATH']}"
    done = slmctl("hardware", "--json")
    assert done.code == 0, done.err
    assert (
        "llama-server: it could not be asked: llama-server did not answer within 3 s." in done.json["notes"]
    )


def test_a_shell_completes_profiles(slmctl: Program) -> None:
    done = slmctl("completion", "bash", "--complete", "slmctl hardware --for rtx", "--word=rtx")
    assert [line.split("\t")[:2] for line in done.out.splitlines()] == [
        ["plain", "rtx-3060-12gb"],
        ["plain", "rtx-4090-24gb"],
    ]
