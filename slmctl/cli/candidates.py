"""What a shell may complete where a command takes the name of a model, a variant, a parameter or a file.

Asked between two keys: whatever is wrong with settings or store, there is nothing to offer and no word about
it. A name is offered only if it is one: what another tool wrote into the store ends up in a command line.

Commands name these functions when they are made, and few runs call them: what they need is imported by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from registry.errors import SlmctlError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from registry.store.reader import StoreReader


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Models of the store that are not in this place yet; without a tag that says nothing, unless begun."""
    from registry.names import short_name

    given = context.params.get(parameter.name or "")
    taken = set(given) if parameter.nargs == -1 and isinstance(given, tuple | list) else set()
    has_tag = ":" in incomplete.rpartition("/")[2]
    shown = (name if has_tag else short_name(name) for name in _names())
    return _beginning(incomplete, (name for name in shown if name not in taken))


def pullable(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Models of the library, and those of the store."""
    from slmctl.app.library import library

    given = context.params.get(parameter.name or "")
    taken = given if isinstance(given, tuple | list) else ()
    known = (model.entry.name for model in library() if not model.entry.ships)
    here = [each.value for each in models(context, parameter, incomplete)]
    return _beginning(incomplete, sorted({*here, *(name for name in known if name not in taken)}))


def in_library(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Models of the library and their families."""
    from slmctl.app.library import library

    entries = [model.entry for model in library() if not model.entry.ships]
    return _beginning(
        incomplete, sorted({entry.name for entry in entries} | {entry.family for entry in entries})
    )


def profiles(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Machines that come with slmctl; what has a slash in it is a file."""
    from click.shell_completion import CompletionItem

    from runtimes.hardware.profiles import profile_names

    if "/" in incomplete:
        return [CompletionItem(incomplete, type="file")]
    return _beginning(incomplete, profile_names())


def models_and_files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    return [*models(context, parameter, incomplete), *files(context, parameter, incomplete)]


def models_and_paths(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Models; and files where a path is begun, as `slmctl run ./bundle.tar` needs it."""
    if incomplete.startswith(("/", "./", "../", "~")):
        return files(context, parameter, incomplete)
    return models(context, parameter, incomplete)


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Tells the shell to complete a file's name, which it does best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def variants(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The variants of the model that is named in the same command."""
    from registry.names import parse_name
    from slmctl.app.package import Package

    named = context.params.get("name") or next(iter(context.args), "")  # click has not sorted it in yet
    try:
        package = Package.open(_store(), parse_name(str(named)))
    except (SlmctlError, OSError):
        return []
    return _beginning(incomplete, (each.id for each in package.variants))


def _names() -> list[str]:
    try:
        return sorted(name for name in _store().names().entries if _is_name(name))
    except (SlmctlError, OSError):
        return []


def _store() -> StoreReader:
    from registry.store.reader import FurtherStore, StoreReader
    from slmctl.config import Settings

    settings = Settings.load()
    own = StoreReader(settings.store)
    if not settings.stores:
        return own
    from registry.store.joined import JoinedReader

    return JoinedReader(own, [FurtherStore(path) for path in settings.stores])


def _is_name(text: str) -> bool:
    from registry.names import parse_name

    try:
        parse_name(text)
    except SlmctlError:
        return False
    return True


def _beginning(incomplete: str, texts: Iterable[str]) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(text) for text in texts if text.startswith(incomplete)]
