"""Whatever is done to a bundle: it is imported whole, or refused with one of our errors and nothing is left.

`make fuzz-import` holds the same laws for as long as one likes.
"""

from __future__ import annotations

import pytest

from tests.property.bundle_mutations import LAWS, SMALL, TAR, hold, law_of, scratch


def test_the_bundle_that_is_changed_is_good() -> None:
    with scratch() as folder:
        hold(folder, TAR)
        hold(folder, SMALL.to_folder(folder / "bundle"))


@pytest.mark.parametrize("name", LAWS)
def test_a_changed_bundle_is_imported_whole_or_not_at_all(name: str) -> None:
    law_of(name, examples=100)()
