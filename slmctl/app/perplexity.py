"""Measuring a variant: how well it predicts a text, and how far it is from another build of the model.

    text -> both builds loaded, each in a child -> windows, one by one -> numbers -> kept with the variant

Nothing is written before all is measured.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.digest import Digest
from registry.errors import DoesNotFit, NoSpace, NotFound, StoreUnusable, UsageError
from registry.manifest import Descriptor
from registry.names import parse
from registry.store.reader import StoreReader
from registry.store.store import Store
from runtimes import perplexity as computing
from runtimes.engines.llamacpp import LLAMA_CPP
from runtimes.environment import worker_environment
from runtimes.errors import EngineSpokeNonsense
from runtimes.launch import fd_path
from runtimes.logits import Logits, LogitsRequest
from slmctl.app import measured as measuring
from slmctl.app.cpus import usable_cpus
from slmctl.app.events import Note, OnEvent, Progress, ignore
from slmctl.app.finding import locate
from slmctl.app.holds import hold
from slmctl.app.measured import Against, Measured, Number
from slmctl.app.opening import open_model
from slmctl.app.package import Package, Variant, check_unpacked
from slmctl.app.planning.launching import planned_flags
from slmctl.app.planning.running import plan_run
from slmctl.app.planning.wishes import RunWishes
from slmctl.config import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

USUAL_CONTEXT = 512
"""Tokens of a window, as llama.cpp's tool has them: what was published elsewhere was measured so."""

FEWEST_WINDOWS = 2
_MOST_TEXT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A build that is loaded, and where its files are."""

    reader: StoreReader
    package: Package
    variant: Variant

    @property
    def shown(self) -> str:
        return f"{self.package.name.removesuffix(':latest')} {self.variant.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityRequest:
    """What is measured of `subject` on the file `text`, and `against` which build. `context` is the length of
    a window in tokens, `most_windows` how many are read; `keep` has the result kept with the variant. `force`
    loads what a plan finds too large."""

    subject: Subject
    text: Path
    against: Subject | None = None
    context: int | None = None
    most_windows: int | None = None
    keep: bool = True
    force: bool = False


def subject_of(reader: StoreReader, name: str, variant: str | None, on_event: OnEvent) -> Subject:
    """The build that is named. Raises as `locate` and `Package.choose` do."""
    found, package = locate(reader, parse(name), on_event)
    return Subject(reader=found, package=package, variant=package.choose(variant))


def other_of(reader: StoreReader, subject: Subject, against: str, on_event: OnEvent) -> Subject:
    """The build to hold it against: another variant of the model, else the model of that name."""
    package = subject.package
    if any(against.lower() in each.id for each in package.variants):
        return Subject(reader=subject.reader, package=package, variant=package.choose(against))
    try:
        return subject_of(reader, against, None, on_event)
    except NotFound as error:
        ids = ", ".join(each.id for each in package.variants)
        raise NotFound(error.message, hint=f"{package.name} itself has {ids}.") from None


def perplexity(
    store: Store, settings: Settings, request: PerplexityRequest, on_event: OnEvent = ignore
) -> tuple[Measured, bool]:
    """Measure; gives what was found, and whether it is kept in `store` with the variant.

    Raises UsageError for a text that is none or too short, DoesNotFit, NotFound, BadContent, EngineFailed,
    also for a build whose numbers are none.
    """
    subject, against = request.subject, request.against
    data = _read(request.text)
    context = _context(request)
    with ExitStack() as stack:
        wishes = RunWishes(force=request.force)
        model = stack.enter_context(_opened(settings, subject, context, wishes, on_event))
        base = None
        if against is not None:
            base = stack.enter_context(_opened(settings, against, context, wishes, on_event))
        tokens = _tokens(model, base, data.decode(), request, context)
        count = min(len(tokens) // context, request.most_windows or len(tokens))
        size = round(len(data) * min(1.0, count * context / len(tokens)))

        def tell(done: int) -> None:
            on_event(Progress(stage="measure", item=subject.shown, done=size * done // count, total=size))

        tell(0)
        given = computing.windows(tokens, context, begins=model.begins, most=request.most_windows)
        found = computing.measure(model, given, against=base, on_window=tell)
        engine = model.engine
    result = Measured(
        text=Digest.of(data),
        text_bytes=len(data),
        context=context,
        windows=found.windows,
        tokens=found.tokens,
        perplexity=_number(found.perplexity, subject),
        engine=engine,
        against=_compared(found.against, against),
    )
    return result, request.keep and _keep(store, settings, subject, result, on_event)


def _read(path: Path) -> bytes:
    """The text's bytes. Raises UsageError."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MOST_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"The text {str(path)!r:.120} cannot be read ({os.strerror(error.errno or 0)}).",
            hint="Give a text file with --text FILE.",
        ) from None
    if len(data) > _MOST_TEXT_BYTES:
        raise UsageError(
            f"The text has more than {_MOST_TEXT_BYTES >> 20} MiB.", hint="A megabyte tells as much."
        )
    try:
        data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"The text {str(path)!r:.120} is not UTF-8.", hint="Save it as UTF-8.") from None
    return data.removesuffix(b"\n")  # as llama.cpp's own tool reads a file


