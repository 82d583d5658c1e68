"""What an engine is to slmctl: three pure questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from registry.errors import EngineFailed, SlmctlError


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """How a model is to be loaded. None leaves a choice to the engine.

    `model` is a path as the worker sees it: `fd_path(fd)` for a file handed over as a descriptor, or a bare
    name of one of the launch's `links`; so are `projector`, `adapters` (LoRA, each applied in full) and
    `draft`, the model that guesses ahead (`draft_tokens` at a time). `context_length` is what one request may
    use; a worker that answers `parallel` requests at once holds that many contexts. `predict_limit` ends the
    answers to requests that name no limit of their own. `repack` lets the engine rearrange weights, in a
    copy of their own that its CPU reads faster; `context_checkpoints` is how many states of a cache that
    cannot be cut back are remembered. Sizes are in tokens unless the name says otherwise.
    """

    model: str
    context_length: int
    parallel: int = 1
    projector: str | None = None
    adapters: tuple[str, ...] = ()
    draft: str | None = None
    draft_tokens: int | None = None
    threads: int | None = None
    batch_threads: int | None = None
    batch: int | None = None
    micro_batch: int | None = None
    gpu_layers: int | None = None
    main_gpu: int | None = None
    cache_ram_mib: int = 0
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    flash_attention: bool | None = None
    mmap: bool | None = None
    mlock: bool = False
    embedding: bool = False
    pooling: str | None = None
    chat_template: str | None = None
    predict_limit: int | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    warmup: bool = True
    context_checkpoints: int | None = None
    repack: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What an engine's end means: a sentence, what to do about it, and the branch of errors it belongs to."""

    sentence: str
    hint: str | None = None
    error: type[SlmctlError] = EngineFailed

    def as_error(self) -> SlmctlError:
        return self.error(self.sentence, hint=self.hint)


class Engine(Protocol):
    """One engine. Pure: nothing here starts a process, reads a file or looks at the machine.

    `name` is the engine's name in plans and messages, `worker` its program under runtimes/workers.
    """

    @property
    def name(self) -> str: ...

    @property
    def worker(self) -> str: ...

    def supports(self, model_format: str, architecture: str | None) -> str | None:
        """Why the engine cannot run a model of this format ("gguf", ...), as a sentence; None when it can."""

    def command(self, request: LaunchRequest) -> Mapping[str, object]:
        """The launch document for `request`, without what only the start knows (socket, key, parent).

        JSON values only; every flag in it is on the engine's allow-list. Raises UsageError for a value that
        the engine has no word for.
        """

    def explain(self, returncode: int | None, stderr_tail: str) -> Explanation:
        """What it means that the worker ended with `returncode` after writing `stderr_tail`.

        `returncode` is as subprocess gives it, negative for a signal, None while it runs. The sentence has no
        address, no socket path and no path of a file descriptor in it.
        """

    def loggable(self, line: str) -> str | None:
        """What of a line that a worker with prompts wrote may be kept in a file; None for nothing of it.

        Whatever the line is: nothing of a prompt or an answer, which engines quote in their complaints.
        """

    def is_at_template(self, stderr_tail: str) -> bool:
        """Whether a worker that is not ready yet, and wrote `stderr_tail`, is now at the chat template."""
