"""The main job, end to end on real parts: a GGUF file becomes a model, and the model answers."""

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from registry.manifest import Manifest, parse
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model


def create(slmctl: Program, name: str, base: Path, *more: str) -> str:
    """Create a model; gives its digest."""
    return str(slmctl("create", name, "--from", str(base), "--json", *more).json["digest"])


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_real_model_tells_its_published_story(slmctl: Program, stories: Path) -> None:
    create(slmctl, "stories", stories / "stories260K-f32.gguf")
    outcome = slmctl("run", "stories", "--raw", "--temperature", "0", "--max-tokens", "200", "")
    assert outcome.code == 0, outcome.err
    assert outcome.out.lstrip() == (stories / "golden.txt").read_text()
    assert outcome.err == ""


def test_a_model_is_created_and_answers(slmctl: Program, tiny_model: Path) -> None:
    before = tiny_model.stat()
    created = slmctl("create", "tiny", "--from", str(tiny_model))
    assert (created.code, created.err) == (0, "")
    assert created.out.startswith("created 'tiny'")
    after = tiny_model.stat()
    assert (after.st_ino, after.st_mode, after.st_uid, after.st_gid, after.st_mtime_ns, after.st_nlink) == (
        before.st_ino, before.st_mode, before.st_uid, before.st_gid, before.st_mtime_ns, before.st_nlink,
    )  # fmt: skip
    hexdigest = sha256(tiny_model.read_bytes()).hexdigest()
    assert (slmctl.store / "blobs" / "sha256" / hexdigest).exists()

    ask = ("run", "tiny", "--temperature", "0", "--max-tokens", "12", "once upon a time")
    first = slmctl(*ask)
    assert first.code == 0, first.err
    assert len(first.out.split()) >= 8
    assert "no chat template" in first.err
    assert slmctl(*ask).out == first.out

    document = slmctl(*ask, "--json").json
    assert document["response"] == first.out.rstrip("\n")
    assert (document["finish_reason"], document["generated_tokens"]) == ("length", 12)
    assert document["digest"] == slmctl("show", "tiny", "--json").json["digest"]


