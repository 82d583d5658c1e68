"""Seeing what an engine makes of a conversation before it is asked to answer it.

A chat template is a program by whoever made the model. Whatever this conversation leads it to, the engine is
stopped when that takes too much.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

from registry.errors import EngineFailed, SlmctlError
from runtimes import protocol
from runtimes.client import Client, Endpoint
from runtimes.engines.base import Explanation
from runtimes.errors import EngineDied, EngineRefused
from runtimes.template_limits import DEFAULT_LIMITS, HINT, TemplateLimits, TemplateWatch, too_much

_FIRST_LOOK_SECONDS = 0.1
_LOOK_SECONDS = 0.05


class Renderer(Protocol):
    """A worker that is ready: a Worker or a Kept."""

    @property
    def endpoint(self) -> Endpoint: ...

    @property
    def pid(self) -> int | None: ...

    def death(self, timeout_seconds: float) -> EngineFailed | None: ...

    def kill(self) -> None: ...


def check_prompt(
    worker: Renderer, question: protocol.HttpRequest, limits: TemplateLimits = DEFAULT_LIMITS
) -> None:
    """Have the engine make the prompt of a chat request, and nothing of it yet, to see that this ends well.

    The worker is gone when it did not. Raises MalformedFile when the template takes too much or brings the
    engine down, EngineRefused when it fails for this conversation, and else as `Client.stream`.
    """
    limits = limits.for_question(len(question.body))
    client = Client(worker.endpoint, worker, timeout_seconds=2 * limits.deadline_seconds)
    with _watched(worker, limits):
        body = client.preview(question, limits.prompt_bytes + 1)
        if len(body) > limits.prompt_bytes:
            worker.kill()
            raise too_long(limits)


@contextlib.contextmanager
def _watched(worker: Renderer, limits: TemplateLimits) -> Iterator[None]:
    """Within the block the engine is at the template; it is killed when it takes too much there."""
    done = threading.Event()
    told: list[Explanation] = []

    def look() -> None:
        if done.wait(_FIRST_LOOK_SECONDS) or worker.pid is None:
            return
        watch = TemplateWatch(worker.pid, limits)
        while not done.wait(_LOOK_SECONDS):
            if (explanation := watch.overuse()) is not None:
                told.append(explanation)
                worker.kill()
                return

    looking = threading.Thread(target=look, name="slmctl-template-watch", daemon=True)
    looking.start()
    try:
        yield
    except EngineRefused as error:
        raise refusal(error) from None
    except EngineFailed as error:
        done.set()
        looking.join()
        if (meant := meaning(error, told[0] if told else None)) is not error:
            raise meant from None
        raise
    finally:
        done.set()
        looking.join()


def too_long(limits: TemplateLimits) -> SlmctlError:
    """The prompt has more bytes than it may."""
    return too_much(f"writes more than {limits.prompt_bytes // 2**20} MiB").as_error()


def meaning(error: EngineFailed, told: Explanation | None) -> SlmctlError:
    """What it means that the engine failed at a template; `told` is why it was killed, if it was."""
    if told is not None:
        return told.as_error()
    if isinstance(error, EngineDied):
        return too_much("brought the engine down").as_error()
    return error


_SCHEMA = "JSON schema error at "
"""Before the place in a tool's parameters that llama.cpp cannot make a grammar of, and why."""


def refusal(error: EngineRefused) -> EngineRefused:
    """The engine's refusal in our words, where it is the template's doing.

    The engine's words around a mistake in a template are many, and a part of the template is in them.
    """
    _, is_parsers, rest = error.message.partition("parser generation failed: ")
    said = rest if is_parsers else error.message
    head, is_explained, reason = said.rpartition("Error: ")
    if not is_parsers and not (is_explained and "While executing" in head):
        return error
    _, is_schemas, place = rest.partition(_SCHEMA)
    if is_schemas:
        return EngineRefused(
            f"The engine can make no grammar of a tool's parameters: {place}",
            status=error.status,
            kind=error.kind,
        )
    why = reason.removeprefix("Jinja Exception: ")  # of `raise_exception`
    verb = "fails for" if why == reason else "refuses"
    return EngineRefused(
        f"The model's chat template {verb} this conversation: {why}",
        status=error.status,
        kind=error.kind,
        hint=None if verb == "refuses" else HINT,
    )
