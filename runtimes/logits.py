"""A model's logits, from llama.cpp in a child process (runtimes/workers/llama_abi.py).

One question after the other: the child computes only while it is asked, so that two of them share a machine
without getting in each other's way. It ends with the block that it was opened by.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from registry.errors import DoesNotFit, EngineFailed, SlmctlError
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.errors import EngineSpokeNonsense, EngineUnavailable
from runtimes.launch import worker_argv
from runtimes.launcher import launch
from runtimes.logtail import LogTail

MOST_BYTES = 64 << 20
"""Logits that are held at once, of each of two models: 110 rows of 152k tokens."""

_LINE_BYTES = 1 << 20
_WHOLE = 4  # bytes of a token and of a logit


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitsRequest:
    """What is loaded. `models` are paths as the child sees them (`runtimes.launch.fd_path`), a set's parts in
    order, and `pass_fds` the descriptors behind them; `context` is in tokens. `gpu_layers` as llama.cpp's
    -ngl."""

    models: Sequence[str]
    context: int
    environment: Mapping[str, str]
    pass_fds: Sequence[int] = ()
    threads: int = 4
    batch_threads: int | None = None
    gpu_layers: int = 0
    main_gpu: int = 0
    most_bytes: int = MOST_BYTES


class Logits:
    """A loaded model: `columns` is the size of its vocabulary, `rows` how many rows of logits it gives at
    once, `batch` how many tokens it takes at once, `trained` the context that it was trained for, `begins`
    the token that every text begins with (None without one), `engine` the build that computes."""

    def __init__(self, request: LogitsRequest) -> None:
        """Start the child and wait until the model is loaded.

        Raises EngineUnavailable for an engine that is not there or of a build that is not known, DoesNotFit
        for a model without logits, and else what llama.cpp's end means (`LLAMA_CPP.explain`).
        """
        self._process = _launched(request)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._log = LogTail([self._process.stderr])
        self._answers = io.BufferedReader(self._process.stdout)  # type: ignore[type-var]  # it is raw
        try:
            ready = self._ask(_document(request))[0].get("ready")
            assert isinstance(ready, dict)
            self.columns, self.rows, self.batch = (int(ready[name]) for name in ("columns", "rows", "batch"))
            self.trained = int(ready["trained"])
            self.begins: int | None = ready["bos"]
            self.engine = f"xllamacpp {ready['version']}"
        except BaseException:
            self.close()
            raise

    def tokenize(self, text: str) -> npt.NDArray[np.int32]:
        """The tokens of a text, with those that the model puts before one."""
        return np.frombuffer(self._ask({"tokenize": text})[1], np.int32)

    def decode(
        self, tokens: npt.NDArray[np.int32], rows: int, *, anew: bool = False
    ) -> npt.NDArray[np.float32]:
        """Compute at most `batch` tokens behind those before, or `anew`; gives the logits of the last `rows`.

        The answer's shape is (rows, columns): what each of those tokens makes of the next.
        """
        question = {"decode": tokens.tolist(), "rows": rows, "anew": anew}
        values = np.frombuffer(self._ask(question)[1], np.float32)
        if values.size != rows * self.columns:
            raise EngineSpokeNonsense("The engine gave another number of logits than it was asked for.")
        return values.reshape(rows, self.columns)

    def close(self) -> None:
        """End the child. A second call does nothing."""
        process = self._process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self._log.finish()
        for stream in (process.stdin, self._answers):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, question: Mapping[str, object]) -> tuple[dict[str, Any], bytes]:
        try:
            _write(self._process, json.dumps(question, ensure_ascii=False).encode() + b"\n")
            line = self._answers.readline(_LINE_BYTES)
            answer = json.loads(line) if line else None
            data = self._answers.read(answer["bytes"]) if answer is not None else b""
        except BrokenPipeError:
            answer, data = None, b""
        except (ValueError, TypeError, KeyError):
            raise EngineSpokeNonsense("The engine's answer cannot be understood.") from None
        if answer is None or len(data) != answer["bytes"]:
            raise self._death()
        if "refused" in answer:
            raise self._refusal(answer["refused"])
        return answer, data

    def _death(self) -> SlmctlError:
        status = self._process.wait()
        self._log.finish()
        return LLAMA_CPP.explain(status, self._log.text()).as_error()

    def _refusal(self, refused: Mapping[str, str]) -> SlmctlError:
        kind, message = refused["kind"], refused["message"]
        if kind == "build":
            return EngineUnavailable(
                f"The engine's logits cannot be read: {message}.", hint="Install that version of it."
            )
        if kind == "model":
            return DoesNotFit(
                f"There is no perplexity here: {message}.", hint="Take a model that writes text."
            )
        if kind in ("load", "import"):
            self._process.wait()
            self._log.finish()
            report = json.dumps({"slmctl_worker_error": {"kind": kind, "message": message}})
            return LLAMA_CPP.explain(1, f"{self._log.text()}\n{report}").as_error()
        return EngineFailed(f"The engine could not go on: {message}.")


def _launched(request: LogitsRequest) -> subprocess.Popen[bytes]:
    try:
        return launch(worker_argv("llama_abi"), env=request.environment, pass_fds=tuple(request.pass_fds))
    except (OSError, subprocess.SubprocessError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise EngineFailed(f"The engine's program cannot be run ({reason}).") from None


def _document(request: LogitsRequest) -> dict[str, object]:
    return {
        "parent": os.getpid(),
        "models": list(request.models),
        "context": request.context,
        "most_bytes": request.most_bytes,
        "threads": request.threads,
        "batch_threads": request.batch_threads or request.threads,
        "gpu_layers": request.gpu_layers,
        "main_gpu": request.main_gpu,
    }


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(process.stdin.fileno(), rest) :]
