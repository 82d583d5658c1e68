"""The random models load in llama.cpp, say words only, and are the same bytes everywhere."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest

from tools import random_model
from tools.random_model import GIGABYTE, TINY, WORDS, Shape, write_random_model, write_random_shards

_CHILD = Path(__file__).with_name("generate.py")
_Metadata = dict[str, random_model.MetadataValue | None]


@pytest.fixture
def address() -> Iterator[str]:
    """A socket path that does not exist and is short enough for the operating system."""
    with tempfile.TemporaryDirectory(prefix="slm", dir="/tmp") as folder:
        yield f"{folder}/e.sock"


def _generate(
    model: Path, address: str, *, prompt: str = "", count: int = 20, temperature: float = 0.0
) -> str:
    command = [sys.executable, "-P", str(_CHILD), str(model), address, prompt, str(count), str(temperature)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    reply = json.loads(done.stdout)
    assert reply["tokens_predicted"] == count, "ended early"
    return str(reply["content"])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("tensor_type", random_model.TENSOR_TYPES)
def test_an_engine_loads_it_and_it_says_words(tmp_path: Path, address: str, tensor_type: str) -> None:
    model = tmp_path / "model.gguf"
    write_random_model(model, tensor_type=tensor_type)
    said = _generate(model, address).split()
    assert len(said) == 20
    assert set(said) <= WORDS
    assert len(set(said)) > 5


def test_sampling_from_the_whole_distribution_says_words_too(tmp_path: Path, address: str) -> None:
    model = tmp_path / "model.gguf"
    write_random_model(model, seed=7)
    said = _generate(model, address, prompt="The old king, 你好 7", count=200, temperature=1.0)
    assert set(said.split()) <= WORDS


def test_an_untied_model_with_a_larger_vocabulary(tmp_path: Path, address: str) -> None:
    model = tmp_path / "model.gguf"
    shape = dataclasses.replace(TINY, tied=False, vocabulary=4096, layers=4)
    write_random_model(model, shape=shape, tensor_type="Q4_0")
    assert set(_generate(model, address).split()) <= WORDS


def test_shards_load_from_the_first_and_say_what_the_single_file_says(tmp_path: Path, address: str) -> None:
    model = tmp_path / "model.gguf"
    write_random_model(model)
    shards = write_random_shards(tmp_path, count=3)
    assert [shard.name for shard in shards] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert _generate(shards[0], address) == _generate(model, address.replace("e.sock", "f.sock"))


def test_every_shard_says_which_part_it_is(tmp_path: Path) -> None:
    readers = [gguf.GGUFReader(path) for path in write_random_shards(tmp_path, count=4, name="x")]
    assert [reader.fields["split.no"].contents() for reader in readers] == [0, 1, 2, 3]
    assert {reader.fields["split.count"].contents() for reader in readers} == {4}
    names = [tensor.name for reader in readers for tensor in reader.tensors]
    assert names == list(TINY.tensors())
    assert {reader.fields["split.tensors.count"].contents() for reader in readers} == {len(names)}


# From the first run on Linux x86-64; another machine must give the same.
_DIGESTS = {
    "F32": "c9951fb4f92eb6f1eeb6d10e67bf2b0a55b9fd43eacdb84514faa4aa897339c6",
    "F16": "e4bdfd859f164a63b5894af9e369c4d3332454545e898520a89ea3e561bfd433",
    "Q8_0": "5f0c3fae9b8554e0326a94778192d9a5d96c36e090fceeda17bfda9533b55068",
    "Q4_0": "f6ddba377080e92d87e258428061d369f992ae2c6f17a3dc39076624607a9646",
}


@pytest.mark.parametrize("tensor_type", random_model.TENSOR_TYPES)
def test_the_bytes_are_the_same_on_every_machine(tmp_path: Path, tensor_type: str) -> None:
    model = tmp_path / "model.gguf"
    write_random_model(model, tensor_type=tensor_type)
    assert _digest(model) == _DIGESTS[tensor_type]


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_random_model(tmp_path / f"{seed}.gguf", seed=seed)
    assert _digest(tmp_path / "0.gguf") != _digest(tmp_path / "1.gguf")


def test_metadata_can_be_replaced_added_and_left_out(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    metadata: _Metadata = {
        "general.name": "x",
        "a.b": -1,
        "general.file_type": None,
        "c": ["d"],
        "e": 1 << 40,
    }
    write_random_model(model, chat_template="{{ messages }}", metadata=metadata)
    fields = gguf.GGUFReader(model).fields
    assert "general.file_type" not in fields
    kept = {
        key: fields[key].contents() for key in ("general.name", "a.b", "c", "e", "tokenizer.chat_template")
    }
    assert kept == {
        "general.name": "x",
        "a.b": -1,
        "c": ["d"],
        "e": 1 << 40,
        "tokenizer.chat_template": "{{ messages }}",
    }


def test_sizes(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    write_random_model(model)
    assert model.stat().st_size < 2_000_000
    values = sum(rows * columns for rows, columns in (d for d in GIGABYTE.tensors().values() if len(d) == 2))
    assert 0.95e9 < 4 * values < 1.05e9


@pytest.mark.parametrize(
    "wrong",
    [{"heads": 3}, {"layers": 0}, {"vocabulary": 10}, {"head_size": 7}, {"feed_forward": 16}],
    ids=str,
)
def test_a_shape_that_is_no_model_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        Shape(**wrong)


def test_arguments_that_make_no_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with pytest.raises(ValueError, match="tensor_type must be one of"):
        write_random_model(path, tensor_type="Q4_K")
    with pytest.raises(ValueError, match="multiple of 32"):
        write_random_model(path, shape=dataclasses.replace(TINY, hidden=48), tensor_type="Q8_0")
    with pytest.raises(ValueError, match="count must be"):
        write_random_shards(tmp_path, count=0)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.gguf"
    random_model.main([str(model), "--type", "Q8_0", "--seed", "3"])
    assert model.is_file()
    assert "0.2 MB" in capsys.readouterr().out
