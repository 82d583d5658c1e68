"""Converting a model to another format, as a model of its own name: of a folder, or of one in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.errors import UsageError
from registry.names import ModelRef, short_name
from registry.store.index import Entry
from registry.store.reader import StoreReader
from registry.store.store import Replace, Store, check_replaceable
from slmctl.app.bringing import bring
from slmctl.app.create import Created, CreateRequest, create
from slmctl.app.events import OnEvent, ignore
from slmctl.app.listing import names_with
from slmctl.app.made_here import CREATED_HERE
from slmctl.app.making import Maker, describe_files
from slmctl.app.package import Package, Variant
from slmctl.app.packaging import write_model
from slmctl.app.quantize import build_made
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
    if isinstance(call.source, Path):
        request = CreateRequest(
            name=call.name,
            bases=(str(call.source),),
            folder=Path.cwd(),
            spec=ModelSpec(),
            force=call.force,
            wanted=Wanted(only=GGUF, out_type=call.out_type),
            environ=environ,
        )
        return create(store, request, now=now, on_event=on_event, reader=reader)
    reader = reader or store
    entry = reader.resolve(call.source, names_with(reader, call.source, on_event))
    package = Package.of(reader.reader_of(entry), entry)
    variant = _convertible(package, call.variant)
    rule = Replace.ANYTHING if call.force else Replace.SAME_SOURCE
    old = store.names().find(call.name.full_name)
    if old is not None:  # said before gigabytes are made; `link` decides
        new = Entry(name=old.name, descriptor=old.descriptor, source=CREATED_HERE, linked=None)
        check_replaceable(old, new, rule)
    with store.session(f"convert {call.name.full_name}") as session:
        bring(session, store, reader, (file.descriptor for file in variant.files), on_event)
        maker = Maker(session, shown=call.name.short_name, environ=environ, on_event=on_event)
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
