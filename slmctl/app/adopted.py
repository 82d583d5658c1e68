"""Whether what was adopted from other tools is still theirs to give: unchanged, and there."""

from __future__ import annotations

from collections.abc import Iterator

from registry.errors import BadContent, NotFound, OperationFailed, SlmctlError
from registry.store.reader import StoreReader
from slmctl.app.events import ByteCounter, OnEvent, ignore
from slmctl.app.package import Variant


def adopted_problems(
    store: StoreReader, variant: Variant, on_event: OnEvent = ignore
) -> Iterator[SlmctlError]:
    """What happened to the files of a variant that other tools have, each with its sentence.

    A file that is no longer as it was noted is hashed. Blobs of our own are not looked at.
    """
    for file in variant.files:
        if store.note_about(file.digest) is None:
            continue
        progress = ByteCounter(on_event, stage="verify", item=file.path, total=file.size)
        try:
            store.open_blob(file.descriptor, progress).close()
        except (NotFound, BadContent, OperationFailed) as error:
            yield error
