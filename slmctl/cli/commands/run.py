"""slmctl run"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Self

import click

from modelfiles.spec import ParameterValue, parse_parameter
from registry.errors import OperationFailed, UsageError
from registry.names import parse
from runtimes.protocol import Finished, TextDelta, Think, ThinkingDelta
from slmctl.app.durations import parse_duration
from slmctl.app.generate import GenerateEvent, GenerateRequest, generate
from slmctl.app.load import Loaded
from slmctl.app.planning.wishes import RunWishes
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.exits import Exit
from slmctl.cli.getting import POLICIES, Wanted, located
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.plan_options import run_plan_options
from slmctl.cli.render import Output
from slmctl.cli.schema import misfit, schema_of
from slmctl.cli.timings import timings

if TYPE_CHECKING:
    from slmctl.cli.terminal.screen import AnswerWriter

_MAX_PROMPT_BYTES = 64 << 20
_PATIENCE_SECONDS = 2.0
"""After so long without a byte on stdin it is said what is waited for."""

_THINK: dict[str, Think] = {
    "true": True,
    "false": False,
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}


class _Run(click.Command):
    """`--think` may have a value, though only behind a =: `run --think NAME` is about NAME."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        options = [param for param in self.params if isinstance(param, click.Option) and not param.is_flag]
        takers = {name for option in options for name in option.opts}  # --system --think=low is a text
        for at, argument in enumerate(args[:end]):
            if argument.startswith("--think=") and (at == 0 or args[at - 1] not in takers):
                args[at] = f"--think-value={argument.removeprefix('--think=')}"
        return super().parse_args(ctx, args)


