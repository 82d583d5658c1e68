"""`slmctl pull` from a real registry, as a user sees it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.fakes.relay import relay
from tests.registries.programs import Registry
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.publishing import Author


def _tag(place: str, tag: str) -> str:
    return f"{place.partition('/')[2]}:{tag}"


def test_a_pulled_model_is_the_one_that_was_pushed_and_answers(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    digest = author.publish("m", _tag(place, "v1"))
    done = slmctl("pull", f"{place}:v1")
    assert (done.code, done.out.startswith(f"pulled '{place}:v1' (gguf-")) == (0, True)
    model = slmctl("list", "--json").json["models"][0]
    assert (model["digest"], model["source"]) == (digest, f"oci://{place}:v1@{digest}")
    assert slmctl("verify").code == 0
    said = [program("run", name, "a", "--seed", "1", "--max-tokens", "8", "--raw").out
            for program, name in ((slmctl, f"{place}:v1"), (author.slmctl, "m"))]  # fmt: skip
    assert said[0] == said[1]
    again = slmctl("pull", f"{place}:v1", "--json").json["models"][0]
    assert (again["changed"], again["missing"]) == (False, 0)


def test_a_name_moves_with_its_tag_and_the_old_version_goes(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    first = author.publish("m", _tag(place, "v1"))
    assert slmctl("pull", f"{place}:v1", "--as", "mine").code == 0
    author.create("m", 2)
    second = author.publish("m", _tag(place, "v1"))
    assert first != second
    outdated = slmctl("list", "--outdated", "--json").json["models"]
    assert [(row["name"], row["state"], row["now"]) for row in outdated] == [("mine:latest", "moved", second)]
    done = slmctl("pull", "--all", "--json").json
    assert [(row["name"], row["digest"]) for row in done["models"]] == [("mine:latest", second)]
    assert slmctl("list", "--outdated", "--json").json["models"][0]["state"] == "current"
    assert not any(path.name == first.removeprefix("sha256:") for path in slmctl.store.glob("blobs/sha256/*"))
    assert slmctl("verify").code == 0


def test_what_was_pinned_by_its_digest_stays_until_it_is_pulled_without(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    first = author.publish("m", _tag(place, "v1"))
    assert slmctl("pull", f"{place}:v1@{first}").code == 0
    author.create("m", 2)
    second = author.publish("m", _tag(place, "v1"))
    assert slmctl("list", "--outdated", "--json").json["models"][0]["state"] == "current"
    for arguments, digest in ((["--all"], first), ([f"{place}:v1"], second), (["--all"], second)):
        assert slmctl("pull", *arguments, "--json").json["models"][0]["digest"] == digest
    assert "pinned to" not in slmctl("show", f"{place}:v1").out


def test_a_name_of_another_place_is_not_taken_unless_forced(
    slmctl: Program, author: Author, place: str, tiny_model: Path
) -> None:
    author.create("m", 1)
    digest = author.publish("m", _tag(place, "v1"))
    assert slmctl("create", "mine", "--from", str(tiny_model)).code == 0
    before = slmctl("list", "--json").json["models"]
    refused = slmctl("pull", f"{place}:v1", "--as", "mine")
    assert refused.code == 1
    assert "belongs to a model from 'create'" in refused.err
    assert slmctl("list", "--json").json["models"] == before
    assert slmctl("pull", f"{place}:v1", "--as", "mine", "--force").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] == digest


def test_a_lock_file_brings_what_it_pins_or_nothing(
    slmctl: Program, author: Author, place: str, tmp_path: Path
) -> None:
    author.create("m", 1)
    first = author.publish("m", _tag(place, "v1"))
    assert slmctl("pull", f"{place}:v1", "--as", "mine").code == 0
    lock = tmp_path / "models.lock"
    assert slmctl("lock", "mine", "-o", str(lock)).code == 0
    author.create("m", 2)
    second = author.publish("m", _tag(place, "v1"))
    assert slmctl("pull", "--all").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] == second
    done = slmctl("pull", "--lock", str(lock), "--json").json
    assert [(row["name"], row["digest"]) for row in done["models"]] == [("mine:latest", first)]
    assert slmctl("lock", "--check", str(lock)).code == 0
    lock.write_text(lock.read_text().replace(f'digest = "{first}"', f'digest = "{second}"', 1))
    refused = slmctl("pull", "--lock", str(lock))
    assert (refused.code, "the lock file pins" in refused.err) == (5, True)
    assert slmctl("list", "--json").json["models"][0]["digest"] == first
    assert slmctl("pull", "--lock", str(lock), "other").code == 3


def test_of_several_variants_only_the_chosen_is_fetched(slmctl: Program, author: Author, place: str) -> None:
    author.create("m", 1, "F32", "F16")
    digest = author.publish("m", _tag(place, "v1"))
    ids = [each["id"] for each in author.slmctl("show", "m", "--json").json["variants"]]
    done = slmctl("pull", f"{place}:v1", "--variant", ids[1], "--json").json["models"][0]
    assert (done["digest"], done["variants"], done["other_variants"]) == (digest, [ids[1]], [ids[0]])
    shown = {each["id"]: each["local"] for each in slmctl("show", f"{place}:v1", "--json").json["variants"]}
    assert shown == {ids[0]: False, ids[1]: True}
    checked = slmctl("verify", "--json").json
    assert (checked["well"], {each["kind"] for each in checked["findings"]}) == (True, {"not_pulled"})
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2").code == 0  # the one that is here
    assert (
        slmctl("run", f"{place}:v1", "a", "--max-tokens", "2", "--variant", ids[0], "--pull", "never").code
        != 0
    )
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2", "--variant", ids[0]).code == 0
    assert all(each["local"] for each in slmctl("show", f"{place}:v1", "--json").json["variants"])
    assert slmctl("pull", f"{place}:v1", "--variant", "nothing").code == 3


def test_run_pulls_what_is_missing_and_only_then(slmctl: Program, author: Author, place: str) -> None:
    author.create("m", 1)
    author.publish("m", _tag(place, "v1"))
    refused = slmctl("run", f"{place}:v1", "a", "--pull", "never")
    assert refused.code == 3
    offline = slmctl("run", f"{place}:v1", "a", "--offline")
    assert (offline.code, "--offline was given" in offline.err) == (3, True)
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2").code == 0
    author.create("m", 2)
    second = author.publish("m", _tag(place, "v1"))
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] != second
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2", "--pull", "always").code == 0
    assert slmctl("list", "--json").json["models"][0]["digest"] == second


def test_always_pulling_is_no_reason_to_fail_where_there_is_nothing_to_pull(
    slmctl: Program, author: Author, place: str, tiny_model: Path
) -> None:
    """What came with slmctl, was made here, or is out of somebody's bundle has no place to be asked."""
    made = f"{place}:mine"  # a name that says a place belongs to what was made all the same
    for name in ("mine", made):
        assert slmctl("create", name, "--from", str(tiny_model)).code == 0
    author.create("m", 1)
    author.publish("m", _tag(place, "v1"))
    author.slmctl.go_online()
    assert author.slmctl("pull", f"{place}:v1", "--as", "theirs").code == 0
    bundle = author.slmctl.home / "bundle.tar"
    assert author.slmctl("export", "theirs", "-o", str(bundle)).code == 0
    assert slmctl("import", str(bundle)).code == 0
    for name, why in (
        ("hello", "came with slmctl"),
        ("mine", "was made here"),
        (made, "was made here"),
        ("theirs", "out of a bundle"),
    ):
        outcome = slmctl("run", name, "a", "--max-tokens", "2", "--pull", "always")
        assert outcome.code == 0, outcome.err
        assert why in outcome.err
        assert "it runs as it is here" in outcome.err
    assert slmctl("run", "nothing-of-that-name", "a", "--pull", "always").code == 6


