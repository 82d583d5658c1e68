from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtimes.launcher import Launcher, launch
from tests.runtimes.launches import DEADLINE_SECONDS

# asks for the parent-death signal like a worker, says so, and waits
MORTAL = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
print("up", flush=True)
sys.stdin.read()
"""


def finish(child: subprocess.Popen[bytes]) -> bytes:
    with child:
        out, _ = child.communicate(timeout=DEADLINE_SECONDS)
    return out


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(launch, [sys.executable, "-c", MORTAL], env={}).result()
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    finish(child)
    assert child.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_without_the_launcher_it_would_not() -> None:
    """What the launcher is for: should this fail one day, it is no longer needed."""

    def start() -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", MORTAL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert child.stdout is not None
        child.stdout.readline()
        return child

    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(start).result()
    with child:
        assert child.wait(DEADLINE_SECONDS) == -9


def test_the_child_gets_what_it_is_given_and_nothing_else() -> None:
    reader, writer = os.pipe()
    code = (
        f"import os; os.write({writer}, b'x'); "
        "import json; print(json.dumps([sorted(os.environ), os.getsid(0) == os.getpid(), os.listdir('/proc/self/fd')]))"
    )
    out = finish(launch([sys.executable, "-I", "-c", code], env={"A": "1"}, pass_fds=[writer]))
    os.close(writer)
    assert os.read(reader, 2) == b"x"
    os.close(reader)
    environ, leads_session, fds = json.loads(out)
    assert set(environ) <= {"A", "LC_CTYPE"}  # Python sets the locale itself
    assert leads_session is True
    assert {"0", "1", "2", str(writer)} <= set(fds)
    assert len(fds) == 5  # and the listing's own


def test_what_cannot_be_started_is_told_to_the_caller() -> None:
    with pytest.raises(FileNotFoundError):
        launch(["/nonexistent"], env={})
    assert finish(launch([sys.executable, "-c", "print(1)"], env={})) == b"1\n"


def test_one_thread_serves_all() -> None:
    launcher = Launcher()
    before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        children = list(pool.map(lambda _: launcher.launch(["/bin/true"], env={}), range(32)))
    assert [finish(child) for child in children] == [b""] * 32
    assert threading.active_count() == before + 1
