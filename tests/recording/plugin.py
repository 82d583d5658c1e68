"""A pytest plugin: records whom the tests ask, they and all that they start, and fails the run for a stranger.

Children are started with environments of their own, and workers with nearly none, so that no variable reaches all
of them. What does is a `.pth` file among the packages of the environment that they run from (`site`): each
interpreter reads it when it starts. It does nothing once the folder of the recording is gone, and is removed at
the end; what a killed run has left is removed by the next one.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.recording import hook
from tests.recording.judging import NAMED, Asked, recorded, strangers

_PREFIX = "slmctl-recording-"
_FOLDER = pytest.StashKey[Path]()
_FILE = pytest.StashKey[Path]()
_FOUND = pytest.StashKey[list[Asked]]()
_COUNT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-hosts", action="store_true", help="not even hosts that are reserved for tests may be asked"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "asks(*hosts): hosts that the test asks for where no network is")
    if _is_worker(config):
        return  # its interpreter has read the file
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o777)  # tests run slmctl as another user too
    config.stash[_FOLDER] = folder
    packages = Path(sysconfig.get_path("purelib"))
    _remove_stale(packages)
    if sys.prefix != sys.base_prefix:  # only an environment of ours is changed
        with suppress(OSError):
            file = packages / f"{_PREFIX}{folder.name.removeprefix(_PREFIX)}.pth"
            file.write_text(_line(folder), encoding="utf-8")
            config.stash[_FILE] = file
    hook.install(str(folder))


def _line(folder: Path) -> str:
    """What each interpreter executes."""
    return (
        f"import os; _f, _h = {str(folder)!r}, {hook.__file__!r}; _g = {{'__name__': 'recording'}};"
        " os.path.isdir(_f) and os.path.exists(_h) and"
        " (exec(compile(open(_h, encoding='utf-8').read(), _h, 'exec'), _g), _g['install'](_f))\n"
    )


def _remove_stale(packages: Path) -> None:
    for path in packages.glob(f"{_PREFIX}*.pth"):
        try:
            os.kill(int(path.stem.removeprefix(_PREFIX).partition("-")[0]), 0)
        except (ValueError, ProcessLookupError):
            path.unlink(missing_ok=True)
        except PermissionError:
            continue


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Note the hosts that a test names on purpose: where it has seen to it that nobody is there."""
    for marker in item.iter_markers("asks"):
        for host in marker.args:
            hook.note(f"{NAMED}\t{host}\t")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if _is_worker(config) or _FOLDER not in config.stash:
        return
    folder = config.stash[_FOLDER]
    config.stash[_COUNT] = sum(1 for _ in recorded(folder))
    config.stash[_FOUND] = strangers(folder, strict=config.getoption("--strict-hosts"))
    if config.stash[_FOUND]:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_FOUND, [])
    if found:
        terminalreporter.section("hosts that no test may ask for", red=True)
        for each in sorted({str(each) for each in found}):
            terminalreporter.line(each)
    terminalreporter.line(
        f"{config.stash.get(_COUNT, 0)} hosts and ports were asked, {len(found)} of them not on this machine"
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FILE in config.stash:
        config.stash[_FILE].unlink(missing_ok=True)
    if _FOLDER in config.stash:
        shutil.rmtree(config.stash[_FOLDER], ignore_errors=True)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")
