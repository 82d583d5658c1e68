"""The entry point: finds the command, runs it, and turns what goes wrong into a sentence and an exit code.

`slmctl --help` imports no command: names and their one-line descriptions are a table, modules come later.
Every command pays for what is imported here, so what only a failure needs is imported where it is handled.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

import click
from click.shell_completion import CompletionItem

from registry.errors import BadContent, EngineFailed, OperationFailed, SlmctlError, UsageError
from slmctl import __version__
from slmctl.cli.exits import Exit, exit_code
from slmctl.cli.render import print_error
from slmctl.entry import is_interrupt

COMMANDS: dict[str, tuple[str, str]] = {
    "create": ("slmctl.cli.commands.create", "Make a model from a GGUF file, safetensors or a Modelfile"),
    "run": ("slmctl.cli.commands.run", "Ask a model"),
    "plan": ("slmctl.cli.commands.plan", "Say which build of a model runs how here, and why"),
    "convert": ("slmctl.cli.commands.convert", "Make a model of another format: GGUF from safetensors"),
    "quantize": ("slmctl.cli.commands.quantize", "Make smaller builds of a model"),
    "footprint": ("slmctl.cli.commands.footprint", "Compare what each quantization of a model costs here"),
    "perplexity": ("slmctl.cli.commands.perplexity", "Measure how well a build predicts a text"),
    "list": ("slmctl.cli.commands.list", "List the models in the store"),
    "serve": ("slmctl.cli.commands.serve", "Serve the models to other programs, as Ollama and OpenAI do"),
    "ps": ("slmctl.cli.commands.ps", "List the models that are loaded"),
    "stop": ("slmctl.cli.commands.stop", "Unload a model"),
    "search": ("slmctl.cli.commands.search", "Find models by name, task, licence and size; offline"),
    "show": ("slmctl.cli.commands.show", "Show what a model is"),
    "pull": ("slmctl.cli.commands.pull", "Fetch models from registries and hubs"),
    "push": ("slmctl.cli.commands.push", "Send a model to a registry"),
    "library": ("slmctl.cli.commands.library", "Check the library against where its models are"),
    "tags": ("slmctl.cli.commands.tags", "List the tags and builds that a registry or hub has"),
    "adopt": ("slmctl.cli.commands.adopt", "Take in models that other tools have, without copying"),
    "cp": ("slmctl.cli.commands.cp", "Give a model another name"),
    "rm": ("slmctl.cli.commands.rm", "Remove models"),
    "verify": ("slmctl.cli.commands.verify", "Hash what is stored, and say what is damaged or missing"),
    "gc": ("slmctl.cli.commands.gc", "Free what no model needs"),
    "df": ("slmctl.cli.commands.df", "Show what each model costs on the disk, alone and shared"),
    "export": ("slmctl.cli.commands.export", "Write models as a bundle to carry elsewhere"),
    "import": ("slmctl.cli.commands.import_", "Take the models of a bundle into the store"),
    "login": ("slmctl.cli.commands.login", "Keep a name and a password for a registry"),
    "logout": ("slmctl.cli.commands.logout", "Forget the password for a registry"),
    "key": ("slmctl.cli.commands.key", "Make, show and revoke the API keys of the server"),
    "lock": ("slmctl.cli.commands.lock", "Pin models to their digests in a file"),
    "logs": ("slmctl.cli.commands.logs", "Show what a model's engine wrote when it ran last"),
    "hardware": ("slmctl.cli.commands.hardware", "Show what models can run with on this machine"),
    "modelfile": ("slmctl.cli.commands.modelfile", "Read, check and format Modelfiles"),
    "render": ("slmctl.cli.commands.render", "Print the prompt that a model sees"),
    "config": ("slmctl.cli.commands.config", "Show the settings"),
    "completion": ("slmctl.cli.commands.completion", "Let your shell complete commands and models' names"),
    "version": ("slmctl.cli.commands.version", "Show the versions of slmctl and its engine"),
}

GROUPS: dict[str, tuple[str, ...]] = {
    "find models": ("search", "tags", "library"),
    "run models": ("plan", "run", "ps", "stop", "logs"),
    "make builds": ("convert", "quantize", "footprint", "perplexity"),
    "serve them": ("serve", "key"),
    "keep them": ("list", "show", "create", "cp", "rm"),
    "look after them": ("verify", "gc", "df"),
    "carry them": ("pull", "push", "export", "import", "adopt", "lock", "login", "logout"),
    "write them": ("modelfile", "render"),
    "this machine": ("hardware",),
    "slmctl itself": ("config", "completion", "version"),
}
"""All commands, by what they are for: bare `slmctl` shows them so."""

ALIASES = {"ls": "list", "tag": "cp", "prune": "gc", "start": "serve"}

_WELCOME = """\
slmctl packages and runs small language models on this machine.

Try first:
  slmctl run hello                      ask a tiny model that works offline
  slmctl create mine --from FILE.gguf   make a model of a file
  slmctl list                           see which models you have
"""

_MORE_HELP = "'slmctl COMMAND --help' explains a command, 'slmctl --help' slmctl itself."


class Interrupted(OperationFailed):
    code = "interrupted"


_HINTS: tuple[tuple[type[SlmctlError], str], ...] = (
    (EngineFailed, "Run it again with --verbose to see the engine's own words."),
    (BadContent, "Get the file again from where it came from."),
    (Interrupted, "Run it again when you want it done."),
)
"""What to do about errors that come without a hint of their own."""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP came; raised in the main thread so that everything is put away on the way out."""

    def __init__(self, code: Exit) -> None:
        super().__init__(int(code))
        self.exit = code


