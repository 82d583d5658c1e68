"""Leaving a worker loaded: a holder (`runtimes.holder`) starts it in our place and stays."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from registry.errors import DoesNotFit, EngineFailed, MalformedFile, OperationFailed, SlmctlError
from runtimes.errors import (
    EngineStartFailed,
    EngineStartTimeout,
    EngineUnavailable,
    ModelTooBig,
)
from runtimes.kept import Kept
from runtimes.launch import Launch
from runtimes.lines import Connection

_HOME = Path(__file__).parents[1]

_MORE_SECONDS = 30.0
"""The holder itself gives up a start that takes too long; so much later we take it for stuck."""

# forks once more, so that the holder is nobody's child and leaves no zombie behind
_PROGRAM = (
    "import os, sys; os.fork() and os._exit(0); sys.path.append(sys.argv[1]); "
    "from runtimes.holder import main; main()"
)


def start_kept(
    launch: Launch,
    *,
    engine: str,
    identity: str,
    about: Mapping[str, object],
    keep_seconds: float | None,
    on_log: Callable[[str], None],
) -> Kept:
    """Have a holder start `launch`, wait until its worker is ready, and take it into use.

    `keep_seconds` None keeps it for ever. Raises what the worker's `ensure_ready` would raise, after
    `on_log` was given the engine's last output.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours)
        try:
            holder = subprocess.Popen(
                [sys.executable, "-P", "-c", _PROGRAM, str(_HOME)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=dict(launch.environment),
                cwd="/",
                pass_fds=launch.pass_fds,
                start_new_session=True,
            )
            holder.wait()
        except OSError as error:
            connection.close()
            raise EngineStartFailed(f"The holder cannot be started: {error.strerror}.") from None
        except BaseException:
            connection.close()
            raise
    connection.wait(launch.start_timeout_seconds + _MORE_SECONDS)
    try:
        connection.send({"order": _order(launch, engine, identity, about), "keep": keep_seconds})
        greeting = connection.receive() or {}
        if greeting.get("state") != "ready":
            on_log(str(greeting.get("log") or ""))
            raise _failure(greeting)
        connection.wait(None)
        return Kept(connection, greeting)
    except TimeoutError:
        connection.close()
        raise EngineStartTimeout("The process that was to keep the model loaded does not answer.") from None
    except OSError:
        connection.close()
        raise EngineStartFailed("The process that was to keep the model loaded is gone.") from None
    except BaseException:
        connection.close()
        raise


def _order(launch: Launch, engine: str, identity: str, about: Mapping[str, object]) -> dict[str, object]:
    return {
        "engine": engine,
        "identity": identity,
        "about": dict(about),
        "argv": list(launch.argv),
        "environment": dict(launch.environment),
        "document": dict(launch.document),
        "folders": [str(folder) for folder in launch.folder_candidates],
        "fds": list(launch.pass_fds),
        "links": dict(launch.links),
        "timeout": launch.start_timeout_seconds,
        "lease": launch.lease,
        "log": str(launch.log) if launch.log is not None else None,
    }


def _failure(greeting: Mapping[str, object]) -> SlmctlError:
    """The error that the holder met, as one of ours."""
    message = str(greeting.get("message") or "The process that was to keep the model loaded is gone.")
    hint = greeting.get("hint")
    kind = _KINDS.get(str(greeting.get("kind")), EngineStartFailed)
    return kind(message, hint=hint if isinstance(hint, str) else None)


_KINDS: Mapping[str, type[SlmctlError]] = {
    kind.__name__: kind
    for kind in (
        DoesNotFit,
        EngineFailed,
        EngineStartFailed,
        EngineStartTimeout,
        EngineUnavailable,
        MalformedFile,
        ModelTooBig,
        OperationFailed,
    )
}
"""The errors that a start may end with, by their names."""
