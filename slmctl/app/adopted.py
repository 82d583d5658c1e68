"""Whether what was adopted from other tools is still theirs to give: unchanged, and there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from registry.errors import BadContent, NotFound, OperationFailed
from registry.store.reader import StoreReader
from slmctl.app.package import Package, Variant


def adopted_problems(store: StoreReader, package: Package, variant: Variant) -> Iterator[str]:
    """What happened to the files of a variant that other tools have, a sentence each and what to do.

    Nothing is hashed: whether a file that is no longer as it was noted still has its bytes is told by
    `verify`, and by the next use. Blobs of our own are not looked at.
    """
    for file in variant.files:
        note = store.note_about(file.digest)
        if note is None:
            continue
        try:
            with store.open_blob(file.descriptor, check_notes=False) as stream:
                is_as_noted = note.fits(os.fstat(stream.fileno()))
        except (NotFound, BadContent, OperationFailed) as error:
            yield f"{error.message} {error.hint or ''}".rstrip()
        else:
            if not is_as_noted:
                yield (
                    f"The file {note.shown}, adopted from {note.owner}, was changed since, or only touched."
                    f" It is hashed before it is used; 'slmctl verify {package.name}' tells now."
                )