class _ThinkValue(click.Option):
    """Errors name what was typed."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return "'--think'"


@make_command(
    "run",
    cls=_Run,
    about="Ask the model NAME, or that in the bundle at PATH (PATH:NAME where it has several). Text piped in"
    " stands before PROMPT; without either a terminal gets a prompt.",
)
@click.argument("name", metavar="NAME|PATH", shell_complete=candidates.models_and_paths)
@click.argument("prompt", nargs=-1)
@click.option("--system", metavar="TEXT", help="The system message, in place of the package's.")
@click.option("--temperature", metavar="NUMBER", help="0 takes the likeliest token always.")
@click.option("--seed", metavar="NUMBER", help="The same seed gives the same answer.")
@click.option("--max-tokens", metavar="NUMBER", help="End the answer after so many tokens.")
@click.option("--ctx", metavar="TOKENS", help="The context's length.")
@click.option(
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any parameter of a Modelfile, such as top_k=40.",
)
@click.option("--raw", is_flag=True, help="Feed the prompt as it is, without a chat template.")
@click.option(
    "--variant",
    metavar="ID",
    shell_complete=candidates.variants,
    help="Which build, where there are several.",
)
@click.option(
    "--think/--no-think",
    "think",
    default=None,
    help="Ask a model that can for its reasoning first (also --think=low, medium, high), or for none of it.",
)
@click.option("--think-value", cls=_ThinkValue, type=click.Choice(list(_THINK)), hidden=True)
@click.option(
    "--hide-thinking",
    "--hidethinking",
    is_flag=True,
    help="Do not show the reasoning; a pipe never gets it.",
)
@click.option(
    "--format",
    "format_",
    metavar="json|SCHEMA",
    help="Answer in JSON that fits a JSON Schema: its text, or a file with it.",
)
@click.option(
    "--keep",
    "--keepalive",
    metavar="TIME",
    help="Keep the model loaded for so long, such as 5m: the next run answers at once. 0 unloads it.",
)
@click.option("--nowordwrap", is_flag=True, help="Do not break lines at words on a terminal.")
@click.option(
    "--pull",
    "pull_policy",
    type=click.Choice(POLICIES),
    default="missing",
    show_default=True,
    help="When to pull the model first.",
)
@run_plan_options
@network_options
@click.option("--verify", is_flag=True, help="Hash the files before they are loaded.")
@click.option("--verbose", is_flag=True, help="Print timings to stderr, and what an engine that fails wrote.")
def command(
    context: Context,
    name: str,
    prompt: tuple[str, ...],
    system: str | None,
    temperature: str | None,
    seed: str | None,
    max_tokens: str | None,
    ctx: str | None,
    options: tuple[str, ...],
    raw: bool,
    variant: str | None,
    think: bool | None,
    think_value: str | None,
    hide_thinking: bool,
    format_: str | None,
    keep: str | None,
    nowordwrap: bool,
    pull_policy: str,
    wishes: RunWishes,
    network: NetworkOptions,
    verify: bool,
    verbose: bool,
) -> None:
    context.output.verbose = verbose
    named = {"temperature": temperature, "seed": seed, "num_predict": max_tokens, "num_ctx": ctx}
    parameters = _parameters(named, options)
    schema = schema_of(format_) if format_ is not None else None
    keep_seconds = parse_duration(keep, what="--keep") if keep is not None else None
    thinking = think if think_value is None else _THINK[think_value]
    # before anybody waits for stdin
    wanted = Wanted(variant=variant, context=_whole(parameters, "num_ctx"), wishes=wishes)
    reader, package, wishes = located(context, parse(name), pull_policy, network, wanted)
    if not prompt and sys.stdin.isatty() and sys.stdout.isatty() and not context.output.as_json:
        from slmctl.app.chat import Chat, ChatSettings  # a pipe has no use for these
        from slmctl.cli.terminal.session import converse

        _check_text(system or "")
        chosen = ChatSettings(
            system=system,
            parameters=parameters,
            raw=raw,
            think=thinking,
            schema=schema,
            verify=verify,
            keep_seconds=keep_seconds,
            wishes=wishes,
        )
        on_event = context.output.on_event
        with Chat(
            context.store,
            context.settings,
            package,
            chosen,
            reader=None if reader is context.reader else reader,
            variant=variant,
            on_event=on_event,
        ) as chat:
            converse(context, chat, hide_thinking=hide_thinking, wraps=not nowordwrap)
        return
    request = GenerateRequest(
        package=package,
        prompt=_read_prompt(prompt, context.output),
        system=system,
        raw=raw,
        parameters=parameters,
        variant=variant,
        verify=verify,
        think=thinking,
        schema=schema,
        keep_seconds=keep_seconds,
        wishes=wishes,
    )
    _check_text(f"{request.prompt}{request.system or ''}")
    writer = None
    if sys.stdout.isatty() and not context.output.as_json:
        from slmctl.cli.terminal.screen import AnswerWriter, wants_style

        styled = wants_style(context.settings.environment)
        writer = AnswerWriter(sys.stdout, wrap=not nowordwrap, styled=styled, hide_thinking=hide_thinking)
    answer = _Answer(context.output, writer)
    events = generate(reader, context.settings, request, context.output.on_event)
    with closing(events), answer:
        for event in events:
            answer.take(event)
    if context.output.as_json:
        context.output.document(answer.fields())
    if verbose and answer.finished is not None:
        for line in timings(answer.finished, total_seconds=answer.seconds, loaded=answer.loaded):
            context.output.note(line)
    if schema is not None and (complaint := misfit(answer.text, schema)) is not None:
        if context.output.as_json:  # the document is written, and has the answer
            context.output.note(complaint)
            click.get_current_context().exit(Exit.FAILED)
        raise OperationFailed(complaint, hint="Give it more room with --max-tokens, or ask another model.")


class _Answer:
    """Streams the text to stdout, or collects it for the JSON document. `writer` is there on a terminal."""

    def __init__(self, output: Output, writer: AnswerWriter | None) -> None:
        self.loaded: Loaded | None = None
        self.finished: Finished | None = None
        self.seconds = 0.0
        self._started = time.monotonic()
        self._thinking: list[str] = []
        self._texts: list[str] = []
        self._output = output
        self._writer = writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the last line, also of an answer that broke off: what follows starts on one of its own."""
        if self._writer is not None:
            self._writer.end()
            return
        unfinished = not self._texts or not self._texts[-1].endswith("\n")
        if unfinished and not self._output.as_json and (self._texts or kind is None):
            _write("" if kind is BrokenPipeError else "\n")

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def take(self, event: GenerateEvent) -> None:
        if isinstance(event, Loaded):
            self.loaded = event
            self._output.end_progress()
        elif isinstance(event, TextDelta):
            self._texts.append(event.text)
            if self._writer is not None:
                self._writer.say(event.text)
            elif not self._output.as_json:
                _write(event.text)
        elif isinstance(event, ThinkingDelta):
            self._thinking.append(event.text)
            if self._writer is not None:
                self._writer.think(event.text)
        elif isinstance(event, Finished):
            self.finished = event
            self.seconds = time.monotonic() - self._started

    def fields(self) -> dict[str, object]:
        """The JSON document of a finished answer."""
        loaded, finished = self.loaded, self.finished
        assert loaded is not None
        assert finished is not None  # a stream without its end raises
        return {
            "model": loaded.name,
            "digest": str(loaded.digest),
            "variant": loaded.variant,
            "engine": loaded.engine,
            "response": self.text,
            "thinking": "".join(self._thinking) or None,
            "finish_reason": finished.reason,
            "context_length": loaded.context_length,
            "prompt_tokens": finished.prompt_tokens,
            "generated_tokens": finished.generated_tokens,
            "load_seconds": loaded.load_seconds,
            "prompt_seconds": finished.prompt_seconds,
            "generation_seconds": finished.generation_seconds,
        }


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError("The prompt is not valid text in this terminal's encoding.", hint="Send UTF-8.")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _parameters(named: dict[str, str | None], options: Sequence[str]) -> dict[str, ParameterValue]:
    """Flags and -o KEY=VALUE as typed parameters; a flag wins over -o, stop strings add up."""
    parameters: dict[str, ParameterValue] = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals or not key:
            raise UsageError(f"-o takes KEY=VALUE, not {option!r:.60}.", hint="For example: -o top_k=40")
        value = parse_parameter(key, text)
        old = parameters.get(key)
        parameters[key] = old + value if isinstance(old, tuple) and isinstance(value, tuple) else value
    for key, given in named.items():
        if given is not None:
            parameters[key] = value = parse_parameter(key, given)
            if key in {"num_predict", "num_ctx"} and isinstance(value, int) and value < 1:
                flag = "--max-tokens" if key == "num_predict" else "--ctx"
                raise UsageError(f"{flag} takes a number of tokens, not {given}.", hint="Take 1 or more.")
    return parameters


def _whole(parameters: dict[str, ParameterValue], name: str) -> int | None:
    value = parameters.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _read_prompt(words: Sequence[str], output: Output) -> str:
    """What was piped in, then the words of the command line. Raises UsageError when there is neither."""
    piped = _read_stdin(output)
    if not words and piped is None:
        raise UsageError("There is no prompt.", hint='Write it behind the name: slmctl run NAME "Hello!"')
    return "\n".join(part for part in (piped, " ".join(words)) if part)


def _read_stdin(output: Output) -> str | None:
    """The text of a pipe or a file on stdin; None when stdin is something else, such as a terminal."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return None
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return None
    if not select.select([sys.stdin], [], [], _PATIENCE_SECONDS)[0]:
        output.note("Waiting for the end of the text on stdin; </dev/null says that there is none.")
    data = sys.stdin.buffer.read(_MAX_PROMPT_BYTES + 1)
    if len(data) > _MAX_PROMPT_BYTES:
        raise UsageError(
            f"The text on stdin is longer than {_MAX_PROMPT_BYTES >> 20} MiB.", hint="Send less."
        )
    return data.decode("utf-8", errors="replace")
