"""Pulling, where others work on the same store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from registry.names import parse, parse_new_name
from registry.store.store import Session, Store
from slmctl.app import clock
from slmctl.app.events import ignore
from slmctl.app.network import Network
from slmctl.app.places import Places
from slmctl.app.pull import pull
from slmctl.app.pulls import by_name
from slmctl.config import Settings
from tests.slmctl.cli.program import Program


class Contested(Store):
    """A store where somebody removes all models as soon as nobody holds them."""

    @contextmanager
    def session(self, *given: Any, **more: Any) -> Iterator[Session]:
        with super().session(*given, **more) as session:
            yield session
        Store(self.root).unlink(self.names().entries)


def test_what_was_pulled_is_told_though_somebody_removes_it_at_once(slmctl: Program, tmp_path: Path) -> None:
    bundle = tmp_path / "hello.tar"
    assert slmctl("cp", "hello", "mine").code == 0
    assert slmctl("export", "mine", "-o", str(bundle)).code == 0
    digest = slmctl("show", "mine", "--json").json["digest"]
    store = Contested(tmp_path / "store")
    network = Settings.load(slmctl.environment).network
    request = by_name(store, parse(str(bundle)), search=network.search, name=parse_new_name("theirs"))
    with Network(network) as connected:
        pulled = pull(store, Places(connected, ignore), request, now=clock.now())
    assert (str(pulled.digest), pulled.variants) == (digest, ("gguf-f16",))
    assert store.names().find("theirs:latest") is None
