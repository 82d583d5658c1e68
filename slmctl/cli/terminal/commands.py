"""The prompt's commands: a table for what begins with a slash, and one for each of /set and /show."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from modelfiles.spec import ParameterValue, parse_parameter
from registry.errors import UsageError
from registry.names import parse_name
from runtimes.protocol import Think
from slmctl.app.finding import find_package
from slmctl.app.parameters import LOAD_PARAMETERS
from slmctl.cli.render import clean
from slmctl.cli.schema import schema_of
from slmctl.cli.terminal.reader import unquote
from slmctl.cli.terminal.show import VIEWS
from slmctl.cli.terminal.state import Leave, State


@dataclass(frozen=True, slots=True)
class Command:
    """`run` takes the session and what stands behind the command's name."""

    run: Callable[[State, str], None]
    usage: str
    about: str


def obey(state: State, entry: str) -> None:
    """Do what an entry that begins with a slash says. Raises Leave, and errors."""
    name, arguments = _split(entry)
    command = COMMANDS.get(ALIASES.get(name, name))
    if command is None:
        raise _unknown(name, "command", [*COMMANDS, *ALIASES], "A blank before it sends it to the model.")
    command.run(state, arguments)


def _help(state: State, _: str) -> None:
    rows = [(f"{each.usage}", each.about) for each in COMMANDS.values()]
    rows += [(f"/set {each.usage}", each.about) for each in SETTINGS.values()]
    rows += [
        ('"""', "begins a text of several lines, and ends it"),
        ("Alt-Enter", "begins a new line"),
        ("Ctrl-C", "stops the answer that runs, or clears the line"),
        ("Ctrl-D", "leaves"),
    ]
    width = max(len(usage) for usage, _ in rows)
    for usage, about in rows:
        state.say(f"  {usage.ljust(width)}  {about}")


def _show(state: State, arguments: str) -> None:
    what = arguments.strip()
    view = VIEWS.get(what)
    if view is None:
        raise _unknown(what, "/show", VIEWS, f"/show takes one of {', '.join(VIEWS)}.")
    state.say(clean(view(state.chat)))


def _set(state: State, arguments: str) -> None:
    name, rest = _split(arguments)
    setting = SETTINGS.get(name)
    if setting is None:
        raise _unknown(name, "/set", SETTINGS, f"/set takes one of {', '.join(SETTINGS)}.")
    setting.run(state, rest)


def _clear(state: State, _: str) -> None:
    state.chat.forget()
    state.say("The conversation is forgotten.")


def _load(state: State, arguments: str) -> None:
    ref = parse_name(_one_name(arguments, "/load"))
    package = find_package(state.context.store, ref, state.context.output.on_event)
    state.tell_loading(package.name)
    about = state.chat.use(package)
    state.context.output.end_progress()
    state.say(f"{about.name} is loaded; the conversation starts anew, what was /set stays.")


def _save(state: State, arguments: str) -> None:
    ref = parse_name(_one_name(arguments, "/save"))
    created = state.chat.save(ref, now=state.context.now())
    state.say(f"created '{ref.short_name}' ({created.variant}, {created.entry.descriptor.digest.short})")


def _leave(_state: State, _: str) -> None:
    raise Leave


def _set_parameter(state: State, arguments: str) -> None:
    name, text = _split(arguments)
    if not name or not text:
        raise UsageError(
            "/set parameter takes a name and a value.", hint="For example: /set parameter seed 7"
        )
    value: ParameterValue = parse_parameter(name, text)
    if isinstance(value, tuple):
        value = tuple(_words(text))
    chosen = state.chat.chosen
    state.chat.chosen = replace(chosen, parameters={**chosen.parameters, name: value})
    later = "; the model is loaded anew for the next question" if name in LOAD_PARAMETERS else ""
    state.say(f"{name} is set to {clean(text)}{later}.")


def _set_system(state: State, arguments: str) -> None:
    text = unquote(arguments).strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    state.chat.chosen = replace(state.chat.chosen, system=text)
    state.say("The system message is set." if text else "There is no system message now.")


def _set_verbose(state: State, verbose: bool) -> None:
    state.context.output.verbose = verbose
    state.say("Timings are shown." if verbose else "Timings are not shown.")


def _set_wrapping(state: State, wraps: bool) -> None:
    state.wraps = wraps
    state.say("Words are wrapped." if wraps else "Words are not wrapped.")


