"""The models that come with slmctl: packaged into the store by the first command that names one.

From then on each is a model like any other; nothing else in slmctl knows their names.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from modelfiles.authoring import from_text
from registry.errors import BadContent, MalformedFile, NameTaken, NotFound, UsageError
from registry.names import ModelRef, parse_name
from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl.app.clock import now
from slmctl.app.create import CreateRequest, create
from slmctl.app.events import Note, OnEvent, ignore
from slmctl.app.made_here import SHIPPED_HERE
from slmctl.app.ships import SHIPPED, is_shipped


def package_shipped(store: StoreReader, ref: ModelRef, on_event: OnEvent = ignore) -> bool:
    """Package the model that `ref` names, if it is one of ours; whether it is.

    Offline, and safe in several processes at once. Raises BadContent when its files are not as they came,
    and else as `create` does.
    """
    if not is_shipped(ref):
        return False
    name = ref.full_name.casefold()
    modelfile = SHIPPED[name]
    try:
        authored = from_text(_read(modelfile), filename=str(modelfile))
        request = CreateRequest(
            name=parse_name(name),
            bases=authored.sources,
            folder=modelfile.parent,
            spec=authored.spec,
            source=SHIPPED_HERE,
        )
        with contextlib.suppress(NameTaken):  # somebody else was quicker
            create(Store(store.root), request, now=now(), on_event=ignore)
            on_event(Note(text=f"{ref.short_name} came with slmctl; it is in your store now."))
    except (NotFound, UsageError, MalformedFile) as error:  # not what the user said or has
        raise BadContent(
            f"The files of {ref.short_name}, which came with slmctl, are damaged or gone: {error}",
            hint=f"Install slmctl again; they lie in {modelfile.parent}.",
        ) from None
    return True


def _read(modelfile: Path) -> bytes:
    try:
        return modelfile.read_bytes()
    except OSError as error:
        raise NotFound(f"{modelfile.name} cannot be read ({os.strerror(error.errno or 0)}).") from None
