"""Converting a model to another format, as a model of its own name: of a folder, or of one in the store."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UsageError
from registry.names import ModelRef, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Replace, Session, Store, check_replaceable
from slmctl.app.bringing import bring
from slmctl.app.create import Created
from slmctl.app.events import OnEvent, ignore
from slmctl.app.folder_builds import folder_builds
from slmctl.app.folder_files import read_folder
from slmctl.app.folder_set import FolderSet
from slmctl.app.listing import names_with
from slmctl.app.made_here import CREATED_HERE
from slmctl.app.making import Maker, describe_files
from slmctl.app.package import Package, Variant
from slmctl.app.packaging import Build, write_model
from slmctl.app.quantize import build_made
from slmctl.app.taking import Taking
from slmctl.app.wanted import GGUF, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertCall:
    """`source` is a folder of safetensors, or the name of a model that has them; `variant` says which of its
    builds. `out_type` is what the weights become, None for what they are."""

    source: Path | ModelRef
    name: ModelRef
    variant: str | None = None
    out_type: str | None = None
    force: bool = False


def convert_model(
    store: Store,
    call: ConvertCall,
    *,
    now: str,
    environ: Mapping[str, str],
    on_event: OnEvent = ignore,
    reader: StoreReader | None = None,
) -> Created:
    """Make the GGUF and link its name last. Raises as `create`, DoesNotFit for what cannot be converted."""
    reader = reader or store
    folder = read_folder(call.source) if isinstance(call.source, Path) else None
    package = None if isinstance(call.source, Path) else _package(reader, call.source, on_event)
    if package is not None and package.name.casefold() == call.name.full_name.casefold():
        name = short_name(package.name)
        raise UsageError(
            f"The result is a model of its own: under the name {name} it would cost what it is made of.",
            hint=f"Choose another name; or add builds to this one: slmctl quantize {name}",
        )
    variant = None if package is None else _convertible(package, call.variant)
    rule = Replace.ANYTHING if call.force else Replace.SAME_SOURCE
    old = store.names().find(call.name.full_name)
    if old is not None:  # said before gigabytes are made; `link` decides
        new = Entry(name=old.name, descriptor=old.descriptor, source=CREATED_HERE, linked=None)
        check_replaceable(old, new, rule)
    with ExitStack() as opened, store.session(f"convert {call.name.full_name}") as session:
        maker = Maker(session, shown=call.name.short_name, environ=environ, on_event=on_event)
        if folder is not None:
            build = _of_folder(store, session, opened, maker, folder, call, on_event)
        else:
            assert package is not None
            assert variant is not None
            bring(session, store, reader, (file.descriptor for file in variant.files), on_event)
            files = describe_files(store, variant.files, short_name(package.name))
            build = build_made(variant, maker.converted(files, call.out_type))
        linked = store.link(
            call.name.full_name,
            write_model(session, [build]),
            source=CREATED_HERE,
            linked=now,
            replace_rule=rule,
        )
    return Created(entry=linked, variant=build.id, variants=(build.id,))


def _of_folder(
    store: Store,
    session: Session,
    opened: ExitStack,
    maker: Maker,
    folder: FolderSet,
    call: ConvertCall,
    on_event: OnEvent,
) -> Build:
    """What `create --only gguf` makes of a folder."""
    docs = [folder.files.paths[name] for name, role in folder.roles.items() if role == "doc"]
    take = Taking(session, opened, docs, move=False, stored={}, on_event=on_event)
    (build,) = folder_builds(store, take, maker, folder, Wanted(only=GGUF, out_type=call.out_type))
    return build


def _package(reader: StoreReader, ref: ModelRef, on_event: OnEvent) -> Package:
    entry = reader.resolve(ref, names_with(reader, ref, on_event))
    return Package.of(reader.reader_of(entry), entry)


def _convertible(package: Package, wanted: str | None) -> Variant:
    """The safetensors of a model. Raises UsageError where it has none, NotFound."""
    name = short_name(package.name)
    if wanted is not None:
        chosen = package.choose(wanted)
        if chosen.format != "safetensors" or not chosen.local:
            what = "is not here" if chosen.format == "safetensors" else f"is {chosen.format}"
            raise UsageError(
                f"The variant {chosen.id} of {name} {what}; safetensors are converted.",
                hint=f"It has {', '.join(each.id for each in package.variants)}.",
            )
        return chosen
    found = [each for each in package.variants if each.format == "safetensors" and each.local]
    if not found:
        ids = ", ".join(each.id for each in package.variants)
        hint = f"It has {ids}."
        if any(each.format == GGUF for each in package.variants):
            hint = f"{hint} 'slmctl quantize {name}' makes other quantizations."
        raise UsageError(f"{name} has no safetensors here that could be converted.", hint=hint)
    return found[0]
