"""What can go wrong with an engine, under the branches of registry.errors.

EngineFailed (registry.errors)
├── EngineStartFailed     it ended, or refused, before it was ready
│   └── EngineStartTimeout  it was still loading when its time was over, and was killed
├── EngineNotReady        it is still loading; only the caller's patience is over
├── EngineStopped         slmctl itself stopped it
├── EngineDied            it ended, or cut the connection, while it was needed
├── EngineUnresponsive    it lives and says nothing
├── EngineRefused         it answered with an error object; carries status, kind and code
└── EngineSpokeNonsense   its answer breaks the worker contract
DoesNotFit (registry.errors)
├── EngineUnavailable     the engine is not installed, or lacks a library, or this CPU cannot run it
└── ModelTooBig           not enough memory for the model and its context
"""

from __future__ import annotations

from registry.errors import DoesNotFit, EngineFailed

TOO_LONG = "exceed_context_size_error"
"""llama-server's name for a prompt that its context cannot hold."""


class EngineStartFailed(EngineFailed):
    pass


class EngineStartTimeout(EngineStartFailed):
    pass


class EngineNotReady(EngineFailed):
    pass


class EngineStopped(EngineFailed):
    pass


class EngineDied(EngineFailed):
    pass


class EngineUnresponsive(EngineFailed):
    pass


class EngineRefused(EngineFailed):
    """`status` is the HTTP status (or the code inside a stream), `kind` the engine's name for the error.

    Of a prompt that is too long, `prompt_tokens` are its tokens and `context` those that there is room for.
    All are None where the engine did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None,
        kind: str | None,
        hint: str | None = None,
        prompt_tokens: int | None = None,
        context: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind
        self.prompt_tokens = prompt_tokens
        self.context = context

    @property
    def is_too_long(self) -> bool:
        """Whether the prompt is longer than the context."""
        return self.kind == TOO_LONG


class EngineSpokeNonsense(EngineFailed):
    pass


class EngineUnavailable(DoesNotFit):
    pass


class ModelTooBig(DoesNotFit):
    pass