class LazyGroup(click.Group):
    """A group whose commands are imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if known is None:
            return None
        command = importlib.import_module(known[0]).command
        gc.freeze()  # `slmctl.entry` has put off looking for garbage in what stays to the end
        gc.enable()
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            import difflib

            near = difflib.get_close_matches(name, [*COMMANDS, *ALIASES], n=1)
            hint = f"Did you mean 'slmctl {near[0]}'?" if near else "'slmctl --help' lists the commands."
            raise UsageError(f"slmctl has no command {name!r:.60}.", hint=hint)
        return command.name, command, args[1:]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands from the table, so that none is imported; what begins with a dash is an option."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=about)
            for name, (_, about) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"slmctl {__version__}")
        ctx.exit()


@click.group(
    "slmctl",
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Package and run small language models.",
    epilog="'slmctl COMMAND --help' explains a command. First steps: slmctl run hello",
)
@click.option(
    "-v",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version.",
)
@click.pass_context
def cli(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        click.echo(_welcome())


def _welcome() -> str:
    """What bare `slmctl` shows: a screen of 24 lines of 80 characters."""
    width = max(map(len, GROUPS))
    commands = "".join(f"  {what.ljust(width)}  {' '.join(names)}\n" for what, names in GROUPS.items())
    return f"{_WELCOME}\nCommands:\n{commands}\n{_MORE_HELP}"


def run(arguments: list[str]) -> int:
    """Run one command line; gives the exit code. A reader that closes the pipe has what it wanted: 0."""
    _prepare_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = Exit.OK
        _abandon_stdout()
    except OSError as error:  # what was written did not arrive
        code = Exit.FAILED
        if error.filename is None:  # of a stream, most likely of stdout
            _abandon_stdout()
            print_error(_system_refusal(error), command="slmctl", as_json=False)
        else:
            _fail(_system_refusal(error), arguments)
    return code


def _run(arguments: list[str]) -> int:
    try:
        for number, code in ((signal.SIGTERM, Exit.SIGTERM), (signal.SIGHUP, Exit.SIGHUP)):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup wants to be left alone
                signal.signal(number, _terminate(code))
        # not cli.main(), which would take a closed pipe for a failure
        with cli.make_context("slmctl", arguments) as context:
            cli.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SlmctlError as error:
        return _fail(error, arguments)
    except click.UsageError as error:
        return _fail(_usage(error), arguments)
    except click.ClickException as error:
        return _fail(OperationFailed(_sentence(error.format_message())), arguments)
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(Exit.SIGINT, arguments)
    except Terminated as terminated:
        return _interrupted(terminated.exit, arguments)
    except OSError:
        raise  # of stdout: everything else has a sentence by now
    except Exception as error:  # noqa: BLE001 - the last line of defence: a sentence, not a traceback
        if is_interrupt(error):
            return _interrupted(Exit.SIGINT, arguments)
        return _fail(_bug(error), arguments)
    return Exit.OK


def _terminate(code: Exit) -> Callable[[int, FrameType | None], NoReturn]:
    def handler(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Terminated(code)

    return handler


def _interrupted(code: Exit, arguments: list[str]) -> Exit:
    """No sentence: who sent the signal knows. A program that waits for a document gets one."""
    if "--json" in arguments:
        _fail(Interrupted("The command was interrupted."), arguments)
    elif sys.stderr.isatty():
        sys.stderr.write("\n")  # behind the terminal's ^C
    return code


def _fail(error: SlmctlError, arguments: list[str]) -> Exit:
    given = arguments[: arguments.index("--")] if "--" in arguments else arguments
    name = next((argument for argument in given if not argument.startswith("-")), "slmctl")
    name = ALIASES.get(name, name)
    if error.hint is None:
        error.hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), None)
        error.hint = error.hint or f"'slmctl {name} --help' shows how it is used."
    print_error(error, command=name if name in COMMANDS else "slmctl", as_json="--json" in given)
    return exit_code(error)


def _usage(error: click.UsageError) -> UsageError:
    hint = f"'{error.ctx.command_path} --help' shows how it is used." if error.ctx else None
    return UsageError(_sentence(error.format_message()), hint=hint)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    if text.endswith("?)"):  # click's guesses
        text = text.replace(". (", ". ").removesuffix(")")
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _prepare_streams() -> None:
    """Have somewhere to write to when a stream was closed, and no character that cannot be written."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - pathlib is slow to import; until the program ends
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _system_refusal(error: OSError) -> OperationFailed:
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f" {error.filename!r:.200}" if error.filename else ""
    return OperationFailed(
        f"The system refused to read or write{where} ({reason}).",
        hint="Check the disk, and where the output goes.",
    )


def _bug(error: Exception) -> OperationFailed:
    from slmctl import config

    if config.wants_traceback():
        import traceback

        traceback.print_exception(error)
    return OperationFailed(
        f"Something inside slmctl failed: {type(error).__name__}: {_sentence(str(error))[:300]}",
        hint="This is a bug, please report it; SLMCTL_DEBUG=1 shows where it happened.",
    )


def _abandon_stdout() -> None:
    """Keep the interpreter from flushing into the closed pipe when it ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
