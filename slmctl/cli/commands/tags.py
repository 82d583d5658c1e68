"""slmctl tags"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from registry.errors import NotFound
from registry.names import ModelRef, Source, parse
from slmctl.app.tags import LibraryTag, Listed, RemoteVariant, library_tags, tags_of, tags_of_all
from slmctl.app.upstream import place_of
from slmctl.app.where import where_is
from slmctl.cli import candidates
from slmctl.cli.command import Context
from slmctl.cli.command import command as make_command
from slmctl.cli.network_options import NetworkOptions, network_options
from slmctl.cli.render import human_bytes, human_count, table

if TYPE_CHECKING:
    from slmctl.app.places import Places


@make_command(
    "tags",
    about="List what a place has under NAME: the tags of a repository, the builds behind a tag or in a"
    " repository of the Hugging Face Hub, or the sizes of a model of the library. No weights are fetched.",
)
@click.argument("name", shell_complete=candidates.pullable)
@click.option("--facts", is_flag=True, help="Read the headers of the files for what no manifest says.")
@network_options
def command(context: Context, name: str, facts: bool, network: NetworkOptions) -> None:
    ref = parse(name)
    listed = library_tags(ref.path) if ref.source is Source.BARE and ref.tag is None else None
    if listed is None:
        with network.places(context) as places:
            search = places.network.settings.search
            where = where_is(ref, context.reader.names(), search=search, force=True)
            if where.said:
                context.output.note(where.said)
            refs = [each.ref for each in where.places]
            if len(refs) > 1:
                tell = context.output.on_event
                listed = tags_of_all(places, refs, with_facts=facts, on_event=tell)
            else:
                listed = _first(places, [*refs, *where.further], with_facts=facts)
    context.output.result(_fields(name, listed), lambda: _text(listed))


def _first(places: Places, refs: Sequence[ModelRef], *, with_facts: bool) -> Listed:
    """What the first of these places has that knows the name; raises what the first says where none does."""
    try:
        return tags_of(places, refs[0], with_facts=with_facts)
    except NotFound:
        for ref in refs[1:]:
            with suppress(NotFound):
                return tags_of(places, ref, with_facts=with_facts)
        raise


def _text(listed: Listed) -> str:
    if listed.library:
        return table(("TAG", "SIZE", "MODEL", "PLACE"), [_row(each) for each in listed.library])
    if listed.variants:
        several = len({each.place for each in listed.variants}) > 1
        columns = ("VARIANT", "SIZE", "PARAMETERS", "CONTEXT", *(("PLACE",) if several else ()), "")
        return table(columns, [_variant_row(each, several=several) for each in listed.variants])
    return "\n".join(listed.tags)


def _row(tag: LibraryTag) -> tuple[str, ...]:
    return (f"{tag.tag}{' (default)' if tag.default else ''}", human_bytes(tag.size), tag.title, tag.place)


def _variant_row(variant: RemoteVariant, *, several: bool) -> tuple[str, ...]:
    facts = variant.facts
    context = str(facts.trained_context) if facts is not None and facts.trained_context else "-"
    parameters = human_count(facts.parameters) if facts is not None else "-"
    place = (str(place_of(variant.place)),) if several else ()
    return (variant.id, human_bytes(variant.size), parameters, context, *place, variant.problem or "")


def _fields(name: str, listed: Listed) -> dict[str, object]:
    return {
        "name": name,
        "place": listed.place,
        "tags": [*listed.tags, *(each.tag for each in listed.library)],
        "library": [
            {
                "tag": each.tag,
                "title": each.title,
                "place": each.place,
                "size": each.size,
                "default": each.default,
            }
            for each in listed.library
        ],
        "variants": [
            {
                "id": each.id,
                "place": each.place,
                "format": each.format,
                "quantization": each.quantization,
                "size": each.size,
                "problem": each.problem,
                "facts": each.facts.to_json() if each.facts is not None else None,
            }
            for each in listed.variants
        ],
    }