def test_a_dry_run_says_what_it_would_fetch_and_leaves_the_store_alone(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    author.publish("m", _tag(place, "v1"))
    done = slmctl("pull", f"{place}:v1", "--dry-run", "--json").json
    row = done["models"][0]
    assert (done["dry_run"], row["changed"], row["missing"] >= row["size"] > 100_000) == (True, True, True)
    assert not slmctl.store.exists()
    assert slmctl("list", "--json").json["models"] == []


def test_verify_repair_fetches_what_is_damaged_from_the_registry(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1, "F32", "F16")
    author.publish("m", _tag(place, "v1"))
    assert slmctl("pull", f"{place}:v1", "--all-variants").code == 0
    for blob in slmctl.store.glob("blobs/sha256/*"):  # one after the other: weights, config, manifests, index
        good = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        assert slmctl("verify").code == 5
        repaired = slmctl("verify", "--repair")
        assert repaired.code == 0, repaired.err
        assert blob.read_bytes() == good
    assert slmctl("run", f"{place}:v1", "a", "--max-tokens", "2").code == 0


def test_a_killed_pull_is_gone_on_with_however_the_name_is_spelled(
    slmctl: Program, author: Author, plain_registry: Registry, place: str
) -> None:
    """Nothing of it is left over, as it would be of the pull of another name."""
    author.create("m", 1)
    author.publish("m", _tag(place, "v1"))
    with relay(plain_registry.host) as between:
        name = f"{between.host}/{_tag(place, 'v1')}"
        child = slmctl.start("pull", name, "--as", "Mine", "--limit-rate", "50kB")
        between.on_served = lambda served: child.kill() if served >= 60_000 else None
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGKILL
        between.on_served = None
        assert len(list(slmctl.store.glob("leases/*"))) == 1
        assert slmctl("pull", name, "--as", "mine").code == 0
    assert not list(slmctl.store.glob("leases/*"))


def test_nothing_is_said_with_quiet_and_events_are_lines_of_json(
    slmctl: Program, author: Author, place: str
) -> None:
    author.create("m", 1)
    author.publish("m", _tag(place, "v1"))
    told = slmctl("pull", f"{place}:v1", "--progress", "json")
    events = [json.loads(line) for line in told.err.splitlines()]
    last = [each for each in events if each["event"] == "pull"][-1]
    assert last["all_done"] == last["all_total"] > 100_000
    assert slmctl("rm", f"{place}:v1").code == 0
    quiet = slmctl("pull", f"{place}:v1", "--quiet")
    assert (quiet.code, quiet.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["--all", "x"], 2),
        (["a", "b", "--as", "c"], 2),
        (["./missing"], 3),
        (["--lock", "missing.lock"], 3),
        (["bad name"], 2),
        (["x", "--variant", "a", "--all-variants"], 2),
        (["x", "--limit-rate", "5"], 2),
        (["hello"], 2),
        (["hello", "--as", "mine"], 2),
        (["oci://"], 2),
        (["hf.co/org"], 2),
        (["azureml://registries/azureml/models/x/versions/1"], 2),
        (["--lock", "/dev/null"], 5),
        (["."], 5),
    ],
)
def test_wrong_usage_has_a_sentence_and_a_hint(slmctl: Program, arguments: list[str], code: int) -> None:
    done = slmctl("pull", *arguments)
    assert (done.code, len(done.err.splitlines())) == (code, 2), done.err


def test_what_is_in_the_store_still_runs_when_nobody_can_be_reached(slmctl: Program) -> None:
    slmctl.go_online()
    assert slmctl("run", "hello", "What is slmctl?").code == 0
    refused = slmctl("pull", "qwen3:0.6b")
    assert refused.code == 6
    assert "127.0.0.1:9" in refused.err
    assert slmctl("run", "hello", "What is slmctl?").code == 0
