"""`slmctl convert`, and `slmctl create` from a folder of safetensors."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from slmctl.cli.main import COMMANDS
from tests.hf_folders import SHIPPED, write_hello_folder, write_peft_folder, write_tiny_folder
from tests.processes import until
from tests.slmctl.cli.program import Program
from tests.slmctl.cli.stored import blobs, header, leftovers, variants, weights
from tests.slmctl.cli.test_places import mounting

QUESTION = "What is a GGUF file?"


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return write_hello_folder(tmp_path / "published")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_folder(tmp_path / "small")


def tensors(path: Path) -> dict[str, tuple[str, bytes]]:
    """Type and bytes of each tensor of a GGUF."""
    return {
        tensor.name: (tensor.tensor_type.name, np.asarray(tensor.data).tobytes())
        for tensor in gguf.GGUFReader(path).tensors
    }


def made(slmctl: Program, *arguments: str) -> list[str]:
    done = slmctl("create", *arguments, "--json")
    assert done.code == 0, done.err
    found: list[str] = done.json["variants"]
    assert leftovers(slmctl) == []
    return found


# What comes of it


def test_a_folder_is_kept_and_a_gguf_is_made_of_it(slmctl: Program, hello: Path) -> None:
    assert made(slmctl, "h", "--from", str(hello)) == ["safetensors-f16", "gguf-f16"]
    found = variants(slmctl, "h")
    kept = {
        file.path: file.role for file in found["safetensors-f16"].files if file.path != "slmctl/spec.json"
    }
    assert kept == {
        "model.safetensors": "weights", "config.json": "config", "generation_config.json": "config",
        "tokenizer.json": "config", "tokenizer_config.json": "config", "README.md": "doc",
    }  # fmt: skip
    for path in kept:
        (file,) = (each for each in found["safetensors-f16"].files if each.path == path)
        blob = slmctl.store / "blobs" / "sha256" / file.digest.hex
        assert blob.read_bytes() == (hello / path).read_bytes()
    assert tensors(weights(slmctl, "h", "gguf-f16")) == tensors(SHIPPED / "hello.gguf")
    ours, theirs = (
        slmctl("run", name, "--temperature", "0", "--max-tokens", "40", QUESTION, "--json").json["response"]
        for name in ("h", "hello")
    )
    assert ours == theirs != ""
    assert slmctl("verify", "--json").json["findings"] == []
    assert {path.name for path in hello.iterdir()} >= {"model.safetensors", "config.json"}


def test_the_published_text_comes_out(slmctl: Program, stories: Path) -> None:
    assert made(slmctl, "stories", "--from", str(stories / "hf")) == ["safetensors-f32", "gguf-f32"]
    ours, theirs = weights(slmctl, "stories", "gguf-f32"), stories / "stories260K-f32.gguf"
    assert tensors(ours) == tensors(theirs)
    golden = (stories / "golden.txt").read_text()
    arguments = ("--raw", "--temperature", "0", "--max-tokens", "199", "--ctx", "512")
    told = slmctl("run", "stories", *arguments, "Once", "--json").json["response"]
    whole = f"Once{told}"
    assert len(whole) > 300
    assert whole[: len(golden)].startswith(golden[: len(whole)].rstrip())


def test_a_modelfile_may_name_a_folder(slmctl: Program, tiny: Path) -> None:
    (tiny.parent / "Modelfile").write_text(
        f"FROM ./{tiny.name}\nSYSTEM Be brief.\nPARAMETER temperature 0.25\n"
    )
    assert made(slmctl, "m", "-f", str(tiny.parent / "Modelfile")) == ["safetensors-f32", "gguf-f32"]
    for variant in variants(slmctl, "m").values():
        assert (variant.spec.system, variant.spec.parameters) == ("Be brief.", {"temperature": 0.25})


def test_what_the_makers_say_of_asking_is_taken_over(slmctl: Program, tiny: Path) -> None:
    (tiny / "generation_config.json").write_text('{"temperature": 0.6, "top_k": 20, "do_sample": true}')
    (tiny / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    (tiny / "LICENSE").write_text("Do what you like.")
    made(slmctl, "m", "--from", str(tiny))
    for variant in variants(slmctl, "m").values():
        assert variant.spec.parameters == {"temperature": 0.6, "top_k": 20}
        assert variant.licenses == ("apache-2.0",)
        assert {file.path for file in variant.of_role("doc")} == {"README.md", "LICENSE"}


@pytest.mark.parametrize(("only", "expected"), [("gguf", "gguf-f32"), ("safetensors", "safetensors-f32")])
def test_only_one_of_them(slmctl: Program, tiny: Path, only: str, expected: str) -> None:
    assert made(slmctl, "m", "--from", str(tiny), "--only", only) == [expected]
    digests = {path.name for path in map(Path, blobs(slmctl))}
    assert len(digests) == {"gguf": 4, "safetensors": 8}[only]  # manifest, config, spec and the files


def test_the_same_folder_gives_the_same_digest_on_every_way(slmctl: Program, tiny: Path) -> None:
    made(slmctl, "a", "--from", str(tiny), "--only", "gguf")
    assert slmctl("convert", str(tiny), "--to", "gguf", "-o", "b").code == 0
    made(slmctl, "c", "--from", str(tiny))
    assert slmctl("convert", "c", "--to", "gguf", "-o", "d").code == 0
    digests = {name: slmctl("show", name, "--json").json["digest"] for name in "abd"}
    assert len(set(digests.values())) == 1
    assert variants(slmctl, "c")["gguf-f32"].digest == variants(slmctl, "a")["gguf-f32"].digest


def test_parts_with_an_index_are_one_model(slmctl: Program, tmp_path: Path, tiny: Path) -> None:
    parts = write_tiny_folder(tmp_path / "parts", shards=3)
    made(slmctl, "parts", "--from", str(parts))
    made(slmctl, "whole", "--from", str(tiny))
    assert len(variants(slmctl, "parts")["safetensors-f32"].weights) == 3
    assert tensors(weights(slmctl, "parts", "gguf-f32")) == tensors(weights(slmctl, "whole", "gguf-f32"))


def test_a_snapshot_of_hugging_faces_cache_is_a_folder_of_links(
    slmctl: Program, tmp_path: Path, tiny: Path
) -> None:
    repository = tmp_path / "models--org--small"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, path in enumerate(sorted(tiny.iterdir())):
        shutil.move(path, repository / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    assert made(slmctl, "m", "--from", str(snapshot)) == ["safetensors-f32", "gguf-f32"]


def test_moving_takes_the_files_and_converts_what_is_kept(slmctl: Program, tiny: Path) -> None:
    made(slmctl, "m", "--from", str(tiny), "--move")
    assert list(tiny.iterdir()) == []
    assert slmctl("create", "n", "--from", str(tiny.parent / "nothing"), "--move").code == 3


def test_the_type_may_be_another_one(slmctl: Program, tiny: Path) -> None:
    done = slmctl("convert", str(tiny), "--to", "gguf", "-o", "m", "--type", "bf16", "--json")
    assert done.json["variant"] == "gguf-bf16"
    types = {tensor.name: tensor.type.name for tensor in header(slmctl, "m", "gguf-bf16").tensors}
    assert types["token_embd.weight"] == "BF16"
    assert types["output_norm.weight"] == "F32"


def test_creating_may_quantize_at_once(slmctl: Program, hello: Path) -> None:
    assert made(slmctl, "m", "--from", str(hello), "-q", "q4_k_m,Q8_0") == [
        "safetensors-f16", "gguf-q4_k_m", "gguf-q8_0",
    ]  # fmt: skip
    made(slmctl, "n", "--from", str(SHIPPED / "hello.gguf"), "-q", "q8_0")
    assert list(variants(slmctl, "n")) == ["gguf-q8_0"]  # as in Ollama, and the file stays the user's
    assert tensors(weights(slmctl, "m", "gguf-q8_0")) == tensors(weights(slmctl, "n", "gguf-q8_0"))


def test_progress_is_told(slmctl: Program, tiny: Path) -> None:
    done = slmctl("convert", str(tiny), "--to", "gguf", "-o", "m", "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines()]
    told = [each for each in events if each["event"] == "convert"]
    assert told
    assert told[-1]["done"] == told[-1]["total"] == weights(slmctl, "m", "gguf-f32").stat().st_size
    assert [each["done"] for each in told] == sorted(each["done"] for each in told)


def test_an_adapter_of_peft_completes_the_gguf(slmctl: Program, tiny: Path) -> None:
    write_peft_folder(tiny.parent / "peft")
    (tiny.parent / "Modelfile").write_text(f"FROM ./{tiny.name}\nADAPTER ./peft\n")
    made(slmctl, "m", "-f", str(tiny.parent / "Modelfile"))
    found = variants(slmctl, "m")
    assert found["safetensors-f32"].of_role("adapter") == ()
    (file,) = found["gguf-f32"].of_role("adapter")
    names = {
        tensor.name for tensor in gguf.GGUFReader(slmctl.store / "blobs" / "sha256" / file.digest.hex).tensors
    }
    assert names == {f"blk.0.{name}.weight.lora_{side}" for name in ("attn_q", "ffn_down") for side in "ab"}
    made(slmctl, "plain", "--from", str(tiny))
    arguments = ("--raw", "--temperature", "0", "--max-tokens", "20", "--ctx", "128", "a b c", "--json")
    changed, plain = (slmctl("run", name, *arguments).json["response"] for name in ("m", "plain"))
    assert changed != plain
    (tiny.parent / "Modelfile").write_text(
        "FROM plain\nADAPTER ./peft\n"
    )  # whose safetensors say what it is for
    made(slmctl, "n", "-f", str(tiny.parent / "Modelfile"))
    assert slmctl("run", "n", *arguments).json["response"] == changed


def test_an_adapter_of_peft_needs_to_know_its_model(slmctl: Program, tiny: Path) -> None:
    write_peft_folder(tiny.parent / "peft", hidden=32)
    for base, says in (("hello", "config.json"), (f"./{tiny.name}", "shape")):
        (tiny.parent / "Modelfile").write_text(f"FROM {base}\nADAPTER ./peft\n")
        done = slmctl("create", "m", "-f", str(tiny.parent / "Modelfile"))
        assert done.code in (2, 5), done.err
        assert says in done.err
        assert slmctl("show", "m").code == 3
        assert leftovers(slmctl) == []


# What cannot be


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("convert", "{folder}", "--to", "mlx", "-o", "m"), 4, "MLX"),
        (("convert", "{folder}", "--to", "onnx", "-o", "m"), 4, "ONNX"),
        (("convert", "{folder}", "--to", "exe", "-o", "m"), 2, "exe"),
        (("convert", "{folder}", "--to", "gguf"), 2, "-o"),
        (("convert", "{folder}/nothing/", "--to", "gguf", "-o", "m"), 3, "nothing"),
        (("convert", "nobody", "--to", "gguf", "-o", "m"), 3, "nobody"),
        (("convert", "hello", "--to", "gguf", "-o", "m"), 2, "no safetensors"),
        (("convert", "hf.co/org/repo", "--to", "gguf", "-o", "m"), 3, "slmctl pull"),
        (("create", "m", "--from", "{folder}/model.safetensors"), 2, "folder"),
        (("create", "m", "--from", "hello", "--only", "gguf"), 2, "--only"),
        (("create", "m", "--from", "hello", "-q", "q8_0"), 2, "slmctl quantize hello"),
        (("create", "m", "--from", "{folder}", "-q", "q9_0"), 2, "q9_0"),
        (("create", "m", "--from", "{folder}", "-q", "q8_0", "--only", "safetensors"), 2, "exclude"),
        (("create", "m", "--from", "{folder}", "--only", "gguf", "--move"), 2, "--move"),
        (("create", "m", "--from", str(SHIPPED / "hello.gguf"), "-q", "iq1_s"), 2, "importance matrix"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_a_hint(
    slmctl: Program, tiny: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    assert arguments[0] in COMMANDS
    done = slmctl(*(each.format(folder=tiny) for each in arguments))
    assert (done.code, done.out) == (code, ""), done.err
    told = done.err.removeprefix("hello came with slmctl; it is in your store now.\n")
    assert len(told.splitlines()) == 2, told
    assert says in told
    assert slmctl("show", "m").code == 3
    assert leftovers(slmctl) == []


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_model_is_not_converted_onto_itself(slmctl: Program, tiny: Path, force: tuple[str, ...]) -> None:
    assert slmctl("create", "m", "--from", str(tiny), "--only", "safetensors").code == 0
    before = blobs(slmctl)
    done = slmctl("convert", "m", "--to", "gguf", "-o", "M:latest", *force)
    assert (done.code, done.out) == (2, "")
    assert "slmctl quantize m" in done.hint
    assert blobs(slmctl) == before


def test_a_taken_name_is_told_before_anything_is_converted(slmctl: Program, tiny: Path) -> None:
    assert slmctl("show", "hello").code == 0
    for command in (
        ("create", "hello", "--from", str(tiny)),
        ("convert", str(tiny), "--to", "gguf", "-o", "hello"),
    ):
        done = slmctl(*command, "--progress", "json")
        assert done.code == 1
        assert '"convert"' not in done.err
    assert slmctl("convert", str(tiny), "--to", "gguf", "-o", "hello", "--force").code == 0


def test_an_architecture_that_nobody_knows_is_refused_and_may_be_kept(slmctl: Program, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config |= {"architectures": ["NewestForCausalLM"], "model_type": "newest"}
    (tiny / "config.json").write_text(json.dumps(config))
    done = slmctl("create", "m", "--from", str(tiny))
    assert (done.code, len(done.err.splitlines())) == (4, 2)
    assert "NewestForCausalLM" in done.err
    assert "--only safetensors" in done.hint
    assert blobs(slmctl) == set()
    assert leftovers(slmctl) == []
    assert made(slmctl, "m", "--from", str(tiny), "--only", "safetensors") == ["safetensors-f32"]


def test_code_of_the_models_own_is_refused(slmctl: Program, tiny: Path) -> None:
    config = json.loads((tiny / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling_evil.EvilForCausalLM"}
    (tiny / "config.json").write_text(json.dumps(config))
    done = slmctl("convert", str(tiny), "--to", "gguf", "-o", "m")
    assert (done.code, "auto_map" in done.err) == (4, True)


# Hostile and broken folders: exit 5, nothing written


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    os.truncate(path, path.stat().st_size - 1)


def huge_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])


def overlap(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    first, second = (name for name in table if name.endswith("layernorm.weight"))
    table[first]["data_offsets"] = table[second]["data_offsets"]
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def lead_out(folder: Path) -> None:
    index = {"weight_map": dict.fromkeys(["model.norm.weight"], "../model.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def absolute(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "/etc/passwd"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def missing_part(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))


def pickle_alone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": 1}))


def linked_out(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.safetensors"
    (folder / "model.safetensors").rename(elsewhere)
    (folder / "model.safetensors").symlink_to(elsewhere)


def tokenizer_linked_out(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/etc/passwd")


def broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama", ')


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("[" * 100_000)


def fifo(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


HOSTILE: tuple[Callable[[Path], None], ...] = (
    truncate, huge_header, overlap, lead_out, absolute, missing_part, pickled, pickle_alone, linked_out,
    tokenizer_linked_out, broken_config, broken_tokenizer, fifo,
)  # fmt: skip


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize("command", [("create", "m", "--from"), ("convert", "--to", "gguf", "-o", "m")])
def test_hostile_and_broken_folders_are_refused_and_nothing_is_written(
    slmctl: Program, tiny: Path, spoil: Callable[[Path], None], command: tuple[str, ...]
) -> None:
    assert slmctl("list").code == 0
    spoil(tiny)
    done = slmctl(*command, str(tiny))
    assert (done.code, done.out) == (5, ""), done.err
    sentence, hint = done.err.splitlines()
    assert sentence.startswith("slmctl: ")
    assert sentence.isprintable()
    assert hint.strip()
    assert blobs(slmctl) == set()
    assert leftovers(slmctl) == []


# What ends in the middle


@pytest.mark.root
def test_a_disk_without_room_is_told_before_anything_is_written(slmctl: Program, hello: Path) -> None:
    small = mounting(slmctl, 'mkdir -p "$1/../small"; mount -t tmpfs -o size=16M none "$1/../small"')
    small.environment = {**slmctl.environment, "SLMCTL_HOME": str(slmctl.home.parent / "small")}
    done = small("convert", str(hello), "--to", "gguf", "-o", "m", "--progress", "json")
    assert done.code == 1, done.err
    assert "takes" in done.err
    assert "left" in done.err
    assert '"convert"' not in done.err


def test_a_file_that_may_not_grow_is_a_sentence_and_nothing_is_left(slmctl: Program, hello: Path) -> None:
    assert slmctl("list").code == 0
    limited = ["bash", "-c", 'ulimit -f 4000; exec "$@"', "bash"]
    done = slmctl.run([*limited, *slmctl.command("convert", str(hello), "--to", "gguf", "-o", "m")])
    assert (done.code, len(done.err.splitlines())) == (1, 2), done.err
    assert blobs(slmctl) == set()
    assert leftovers(slmctl) == []


def test_ctrl_c_leaves_nothing(slmctl: Program, tmp_path: Path) -> None:
    """While a large folder is converted: the name is free, the store as it was."""
    large = write_tiny_folder(tmp_path / "large", hidden=2048)
    assert slmctl("list").code == 0
    process = slmctl.start("convert", str(large), "--to", "gguf", "-o", "m", "--progress", "json")
    stderr = process.stderr
    assert stderr is not None
    until(lambda: b'"convert"' in stderr.readline() or None)
    process.send_signal(2)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert blobs(slmctl) == set()
    assert leftovers(slmctl) == []
