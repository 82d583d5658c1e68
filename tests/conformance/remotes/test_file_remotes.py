"""What every place of files promises besides; see `registry.remotes.base.FileRemote`."""

from __future__ import annotations

from typing import cast

import pytest

from registry.digest import Digest
from registry.errors import NotFound, SizeMismatch
from registry.names import parse
from registry.remotes.base import FileRemote, Listing
from tests.conformance.remotes.file_places import FILES
from tests.conformance.remotes.places import Place


def listing_of(place: Place) -> tuple[FileRemote, Listing]:
    listing = place.remote.resolve(place.ref)
    assert isinstance(listing, Listing)
    return cast("FileRemote", place.remote), listing


def test_all_files_are_listed_by_path(file_place: Place) -> None:
    _, listing = listing_of(file_place)
    assert [(file.path, file.size) for file in listing.files] == [
        (path, len(FILES[path])) for path in sorted(FILES)
    ]
    assert listing.selector == "Q8_0"


def test_each_file_has_one_hash(file_place: Place) -> None:
    _, listing = listing_of(file_place)
    for file in listing.files:
        assert (file.sha256 is None) != (file.git_sha1 is None)
        assert file.sha256 in {None, Digest.of(FILES[file.path])}


def test_the_pinned_name_means_the_same(file_place: Place) -> None:
    remote, listing = listing_of(file_place)
    pinned = parse(listing.pinned)
    assert (pinned.revision, pinned.tag) == (listing.commit, "Q8_0")
    assert remote.resolve(pinned) == listing


def test_files_are_read_whole(file_place: Place) -> None:
    remote, listing = listing_of(file_place)
    for file in listing.files:
        assert remote.read_file(file, file.size) == FILES[file.path]
        with pytest.raises(SizeMismatch):
            remote.read_file(file, file.size - 1)


def test_what_is_not_there_is_not_found(file_place: Place) -> None:
    with pytest.raises(NotFound, match="none"):
        file_place.remote.resolve(file_place.missing)
