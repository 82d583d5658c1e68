"""Whatever is done to a bundle: it is imported whole, or refused with one of our errors and nothing is left.

`make fuzz-import` runs the same for as long as one likes.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.bundle_mutations import (
    SMALL,
    TAR,
    Step,
    hold,
    kinds,
    mutated,
    rewritten,
    scratch,
    spoil,
    steps,
    targets,
)

slow = settings(deadline=None, suppress_health_check=list(HealthCheck))


def test_the_bundle_that_is_changed_is_good() -> None:
    with scratch() as folder:
        hold(folder, TAR)
        hold(folder, SMALL.to_folder(folder / "bundle"))


@slow
@given(changes=steps, mend=st.booleans())
def test_a_changed_tar(changes: list[Step], mend: bool) -> None:
    with scratch() as folder:
        hold(folder, mutated(TAR, changes, mend=mend))


@slow
@given(changes=steps, what=st.integers(0, 2))
def test_a_changed_document_that_everything_agrees_with(changes: list[Step], what: int) -> None:
    with scratch() as folder:
        parts = rewritten(changes, what=what)
        hold(folder, parts.to_tar())
        hold(folder, parts.to_folder(folder / "bundle"))


@slow
@given(spoilt=st.lists(st.tuples(targets, kinds), min_size=1, max_size=3))
def test_a_changed_folder(spoilt: list[tuple[str, str]]) -> None:
    with scratch() as folder:
        bundle = SMALL.to_folder(folder / "bundle")
        (folder / "outside").mkdir()
        for target, kind in spoilt:
            spoil(bundle, target, kind, folder / "outside")
        hold(folder, bundle)
