"""Taking a model's thoughts out of a text that the engine passes on as it comes.

The engine does this itself for chats that it renders; a Go TEMPLATE is rendered here and its answer is plain
text to the engine, thoughts and all.
"""

from __future__ import annotations

from collections.abc import Generator

from modelfiles.builtin import PARSERS, Thoughts
from modelfiles.spec import ModelSpec
from runtimes.protocol import Event, Progress, TextDelta, Think, ThinkingDelta, TokenLogprob
from slmctl.app.stages import through

_USUAL = Thoughts("<think>", "</think>")


def thoughtful(
    events: Generator[Event], spec: ModelSpec, think: Think | None, *, prompt: str = ""
) -> Generator[Event]:
    """`events` with what the model thinks as ThinkingDelta, as `thoughts_stage` takes it out."""
    stage = thoughts_stage(spec, think, prompt=prompt)
    return events if stage is None else through(events, stage)


def thoughts_stage(
    spec: ModelSpec, think: Think | None, *, prompt: str = "", jinja: str = ""
) -> ThoughtsStage | None:
    """What takes a model's thoughts out of its answer; None where it has no marks for them.

    `prompt` is what the answer continues, where that is known, `jinja` the template that made it, where it is
    one in Jinja. The marks are PARSER's; without one, the usual
    ones where a template writes thoughts between them, or the prompt ends in one. Thoughts come first
    or not at all: a mark further on is text. Blanks around the marks go with them. What never closes is
    thought to the end.
    """
    thoughts = _thoughts_of(spec)
    guessed = prompt.rstrip().endswith(_USUAL.opening) or writes_thoughts(jinja)
    if thoughts is None and guessed and spec.parser not in PARSERS:  # passthrough has none, and says so
        thoughts = _USUAL
    if thoughts is None:
        return None
    begun = (thoughts.begun and think is not False) or prompt.rstrip().endswith(thoughts.opening)
    return ThoughtsStage(thoughts, begun=begun)


def writes_thoughts(jinja: str) -> bool:
    """Whether a template in Jinja knows the usual marks."""
    return _USUAL.opening in jinja


def _thoughts_of(spec: ModelSpec) -> Thoughts | None:
    if spec.parser is not None and spec.parser in PARSERS:
        return PARSERS[spec.parser]
    template = spec.template or ""
    return _USUAL if ".Thinking" in template and _USUAL.opening in template else None


class ThoughtsStage:
    """`begun`: the prompt ends in the opening mark."""

    def __init__(self, thoughts: Thoughts, *, begun: bool) -> None:
        self._splitter = _Splitter(thoughts, begun=begun)
        self._logprobs: tuple[TokenLogprob, ...] = ()
        self.opening = thoughts.opening
        self.closing = thoughts.closing

    @property
    def answers(self) -> bool:
        """Whether the thoughts are over, or there are none."""
        return self._splitter.state == "answer"

    def read(self, event: Event) -> list[Event]:
        if isinstance(event, TextDelta):
            self._logprobs += event.logprobs
            return self._with_logprobs(list(self._splitter.read(event.text)))
        if isinstance(event, Progress):
            return [event]
        rest = self._with_logprobs(list(self._splitter.end()))
        if self._logprobs:
            rest.append(TextDelta("", self._logprobs))
            self._logprobs = ()
        return [*rest, event]

    def _with_logprobs(self, events: list[Event]) -> list[Event]:
        """The probabilities that were held back with the text go with the first that comes of it."""
        if self._logprobs and events:
            first = events[0]
            assert isinstance(first, TextDelta | ThinkingDelta)
            events[0] = type(first)(first.text, self._logprobs)
            self._logprobs = ()
        return events


class _Splitter:
    """Text in pieces of any size -> deltas. What may be the beginning of a mark is held back."""

    def __init__(self, thoughts: Thoughts, *, begun: bool) -> None:
        self._thoughts = thoughts
        self._held = ""
        self.state = "opening"
        self._begun = begun
        self._at_start = True  # of the thought, or of the answer behind it: blanks there go

    def read(self, text: str) -> Generator[Event]:
        self._held += text
        if self.state == "opening":
            self._open()
        if self.state == "thinking":
            yield from self._think()
        if self.state == "answer" and (answer := self._taken(len(self._held))):
            yield TextDelta(answer)

    def end(self) -> Generator[Event]:
        """The text has ended: what was held back is no mark."""
        thinking = self.state == "thinking" or (self.state == "opening" and self._begun)
        if rest := self._taken(len(self._held)):
            yield ThinkingDelta(rest) if thinking else TextDelta(rest)

    def _open(self) -> None:
        bare = self._held.lstrip()
        if bare.startswith(self._thoughts.opening):
            self._held = bare.removeprefix(self._thoughts.opening)
            self.state = "thinking"
        elif not self._thoughts.opening.startswith(bare):
            self.state = "thinking" if self._begun else "answer"
            self._at_start = self._begun

    def _think(self) -> Generator[Event]:
        """Everything up to the closing mark; before it, all but what may be its beginning."""
        closing = self._thoughts.closing
        at = self._held.find(closing)
        end = at if at >= 0 else len(self._held) - _beginning(self._held, closing)
        thought = self._taken(len(self._held[:end].rstrip()))
        if thought:
            yield ThinkingDelta(thought)
        if at >= 0:
            self._held = self._held.lstrip().removeprefix(closing)
            self.state, self._at_start = "answer", True

    def _taken(self, end: int) -> str:
        text, self._held = self._held[:end], self._held[end:]
        if self._at_start:
            text = text.lstrip()
            self._at_start = not text
        return text


def _beginning(text: str, mark: str) -> int:
    """How many characters at the end of `text` may begin `mark`."""
    return next((size for size in range(len(mark) - 1, 0, -1) if text.endswith(mark[:size])), 0)
