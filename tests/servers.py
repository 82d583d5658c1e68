"""A running `slmctl serve`, for tests: the installed program on a port of its own, ready when it is given.

    with serving(program, "--keep-alive", "-1", config='[serve]\nmax_memory = "6GB"') as server:
        httpx.get(f"{server.base_url}/api/version")

At the end of the block it gets SIGTERM, and it is an error if it does not end in order: with 143, in time, and
with nothing of it left.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.processes import children, until, wait_until_gone
from tests.slmctl.cli.program import DEADLINE_SECONDS, Program

END_SECONDS = 60.0
"""A deadline; a test of how fast it ends has its own."""


class Server:
    """A server that is ready. `lines` are the lines of its log so far, as it wrote them."""

    def __init__(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        self.program = program
        self.process = process
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        ready = self.event("ready")
        self.url: str | None = ready.get("url")
        socket = ready.get("socket")
        self.socket: Path | None = None if socket is None else Path(socket)
        self.pid = process.pid
        assert ready["pid"] == self.pid

    @property
    def base_url(self) -> str:
        """http://127.0.0.1:PORT"""
        assert self.url is not None
        return self.url

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.base_url.partition("://")[2].rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def home(self) -> Path:
        return self.program.home

    @property
    def store(self) -> Path:
        return self.program.store

    @property
    def log(self) -> str:
        """Everything that it wrote to stderr so far."""
        return "".join(self.lines)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of its log so far, parsed."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    @property
    def workers(self) -> list[int]:
        """The processes of its engines now."""
        return [pid for pid in children(self.pid) if b"workers/" in _command(pid)]

    def event(self, name: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
        """The first line of its log with that event, waited for; each is given once."""
        end = time.monotonic() + deadline_seconds
        for number, seen in enumerate(self._seen):
            if seen.get("event") == name:
                return self._seen.pop(number)
        while True:
            left = end - time.monotonic()
            assert left > 0, f"no {name} within {deadline_seconds} seconds:\n{self.log}"
            with contextlib.suppress(queue.Empty):
                line = self._news.get(timeout=left)
                assert line is not None, f"ended without {name}:\n{self.log}"
                if not line.startswith("{"):
                    continue
                parsed: dict[str, Any] = json.loads(line)
                if parsed.get("event") == name:
                    return parsed
                self._seen.append(parsed)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_seconds: float = END_SECONDS) -> int:
        """Send the signal, wait for the end, and give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait(within_seconds=within_seconds)

    def wait(self, *, within_seconds: float = END_SECONDS) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(within_seconds)
        self._reader.join(DEADLINE_SECONDS)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode()
            self.lines.append(line)
            self._news.put(line)
        self._news.put(None)


@contextlib.contextmanager
def serving(
    program: Program,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    config: str | None = None,
    ends_with: int | None = 143,
) -> Iterator[Server]:
    """Start `slmctl serve` and wait until it is ready; flags that name no place get a port that is free.

    `config` is config.toml for as long. `ends_with` is the exit code to be expected at the end, None where the
    test ends it by itself.
    """
    if config is not None:
        program.home.mkdir(parents=True, exist_ok=True)
        (program.home / "config.toml").write_text(config, encoding="utf-8")
    others = set(left_behind(program))  # of another server with the same home
    place = () if {"--port", "--socket"} & set(flags) else ("--port", "0")
    process = subprocess.Popen(
        program.command("serve", *place, *flags),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**program.environment, **(environment or {})},
        start_new_session=True,
    )
    try:
        server = Server(program, process)
        workers: set[int] = set()
        yield server
        workers.update(server.workers)
        code = server.stop()
        assert "Traceback" not in server.log, server.log
        if ends_with is not None:
            assert code == ends_with, server.log
            assert set(left_behind(program)) <= others
        for worker in workers:
            assert wait_until_gone(worker, 2.0), worker
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()
        if config is not None:
            (program.home / "config.toml").unlink()


def left_behind(program: Program) -> list[Path]:
    """What servers and workers have not removed of the runtime directory."""
    runtime = Path(program.environment["XDG_RUNTIME_DIR"])
    return [path for pattern in ("slmctl-*/w-*", "slmctl-*/s-*") for path in runtime.glob(pattern)]


def until_workers(server: Server, count: int) -> list[int]:
    """Its workers, once there are so many."""
    return until(lambda: found if len(found := server.workers) == count else None)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
