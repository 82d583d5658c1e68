"""What a lock file asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.names import ModelRef
from registry.store.store import Store
from slmctl.app.lockfile import parse
from slmctl.app.pulls import of_lock


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_a_lock_file_permits_no_plain_http(tmp_path: Path, scheme: str) -> None:
    """It may come with a project that somebody else wrote; the password for the host would go in the clear."""
    place = f"{scheme}://registry.example:5000/team/m:v1@sha256:{'a' * 64}"
    text = (
        f'schema = "slmctl.lock/1"\n[[models]]\nname = "m:latest"\ndigest = "sha256:{"a" * 64}"\nsize = 1\n'
    )
    request = of_lock(Store(tmp_path), parse(f'{text}source = "{place}"\n'.encode()), [])[0]
    refs: list[ModelRef] = [asked.ref for asked in request.where.places]
    assert [(ref.host, ref.plain_http) for ref in refs] == [("registry.example:5000", False)]
