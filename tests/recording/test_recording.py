"""The recording itself: it sees what processes ask for, whatever they are started with, and can fail."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.recording.hook import whom
from tests.recording.judging import is_here, is_nobodys, recorded, strangers
from tests.slmctl.cli.program import REPOSITORY

_ASKS_NOBODY = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
"""Of UDP a connection sends nothing."""


def test_a_run_whose_tests_pass_fails_for_a_stranger(tmp_path: Path) -> None:
    """Whoever asked: a test itself, in a worker of xdist or not, and children with an empty environment."""
    python = _environment(tmp_path / "environment")
    children = [[str(python), *flags, "-c", _ASKS_NOBODY] for flags in ([], ["-P"], ["-I"])]
    (tmp_path / "test_it.py").write_text(
        "import subprocess\n"
        f"def test_here():\n    {_ASKS_NOBODY}\n"
        f"def test_child():\n    for child in {children!r}:\n        subprocess.run(child, env={{}}, check=True)\n"
    )
    done = _pytest(python, tmp_path, "--strict-hosts", "-n", "1")
    assert "2 passed" in done.stdout
    assert "4 hosts and ports were asked, 4 of them not on this machine" in done.stdout
    assert "socket.connect '192.0.2.1' 9 by '-c'\n" in done.stdout
    assert "test_it.py::test_here" in done.stdout
    assert done.returncode == 1
    assert list(python.parents[1].glob("lib/*/site-packages/slmctl-recording*")) == []
    done = _pytest(python, tmp_path, "-k", "here")
    assert done.returncode == 0, done.stdout  # a host that is reserved for tests may be asked


def _environment(folder: Path) -> Path:
    """An environment with the packages of this one: what is put into it is not read by other tests' programs."""
    venv.create(folder)
    packages = next(folder.glob("lib/*/site-packages"))
    (packages / "these.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


def _pytest(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pytest", "-p", "tests.recording.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--rootdir", str(folder), *arguments, str(folder / "test_it.py")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_names_that_are_looked_up_are_seen(tmp_path: Path) -> None:
    assert whom("socket.getaddrinfo", ("huggingface.co", 443, 0, 0, 0)) == "huggingface.co\t443"
    assert whom("socket.getaddrinfo", (None, 443, 0, 0, 0)) is None
    assert whom("socket.gethostbyname", ("huggingface.co",)) == "huggingface.co\t"
    assert whom("socket.connect", (None, "/run/a.sock")) is None
    assert whom("socket.connect", (None, ("::1", 80, 0, 0))) == "::1\t80"
    assert whom("socket.bind", (None, ("0.0.0.0", 80))) is None
    (tmp_path / "1").write_text("socket.getaddrinfo\thuggingface.co\t443\tslmctl pull x\t\n")
    (tmp_path / "2").write_text("socket.connect\t127.0.0.1\t80\tslmctl pull x\t\n")
    assert len(list(recorded(tmp_path))) == 2
    assert [each.host for each in strangers(tmp_path)] == ["huggingface.co"]


def test_a_test_may_ask_for_whom_it_names(tmp_path: Path) -> None:
    lines = [
        "named\thuggingface.co\t\tpytest\tone",
        "socket.connect\thuggingface.co\t443\tx\tone",
        "socket.connect\thuggingface.co\t443\tx\t",
        "socket.connect\thuggingface.co\t443\tx\tanother",
        "socket.connect\thf.co\t443\tx\tone",
    ]
    (tmp_path / "1").write_text("\n".join(lines) + "\n")
    assert [(each.host, each.test) for each in strangers(tmp_path)] == [
        ("huggingface.co", "another"),
        ("hf.co", "one"),
    ]


@pytest.mark.parametrize(
    ("host", "here", "nobodys"),
    [
        ("127.0.0.1", True, False), ("127.9.9.9", True, False), ("::1", True, False), ("0.0.0.0", True, False), ("::ffff:127.0.0.1", True, False),
        ("localhost", True, False), ("a.localhost", True, False), ("LOCALHOST.", True, False), ("", True, False),
        ("registry.example", False, True), ("example.com", False, True), ("x.test", False, True), ("nowhere.invalid.", False, True), ("192.0.2.7", False, True), ("2001:db8::1", False, True),
        ("huggingface.co", False, False), ("registry.ollama.ai", False, False), ("10.0.0.1", False, False), ("169.254.169.254", False, False), ("8.8.8.8", False, False),
        ("localhost.evil.com", False, False), ("notexample.com", False, False), ("fe80::1%eth0", False, False), ("0x7f000001", False, False),
    ],
)  # fmt: skip
def test_what_is_here_and_what_is_nobodys(host: str, here: bool, nobodys: bool) -> None:
    assert (is_here(host), is_nobodys(host)) == (here, nobodys)
