"""What a server leaves for others to find it by, and what is left of one that was killed."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import httpx

from slmctl.app.announced import find_server
from slmctl.server.announce import Announcement
from tests.processes import wait_until_gone
from tests.servers import left_behind, serving, until_workers
from tests.slmctl.cli.program import Program


def _folder(program: Program) -> Path:
    (folder,) = Path(program.environment["XDG_RUNTIME_DIR"]).glob("slmctl-*/s-*")
    return folder


def test_it_tells_its_own_user_alone_where_it_listens(slmctl: Program) -> None:
    with serving(slmctl) as server:
        folder = _folder(slmctl)
        said = json.loads((folder / "server.json").read_text())
        assert said["schema"] == "slmctl.server/1"
        assert said["pid"] == server.pid
        assert said["url"] == server.base_url
        assert len(said["token"]) >= 40
        assert said["token"] not in server.log
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "server.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((folder / "s.sock").stat().st_mode) == 0o600
        runtime = Path(slmctl.environment["XDG_RUNTIME_DIR"])
        found = find_server([runtime], slmctl.store)
        assert found is not None
        assert found.pid == server.pid
        assert find_server([runtime], slmctl.home / "other") is None, "it serves one store"
    assert find_server([runtime], slmctl.store) is None
    assert left_behind(slmctl) == []


def test_a_store_by_another_path_is_the_same_store(slmctl: Program, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(slmctl.home)
    with serving(slmctl):
        assert find_server([Path(slmctl.environment["XDG_RUNTIME_DIR"])], link / "store") is not None


def test_a_second_server_of_the_store_serves_and_is_not_told_of(slmctl: Program) -> None:
    with serving(slmctl) as first, serving(slmctl, ends_with=None) as second:
        note = second.event("not_announced")["text"]
        assert f"process {first.pid}" in note
        assert httpx.get(f"{second.base_url}/livez").status_code == 200
        assert second.stop() == 143
        found = find_server([Path(slmctl.environment["XDG_RUNTIME_DIR"])], slmctl.store)
        assert found is not None
        assert found.pid == first.pid


def test_killed_it_takes_its_workers_along_and_the_next_one_needs_no_hand(stocked: Program) -> None:
    runtime = Path(stocked.environment["XDG_RUNTIME_DIR"])
    with serving(stocked, "--preload", "hello", "--preload", "tiny", ends_with=None) as server:
        workers = until_workers(server, 2)
        port = server.port
        server.process.kill()
        server.wait()
        for worker in workers:
            assert wait_until_gone(worker, 20.0), "ten times as long as it may take"
    assert left_behind(stocked) != [], "it had no time to clean up"
    assert find_server([runtime], stocked.store) is None, "and yet nobody takes it for alive"
    assert stocked("ps", "--json").json["models"] == []
    assert stocked("run", "hello", "Hi").code == 0
    with serving(stocked, "--port", str(port), "--preload", "hello") as server:
        assert len(left_behind(stocked)) == 2, "this server's own folder and its worker's"
        assert find_server([runtime], stocked.store) is not None
        assert server.workers
    assert left_behind(stocked) == []


def test_a_killed_server_holds_no_lease(stocked: Program) -> None:
    others = _leases(stocked)
    with serving(stocked, "--preload", "hello", ends_with=None) as server:
        (worker,) = until_workers(server, 1)
        held = _leases(stocked) - others
        server.process.send_signal(signal.SIGKILL)
        server.wait()
        assert wait_until_gone(worker, 20.0)
    assert held
    assert stocked("gc", "--all").code == 0
    assert not held & _leases(stocked)


def _leases(program: Program) -> set[str]:
    return {path.name for path in (program.store / "leases").iterdir()}


def test_a_place_is_taken_once(tmp_path: Path) -> None:
    runtime = Path(os.path.realpath(tmp_path))
    runtime.chmod(0o700)
    first = Announcement.take([runtime], tmp_path / "store")
    assert first is not None
    other = Announcement.take([runtime], tmp_path / "other")
    assert other is not None
    first.remove()
    first.remove()
    again = Announcement.take([runtime], tmp_path / "store")
    assert again is not None
    again.remove()
    other.remove()
    assert [path.name for path in runtime.glob("slmctl-*/*")] == ["lock"]
