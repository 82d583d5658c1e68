"""`slmctl pull` of a large model that is killed again and again, by the record of who served it."""

from __future__ import annotations

import hashlib
import random
import signal
from pathlib import Path

import pytest

from tests.fakes.relay import relay
from tests.gguf_bytes import tiny
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program

MIB = 1 << 20
SIZE = 200 * 1_000_000
KILLS = 20
CONNECTIONS = 4
OVERHEAD_BYTES = 64 << 10
"""Of each run: heads of answers, manifests, the config."""


@pytest.fixture
def large_model(tmp_path: Path) -> Path:
    """A valid GGUF file of 200 MB."""
    path = tmp_path / "large.gguf"
    made = tiny()
    made.tensor("filling", (SIZE // 4,), data=random.Random(6).randbytes(SIZE))
    path.write_bytes(made.build())
    return path


@pytest.mark.slow
def test_a_pull_that_is_killed_twenty_times_fetches_hardly_anything_twice(
    slmctl: Program, plain_registry: Registry, place: str, large_model: Path
) -> None:
    slmctl.go_online()
    author = Program(large_model.parent / "author", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    author.go_online()
    assert author("create", "m", "--from", str(large_model), "--move").code == 0
    assert author("push", "m", f"{place}:v1").code == 0
    digest = author("show", "m", "--json").json["digest"]
    blob = max(author.store.glob("blobs/sha256/*"), key=lambda path: path.stat().st_size)
    slmctl.environment |= {"SLMCTL_CONNECTIONS": str(CONNECTIONS), "SLMCTL_CHUNK_SIZE": str(MIB)}
    chance = random.Random(2)
    with relay(plain_registry.host) as counted:
        name = f"{counted.host}/{place.partition('/')[2]}:v1"
        for point in sorted(chance.randrange(SIZE) for _ in range(KILLS)):
            child = slmctl.start("pull", name, "--as", "m", "--quiet")
            counted.on_served = lambda served, point=point, child=child: (
                child.kill() if served >= point else None
            )
            _, said = child.communicate(timeout=60)
            assert child.returncode == -signal.SIGKILL, said
            assert slmctl("list", "--json").json["models"] == []
            assert not (slmctl.store / "blobs" / "sha256" / blob.name).exists()
        counted.on_served = None
        done = slmctl("pull", name, "--as", "m", "--json")
        assert done.code == 0, done.err
        pulled = done.json["models"][0]
        assert (pulled["digest"], pulled["changed"]) == (digest, True)
        allowed = SIZE + KILLS * CONNECTIONS * MIB + (KILLS + 1) * OVERHEAD_BYTES
        assert SIZE < counted.served <= allowed
    with (slmctl.store / "blobs" / "sha256" / blob.name).open("rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == blob.name
    for folder in ("ingest", "leases"):
        assert list((slmctl.store / folder).iterdir()) == []
    assert slmctl("verify", "--json").json["findings"] == []
