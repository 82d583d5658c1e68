"""systemd: what the server tells it, and the units in docs/systemd."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.servers import serving
from tests.slmctl.cli.program import REPOSITORY, SCRIPT, Program

UNITS = REPOSITORY / "docs" / "systemd"


def test_it_says_when_it_is_ready_and_when_it_ends(stocked: Program) -> None:
    path = Path(stocked.environment["XDG_RUNTIME_DIR"]) / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(60)
        with serving(stocked, "--preload", "hello", environment={"NOTIFY_SOCKET": str(path)}) as server:
            assert systemd.recv(100) == b"READY=1"
            assert server.workers, "what is preloaded is there by then"
        assert systemd.recv(100) == b"STOPPING=1"
    path.unlink()


@pytest.mark.parametrize(
    ("name", "scope", "program"),
    [
        ("slmctl.service", "--system", "/usr/local/bin/slmctl"),
        ("slmctl-user.service", "--user", "%h/.local/bin/slmctl"),
    ],
)
def test_systemd_finds_nothing_wrong_with_the_units(
    tmp_path: Path, name: str, scope: str, program: str
) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    text = (UNITS / name).read_text(encoding="utf-8")
    assert text.count(f"ExecStart={program} ") == 1
    text = text.replace(program, str(SCRIPT))  # where it is installed here
    text = text.replace("User=slmctl", "User=root").replace("Group=slmctl", "Group=root")
    unit = tmp_path / name
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", scope, "verify", str(unit)],
        env={"PATH": "/usr/bin:/bin:/usr/sbin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
