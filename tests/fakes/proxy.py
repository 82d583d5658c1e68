"""tinyproxy, Debian's, on 127.0.0.1: a real proxy, with or without a password."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import until


@dataclass(frozen=True)
class Proxy:
    place: str
    log: Path

    def said(self, text: str) -> bool:
        """Whether the proxy has written something in its log."""
        return text in self.log.read_text()


@contextmanager
def tinyproxy(folder: Path, *, password: tuple[str, str] | None = None) -> Iterator[Proxy]:
    """Run it until the block ends; skips the test where it is not installed."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed (Debian's tinyproxy)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "tinyproxy.log"
    log.touch()
    log.chmod(0o666)  # as root it becomes nobody
    lines = [
        f"Port {port}",
        "Listen 127.0.0.1",
        "Timeout 20",
        f'LogFile "{log}"',
        "LogLevel Info",
        "MaxClients 20",
    ]
    if password is not None:
        lines.append(f"BasicAuth {password[0]} {password[1]}")
    configuration = folder / "tinyproxy.conf"
    configuration.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [program, "-d", "-c", str(configuration)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        until(lambda: _listens(port) or process.poll())
        assert process.poll() is None, log.read_text()
        yield Proxy(f"127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool | None:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return None
    return True