def _set_history(state: State, keeps: bool) -> None:
    state.reader.keeps_history = keeps
    state.say("Entries are kept in the history." if keeps else "Entries are not kept in the history.")


def _set_think(state: State, arguments: str) -> None:
    level = arguments.strip().lower()
    if level not in _LEVELS:
        raise _unknown(level, "/set think", [level for level in _LEVELS if level], "Or leave it away.")
    state.chat.chosen = replace(state.chat.chosen, think=_LEVELS[level])
    state.say("The model is asked to think first.")


def _set_no_think(state: State, _: str) -> None:
    state.chat.chosen = replace(state.chat.chosen, think=False)
    state.say("The model is asked not to think first.")


def _set_format(state: State, arguments: str) -> None:
    if not arguments.strip():
        raise UsageError("/set format takes json or a schema.", hint="For example: /set format json")
    state.chat.chosen = replace(state.chat.chosen, schema=schema_of(arguments.strip()))
    state.say("Answers are JSON now.")


def _set_no_format(state: State, _: str) -> None:
    state.chat.chosen = replace(state.chat.chosen, schema=None)
    state.say("Answers are plain text again.")


def _switch(act: Callable[[State, bool], None], value: bool) -> Callable[[State, str], None]:
    return lambda state, _: act(state, value)


COMMANDS: Mapping[str, Command] = {
    "/set": Command(_set, "/set ...", "change the session, as below"),
    "/show": Command(_show, "/show WHAT", " ".join(VIEWS)),
    "/load": Command(_load, "/load NAME", "go on with another model"),
    "/save": Command(_save, "/save NAME", "make a model of this one, with what was set"),
    "/clear": Command(_clear, "/clear", "forget the conversation"),
    "/help": Command(_help, "/help, /?", "this list"),
    "/bye": Command(_leave, "/bye, /exit", "leave"),
}

ALIASES = {"/?": "/help", "/exit": "/bye"}

_LEVELS: Mapping[str, Think] = {
    "": True,
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
}

SETTINGS: Mapping[str, Command] = {
    "parameter": Command(_set_parameter, "parameter NAME VALUE", "a parameter, such as temperature 0.2"),
    "system": Command(_set_system, "system TEXT", 'the system message; also between """'),
    "format": Command(_set_format, "format json", "answer in JSON; also a JSON Schema"),
    "noformat": Command(_set_no_format, "noformat", "answer in plain text"),
    "think": Command(_set_think, "think [LEVEL]", "ask for reasoning first: low, medium, high, max"),
    "nothink": Command(_set_no_think, "nothink", "ask for no reasoning"),
    "verbose": Command(_switch(_set_verbose, True), "verbose", "show timings"),
    "quiet": Command(_switch(_set_verbose, False), "quiet", "show no timings"),
    "wordwrap": Command(_switch(_set_wrapping, True), "wordwrap", "wrap words at the terminal's width"),
    "nowordwrap": Command(_switch(_set_wrapping, False), "nowordwrap", "leave lines as they come"),
    "history": Command(_switch(_set_history, True), "history", "keep what is typed"),
    "nohistory": Command(_switch(_set_history, False), "nohistory", "keep nothing of what is typed"),
}


def _split(text: str) -> tuple[str, str]:
    """The first word, and what stands behind it."""
    first, *rest = text.split(maxsplit=1) or [""]
    return first, rest[0].rstrip() if rest else ""


def _one_name(arguments: str, command: str) -> str:
    names = arguments.split()
    if len(names) != 1:
        raise UsageError(f"{command} takes the name of a model.", hint=f"For example: {command} mine")
    return names[0]


def _words(text: str) -> list[str]:
    """Several stop texts, apart by blanks, where a text with blanks stands in quotes."""
    try:
        return shlex.split(text)
    except ValueError:  # an open quote, which may well be the text
        return [text]


def _unknown(word: str, of: str, known: Iterable[str], otherwise: str) -> UsageError:
    near = difflib.get_close_matches(word, list(known), n=1)
    if not word:
        return UsageError(f"{of} takes one word more.", hint=otherwise)
    sentence = f"There is no command {word!r:.60}." if of == "command" else f"{of} knows no {word!r:.60}."
    return UsageError(sentence, hint=f"Did you mean {near[0]}? {otherwise}" if near else otherwise)