def _context(request: PerplexityRequest) -> int:
    """The length of a window: as asked, else as usual and never more than was trained."""
    subjects = [request.subject, *([request.against] if request.against else [])]
    facts = [each.variant.facts for each in subjects if each.variant.facts is not None]
    least = min((each.trained_context for each in facts if each.trained_context), default=None)
    if least is None:
        return request.context or USUAL_CONTEXT
    if request.context is not None and request.context > least:
        raise UsageError(
            f"{request.subject.shown} was trained for {least} tokens, not for windows of {request.context}.",
            hint=f"Take --ctx {min(least, USUAL_CONTEXT)}.",
        )
    return request.context or min(least, USUAL_CONTEXT)


@contextmanager
def _opened(
    settings: Settings, subject: Subject, context: int, wishes: RunWishes, on_event: OnEvent
) -> Iterator[Logits]:
    """The build, loaded as a run on this machine would load it."""
    variant, package, reader = subject.variant, subject.package, subject.reader
    check_unpacked(package, variant)
    if LLAMA_CPP.supports(variant.format, variant.facts.architecture if variant.facts else None) is not None:
        raise DoesNotFit(
            f"Perplexity is measured with llama.cpp, and {subject.shown} is no GGUF file.",
            hint=f"'slmctl show {package.name}' lists the variants.",
        )
    if variant.of_role("adapter"):
        on_event(Note(text=f"{subject.shown} is measured without its adapters."))
    parameters = {"num_ctx": context}
    planned = plan_run(reader, settings, package, variant=variant.id, parameters=parameters, wishes=wishes)
    flags = planned_flags(planned) if planned.launch is not None else {}
    held = hold(reader, settings, package, variant)
    try:
        with open_model(reader, variant, False, on_event, ("weights",)) as files:
            fds = [stream.fileno() for stream in files.streams]
            for fd in fds:
                os.lseek(fd, 0, os.SEEK_SET)  # where /dev/fd is a duplicate (macOS), the offset is shared too
            asked = LogitsRequest(
                models=[fd_path(fd) for fd in fds],
                context=context,
                environment=worker_environment(settings.environment),
                pass_fds=fds,
                threads=flags.get("threads") or usable_cpus(),
                batch_threads=flags.get("batch_threads"),
                gpu_layers=flags.get("gpu_layers") or 0,
                main_gpu=flags.get("main_gpu") or 0,
            )
            with Logits(asked) as loaded:
                yield loaded
    finally:
        held.release()


def _tokens(
    model: Logits, base: Logits | None, text: str, request: PerplexityRequest, context: int
) -> npt.NDArray[np.int32]:
    """The text's tokens, the same in both builds, enough for two windows."""
    tokens = model.tokenize(text)
    if base is not None:
        theirs = base.tokenize(text)
        same = len(tokens) == len(theirs) and bool((tokens == theirs).all())
        if model.columns != base.columns or model.begins != base.begins or not same:
            assert request.against is not None
            raise UsageError(
                f"{request.subject.shown} and {request.against.shown} have different vocabularies.",
                hint="Only builds of the same model can be held against each other.",
            )
    if len(tokens) < FEWEST_WINDOWS * context:
        raise UsageError(
            f"The text has {len(tokens)} tokens; {FEWEST_WINDOWS} windows of {context} take"
            f" {FEWEST_WINDOWS * context}.",
            hint="Take a longer text, or a smaller window with --ctx.",
        )
    return tokens


def _compared(found: computing.Comparison | None, against: Subject | None) -> Against | None:
    if found is None or against is None:
        return None
    return Against(
        digest=against.variant.digest,
        variant=against.variant.id,
        quantization=against.variant.quantization,
        perplexity=_number(found.perplexity, against),
        divergence=_number(found.divergence, against),
        same_top=_number(found.same_top, against),
    )


def _number(estimate: computing.Estimate, subject: Subject) -> Number:
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.error)):
        raise EngineSpokeNonsense(
            f"{subject.shown} gives numbers that are no probabilities of anything.",
            hint="The build is of no use: make it anew, or take another with --variant.",
        )
    return Number(value=estimate.value, error=estimate.error)


def _keep(store: Store, settings: Settings, subject: Subject, measured: Measured, on_event: OnEvent) -> bool:
    """Put the result beside the variant, where that lies in the user's own store; whether it is there."""
    reader, variant = subject.reader, subject.variant
    if reader.origin is not None or reader.root != settings.store:
        on_event(Note(text=f"The result is not kept: {reader.root} is not your store."))
        return False
    if measuring.is_outdone(reader, variant.digest, measured):
        on_event(Note(text="The result is not kept: an earlier one read more of the same text."))
        return False
    try:
        manifest = reader.manifest_of(variant.digest)
        about = Descriptor(media_type=manifest.media_type, digest=variant.digest, size=len(manifest.raw))
        with store.session(f"perplexity {subject.package.name}") as session:
            session.keep([variant.digest])
            referrer = measuring.write(session, about, variant, measured)
            old = measuring.superseded(reader, variant.digest, measured)
            store.refer(referrer, instead_of=old)
    except (NotFound, StoreUnusable, NoSpace) as error:
        on_event(Note(text=f"The result is not kept: {error.message}"))
        return False
    return True
