"""The table of names on the disk: the one that counts, the one before it, and where a damaged one goes."""

from __future__ import annotations

import os

from registry.store.durable import removed_on_failure, replace_file, write_file
from registry.store.index import NameTable
from registry.store.layout import Layout


def write_names(layout: Layout, names: NameTable) -> None:
    """Replace index.json, keeping the generation before it. The store's lock is held exclusively.

    When the names were read from the previous generation, index.json is damaged: it is put aside, so that
    it neither gets lost nor takes the place of the good generation.
    """
    if names.generation == "current":
        kept = layout.ingest / "index.json.1.new"
        kept.unlink(missing_ok=True)
        with removed_on_failure(kept):
            try:
                os.link(layout.index, kept)
            except OSError:  # a file system without hard links
                write_file(kept, layout.index.read_bytes())
            kept.rename(layout.previous_index)
        kept.unlink(missing_ok=True)  # renaming one name of a file over another of the same does nothing
    elif layout.index.exists():
        layout.index.rename(layout.free_damaged_path())
    replace_file(layout.ingest / "index.json.new", layout.index, names.to_bytes())
