"""tinyproxy, Debian's, on 127.0.0.1: a real proxy, with or without a password."""

from __future__ import annotations

import functools
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
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "tinyproxy.log"
    log.touch()
    log.chmod(0o666)  # as root it becomes nobody
    configuration = folder / "tinyproxy.conf"
    for _ in range(5):  # somebody else may take the port before it does
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", f'LogFile "{log}"', "LogLevel Info"]
        lines += [f"BasicAuth {password[0]} {password[1]}"] if password is not None else []
        configuration.write_text("\n".join(lines) + "\n")
        log.write_text("")
        process = subprocess.Popen(
            [program, "-d", "-c", str(configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
        )
        proxy = Proxy(f"127.0.0.1:{port}", log)
        until(functools.partial(_has_started, proxy, process))
        if process.poll() is None:
            break
    else:
        pytest.fail(log.read_text())
    try:
        yield proxy
    finally:
        process.terminate()
        process.wait()


def _has_started(proxy: Proxy, process: subprocess.Popen[bytes]) -> bool | None:
    """Whether it accepts connections or has ended; None while neither."""
    return True if proxy.said("Accepting connections") or process.poll() is not None else None