def test_the_users_file_may_be_overwritten_afterwards(
    slmctl: Program, tiny_model: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copy(tiny_model, mine)
    create(slmctl, "tiny", mine)
    ask = ("run", "tiny", "--verify", "--raw", "--temperature", "0", "--max-tokens", "5", "the")
    before = slmctl(*ask)
    with mine.open("r+b") as stream:
        stream.write(b"\xff" * mine.stat().st_size)
    after = slmctl(*ask)
    assert (after.code, after.out) == (0, before.out)


def test_move_takes_the_file_away(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.gguf"
    shutil.copy(tiny_model, mine)
    digest = create(slmctl, "moved", mine, "--move")
    assert not mine.exists()
    assert digest == create(slmctl, "copied", tiny_model)


def test_shards_are_one_model_whichever_part_is_named(
    slmctl: Program, tiny_shards: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    digests = {create(slmctl, f"shards{number}", part) for number, part in enumerate(tiny_shards)}
    assert len(digests) == 1
    variant = slmctl("show", "shards0", "--json").json["variants"][0]
    weights = [file["path"] for file in variant["files"] if file["role"] == "weights"]
    assert weights == [f"model-{number:05}-of-00003.gguf" for number in (1, 2, 3)]
    create(slmctl, "whole", tiny_model)
    ask = ("--raw", "--temperature", "0", "--max-tokens", "8", "the")
    assert slmctl("run", "shards0", *ask).out == slmctl("run", "whole", *ask).out

    folder = tmp_path / "incomplete"
    folder.mkdir()
    for part in tiny_shards[:-1]:
        shutil.copy(part, folder)
    outcome = slmctl("create", "x", "--from", str(folder / tiny_shards[0].name))
    assert outcome.code == 5
    assert tiny_shards[-1].name in outcome.err


def create_elsewhere(slmctl: Program, model: Path, folder: Path, environment: dict[str, str]) -> Program:
    """Create the model `m` with a home, a folder and a file name of its own; the program that did it."""
    folder.mkdir()
    copy = folder / f"another-name-in-{folder.name}.gguf"
    shutil.copy(model, copy)
    os.utime(copy, ns=(1, 1))
    text = f"FROM {copy.name}\nPARAMETER top_k 20\nPARAMETER temperature 0.25\nSYSTEM Be brief.\n"
    (folder / "Modelfile").write_text(text)
    program = Program(folder / "home", Path(slmctl.environment["XDG_RUNTIME_DIR"]))
    assert program("create", "m", cwd=folder, environment=environment).code == 0
    return program


def test_the_same_input_gives_the_same_digest_anywhere(
    slmctl: Program, tiny_model: Path, tmp_path: Path
) -> None:
    digests = set()
    zones = ("UTC", "Asia/Kathmandu", "America/St_Johns")
    for umask, zone in zip((0o077, 0o000, 0o022), zones, strict=True):
        old = os.umask(umask)
        try:
            program = create_elsewhere(slmctl, tiny_model, tmp_path / f"umask-{umask}", {"TZ": zone})
        finally:
            os.umask(old)
        digests.add(program("show", "m", "--json").json["digest"])
    assert len(digests) == 1


@pytest.mark.parametrize("day", ["2001-01-01 12:00:00", "2037-06-30 00:00:00"])
def test_the_same_input_gives_the_same_digest_on_another_day(
    slmctl: Program, tiny_model: Path, tmp_path: Path, day: str
) -> None:
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("needs libfaketime")
    faked = {"LD_PRELOAD": str(library), "FAKETIME": f"@{day}"}
    then = create_elsewhere(slmctl, tiny_model, tmp_path / "then", faked)("list", "--json").json["models"][0]
    now = create_elsewhere(slmctl, tiny_model, tmp_path / "now", {})("list", "--json").json["models"][0]
    assert then["modified"][:4] == day[:4], "the clock was not faked"
    assert now["modified"][:4] != day[:4]
    assert then["digest"] == now["digest"]


def test_a_modelfile_sets_parameters_and_the_system_message(
    slmctl: Program, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "Modelfile").write_text(
        f"# a comment\nFROM {tiny_model.name}\nPARAMETER temperature 0\nPARAMETER num_predict 4\n"
        'PARAMETER num_ctx 256\nPARAMETER stop "\\n"\nSYSTEM """You are\nterse."""\n'
    )
    shutil.copy(tiny_model, tmp_path)
    assert slmctl("create", "m", cwd=tmp_path).code == 0
    spec = slmctl("show", "m", "--json").json["variants"][0]["spec"]
    assert spec == {
        "schema": "slmctl.spec/1",
        "parameters": {"num_ctx": 256, "num_predict": 4, "stop": ["\\n"], "temperature": 0.0},
        "system": "You are\nterse.",
    }
    answer = slmctl("run", "m", "hello", "--json").json
    assert (answer["generated_tokens"], answer["context_length"]) == (4, 256)
    assert slmctl("run", "m", "hello", "--json", "--max-tokens", "7").json["generated_tokens"] == 7
    assert (
        slmctl("run", "m", "hello", "--json", "-o", "num_predict=6", "--ctx", "512").json["context_length"]
        == 512
    )

    from_stdin = slmctl("create", "n", "-f", "-", stdin=b"FROM m\nPARAMETER num_predict 9\n", cwd=tmp_path)
    assert from_stdin.code == 0, from_stdin.err
    inherited = slmctl("show", "n", "--json").json["variants"][0]["spec"]
    assert inherited["system"] == "You are\nterse."
    assert inherited["parameters"]["num_predict"] == 9
    assert inherited["parameters"]["num_ctx"] == 256


def test_a_modelfile_with_errors_tells_them_and_makes_nothing(slmctl: Program, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FORM x\nPARAMETER temperatur 1\nFROM x\n")
    outcome = slmctl("create", "m", cwd=tmp_path)
    assert outcome.code == 2
    assert "Modelfile:1:1" in outcome.err
    assert "FROM" in outcome.err
    assert "temperature" in outcome.err
    assert not slmctl.store.exists()


def test_piped_text_stands_before_the_prompt(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    ask = ("run", "tiny", "--raw", "--temperature", "0", "--max-tokens", "6")
    both = slmctl(*ask, "the end", stdin=b"once upon")
    assert both.code == 0, both.err
    assert both.out == slmctl(*ask, "once upon\nthe end").out
    assert slmctl(*ask, stdin=b"once upon").out == slmctl(*ask, "once upon").out
    assert slmctl(*ask).code == 2


def test_the_chat_template_of_the_file_is_used(slmctl: Program, tmp_path: Path) -> None:
    path = tmp_path / "chat.gguf"
    write_random_model(
        path,
        chat_template="{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}",
    )
    create(slmctl, "chat", path)
    sampled = ("--temperature", "0", "--max-tokens", "6")
    chat = slmctl("run", "chat", "--system", "be good", *sampled, "hello", "--json")
    assert chat.err == ""
    raw = slmctl("run", "chat", "--raw", *sampled, "system be good user hello assistant", "--json")
    assert chat.json["response"].split() == raw.json["response"].split()
    assert chat.json["prompt_tokens"] == raw.json["prompt_tokens"]


def test_a_seed_repeats_an_answer(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    ask = ("run", "tiny", "--raw", "--max-tokens", "10", "--temperature", "2", "the")
    assert slmctl(*ask, "--seed", "7").out == slmctl(*ask, "--seed", "7").out
    assert slmctl(*ask, "--seed", "7").out != slmctl(*ask, "--seed", "8").out


def test_names_are_listed_copied_and_removed(slmctl: Program, tiny_model: Path) -> None:
    digest = create(slmctl, "tiny", tiny_model)
    assert slmctl("cp", "tiny", "ns/copy:v1").out == "copied 'tiny' to 'ns/copy:v1'\n"
    assert slmctl("tag", "tiny", "other").code == 0
    models = slmctl("ls", "--json").json["models"]
    assert [model["name"] for model in models] == ["ns/copy:v1", "other:latest", "tiny:latest"]
    assert {model["digest"] for model in models} == {digest}
    assert {model["variant"] for model in models} == {"gguf-f32"}
    assert [row["name"] for row in slmctl("list", "NS", "--json").json["models"]] == ["ns/copy:v1"]
    lines = slmctl("list").out.splitlines()
    assert lines[0].split() == ["NAME", "ID", "SIZE", "VARIANT", "MODIFIED"]
    assert len(lines) == 4

    partly = slmctl("rm", "tiny", "nosuch", "other")
    assert partly.code == 3
    assert "nosuch" in partly.err
    assert [row["name"] for row in slmctl("list", "--json").json["models"]] == ["ns/copy:v1"]
    removed = slmctl("rm", "NS/Copy:V1", "--json").json
    assert removed["removed"] == ["ns/copy:v1"]
    assert removed["freed"] > tiny_model.stat().st_size
    assert list((slmctl.store / "blobs" / "sha256").iterdir()) == []


def test_cp_does_not_overwrite_another_model_unasked(
    slmctl: Program, tiny_model: Path, tmp_path: Path
) -> None:
    create(slmctl, "one", tiny_model)
    slmctl("create", "two", "-f", "-", stdin=b"FROM one\nSYSTEM different\n")
    refused = slmctl("cp", "one", "two")
    assert refused.code == 1
    assert "already" in refused.err
    assert slmctl("cp", "one", "two", "--force").code == 0
    assert slmctl("show", "two", "--json").json["digest"] == slmctl("show", "one", "--json").json["digest"]


def test_show_tells_what_the_file_says(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    document = slmctl("show", "tiny", "--json").json
    variant = document["variants"][0]
    assert (variant["id"], variant["runtime"], variant["local"], variant["fits"]) == (
        "gguf-f32", "llama.cpp", True, True,
    )  # fmt: skip
    assert variant["facts"]["architecture"] == "llama"
    text = slmctl("show", "tiny").out
    for word in ("tiny:latest", document["digest"], "llama.cpp", "F32"):
        assert word in text


def test_the_manifest_is_modelpack_and_its_facts_are_the_headers(slmctl: Program, tiny_model: Path) -> None:
    digest = create(slmctl, "tiny", tiny_model)
    raw = (slmctl.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    manifest = parse(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.artifact_type == "application/vnd.cncf.model.manifest.v1+json"
    assert [layer.annotations["org.cncf.model.filepath"] for layer in manifest.layers] == [
        "model.gguf",
        "slmctl/spec.json",
    ]
    shown = slmctl("show", "tiny", "--json").json["variants"][0]["facts"]
    assert json.loads(manifest.annotations["dev.slmctl.facts"]) == shown


def test_a_folder_does_not_hide_a_model(slmctl: Program, tiny_model: Path, tmp_path: Path) -> None:
    digest = create(slmctl, "tiny", tiny_model)
    (tmp_path / "tiny").mkdir()
    again = slmctl("create", "again", "--from", "tiny", "--json", cwd=tmp_path)
    assert again.json["digest"] == digest


def test_what_strangers_wrote_cannot_steer_the_terminal(slmctl: Program, tiny_model: Path) -> None:
    """Escape sequences and line breaks in a system message, a variant's id and a foreign name."""
    text = f'FROM {tiny_model}\nSYSTEM """\x1b[31mred\x07\n\u202egnp.exe\n"""\n'
    assert slmctl("create", "tiny", "-f", "-", stdin=text.encode()).code == 0
    index = slmctl.store / "index.json"
    document = json.loads(index.read_bytes())
    document["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = (
        "evil\nfalse:row\x1b]0;x\x07"
    )
    document["manifests"].append(
        {**document["manifests"][0], "annotations": {"org.opencontainers.image.ref.name": "tiny:latest"}}
    )
    index.write_text(json.dumps(document))
    for arguments in (("list",), ("show", "tiny")):
        outcome = slmctl(*arguments)
        assert outcome.code == 0
        assert all(char.isprintable() or char == "\n" for char in outcome.out), outcome.out
        assert "\x1b" not in outcome.out
    assert len(slmctl("list").out.splitlines()) == 3


def test_run_verify_finds_a_flipped_bit(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    blob = slmctl.store / "blobs" / "sha256" / sha256(tiny_model.read_bytes()).hexdigest()
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    outcome = slmctl("run", "tiny", "--verify", "hello")
    assert outcome.code == 5
    assert "damaged" in outcome.err
    blob.write_bytes(data[:-1])
    outcome = slmctl("run", "tiny", "hello")
    assert outcome.code == 5
    assert outcome.hint


def test_a_torn_table_of_names_is_answered_from_the_generation_before(
    slmctl: Program, tiny_model: Path
) -> None:
    create(slmctl, "tiny", tiny_model)
    slmctl("cp", "tiny", "second")
    index = slmctl.store / "index.json"
    index.write_bytes(index.read_bytes()[:-30])
    outcome = slmctl("list", "--json")
    assert [row["name"] for row in outcome.json["models"]] == ["tiny:latest"]
    assert "index.json is damaged" in outcome.err
    assert slmctl("cp", "tiny", "third").code == 0
    assert [row["name"] for row in slmctl("list", "--json").json["models"]] == ["third:latest", "tiny:latest"]


def test_reading_commands_change_nothing(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    before = files_below(slmctl.home)
    for arguments in (("list",), ("show", "tiny"), ("version",), ("run", "tiny", "--max-tokens", "2", "x")):
        assert slmctl(*arguments).code == 0
    after = files_below(slmctl.home)
    learned = ("logs/", "history.")  # what engines wrote, and what a run taught
    assert {name: data for name, data in after.items() if not name.startswith(learned)} == before


def test_progress_can_be_read_by_programs(slmctl: Program, tiny_model: Path) -> None:
    outcome = slmctl("create", "tiny", "--from", str(tiny_model), "--json", "--progress", "json")
    events = [json.loads(line) for line in outcome.err.splitlines()]
    assert events[-1] == {
        "event": "copy", "item": tiny_model.name, "done": tiny_model.stat().st_size, "total": tiny_model.stat().st_size,
    }  # fmt: skip
    assert outcome.json["name"] == "tiny:latest"


def test_a_closed_pipe_ends_quietly(slmctl: Program, tiny_model: Path) -> None:
    create(slmctl, "tiny", tiny_model)
    for arguments in (
        ("run", "tiny", "--raw", "--max-tokens", "1500", "the"),
        ("list",),
        ("show", "tiny"),
        ("--help",),
    ):
        process = slmctl.start(*arguments)
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments[0] == "run":
            assert process.stdout.read(1)
        process.stdout.close()
        with process.stderr:
            assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0
