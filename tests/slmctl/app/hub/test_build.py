"""From a repository on the (fake) hub to a model of ours: what is read, what is left for the download."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from registry.digest import Digest
from registry.errors import DigestMismatch, DoesNotFit, MalformedFile
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.names import parse
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.huggingface import HuggingFaceRemote
from registry.remotes.retry import Patience
from slmctl.app.events import Event, Note
from slmctl.app.hub.build import HubBuild, build
from slmctl.app.hub.facts import facts_of
from slmctl.app.hub.repository import HubRepository
from slmctl.app.packaging import write_model
from tests.fakes.hub import COMMIT, FakeHub, pointer, serve_hub
from tests.gguf_bytes import STRING, U32, Builder, Tensor
from tests.parts import write_adapter, write_projector
from tools.random_model import write_random_model

CARD = b"---\nlicense: apache-2.0\nlibrary_name: mlx\n---\n# A model\n"
PLAIN = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 320,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
    "auto_map": {"AutoModel": "modeling_evil.Evil"},
}
SAMPLING = {
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.95,
    "top_k": 20,
    "repetition_penalty": 1.1,
    "eos_token_id": 2,
}


def tensors(dtype: type = np.float16) -> dict[str, np.ndarray]:
    names = {
        "model.embed_tokens.weight": (320, 64),
        "model.norm.weight": (64,),
        "lm_head.weight": (320, 64),
    }
    for layer in range(2):
        names |= {
            f"model.layers.{layer}.self_attn.q_proj.weight": (64, 64),
            f"model.layers.{layer}.self_attn.k_proj.weight": (32, 64),
            f"model.layers.{layer}.mlp.down_proj.weight": (64, 128),
            f"model.layers.{layer}.input_layernorm.weight": (64,),
        }
    return {name: np.zeros(shape, dtype=dtype) for name, shape in names.items()}


@dataclass
class Blobs:
    """A BlobWriter that keeps all in memory."""

    held: dict[Digest, bytes] = field(default_factory=dict)

    def put(self, data: bytes, /) -> Digest:
        digest = Digest.of(data)
        self.held[digest] = data
        return digest


@dataclass
class Built:
    """What came of one build. `manifest` is the digest of what was written."""

    hub: HubBuild
    blobs: Blobs
    manifest: Digest
    notes: list[str]


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(HttpSettings(stall_timeout=5)) as client:
        yield client


def repository_of(http: HttpClient, fake: FakeHub, name: str = "hf://org/model") -> HubRepository:
    remote = HuggingFaceRemote(
        http, HubAccess(endpoint=fake.endpoint), "org/model", patience=Patience(attempts=1)
    )
    return HubRepository(remote, remote.resolve(parse(name)))


def built(http: HttpClient, files: Mapping[str, bytes], selector: str | None = None) -> tuple[Built, FakeHub]:
    with serve_hub({"org/model": files}) as fake:
        repository = repository_of(http, fake)
        notes: list[str] = []

        def on_event(event: Event) -> None:
            assert isinstance(event, Note)
            notes.append(event.text)

        blobs = Blobs()
        made = build(blobs, repository, repository.choose(selector).variant, on_event)
        return Built(made, blobs, write_model(blobs, [made.build]).digest, notes), fake


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "m.gguf"
    write_random_model(path, tensor_type="Q8_0")
    return path.read_bytes()


def test_a_gguf_file_is_described_before_a_byte_of_weights(http: HttpClient, model: bytes) -> None:
    path = "tiny-Q8_0.gguf"
    made, fake = built(http, {path: model + bytes(3 << 20), "README.md": CARD, "LICENSE": b"free"})
    facts = facts_from_gguf([read_header(io.BytesIO(model))])
    assert made.hub.build.facts == facts
    assert (made.hub.build.id, made.hub.build.licenses) == ("gguf-q8_0", ("apache-2.0",))
    assert [(blob.digest, blob.size, blob.location) for blob in made.hub.wanted] == [
        (Digest.of(model + bytes(3 << 20)), len(model) + (3 << 20), path)
    ]
    assert [(file.path, file.role) for file in made.hub.build.files] == [
        ("model.gguf", "weights"),
        ("LICENSE", "doc"),
        ("README.md", "doc"),
    ]
    assert made.blobs.held[Digest.of(b"free")] == b"free"
    assert made.hub.fetched_bytes == 1 << 20
    assert [request.headers["range"] for request in fake.cdn.requests] == ["bytes=0-1048575"]


def test_a_long_header_comes_in_few_ranges_that_grow(http: HttpClient) -> None:
    builder = Builder()
    builder.raw("general.architecture", STRING, _string("llama"))
    builder.raw("long.array", 9, _u32s(1_500_000))
    builder.raw("long.text", STRING, _string("x" * 300_000))
    builder.tensors.append(Tensor("token_embd.weight", (32, 2)))
    data = builder.build()
    made, fake = built(http, {"m-F32.gguf": data})
    assert made.hub.build.facts == facts_from_gguf([read_header(io.BytesIO(data))])
    assert len(fake.cdn.requests) <= 4
    assert made.hub.fetched_bytes <= len(data)


def _string(text: str) -> bytes:
    return len(text).to_bytes(8, "little") + text.encode()


def _u32s(count: int) -> bytes:
    return U32.to_bytes(4, "little") + count.to_bytes(8, "little") + bytes(4 * count)


def test_shards_a_projector_and_an_adapter_have_their_roles(
    http: HttpClient, tiny_shards: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    files = {shard.name.replace("tiny", "m-F32"): shard.read_bytes() for shard in tiny_shards}
    files["mmproj-F16.gguf"] = write_projector(tmp_path / "p.gguf").read_bytes()
    files["style-lora.gguf"] = write_adapter(tmp_path / "a.gguf", tiny_model, strength=0.0).read_bytes()
    made, _ = built(http, files, "style-lora")
    assert [(file.path, file.role) for file in made.hub.build.files] == [
        ("model-00001-of-00003.gguf", "weights"),
        ("model-00002-of-00003.gguf", "weights"),
        ("model-00003-of-00003.gguf", "weights"),
        ("projector.gguf", "projector"),
        ("adapter.gguf", "adapter"),
    ]
    assert {blob.digest: blob.size for blob in made.hub.wanted} == {
        Digest.of(data): len(data) for data in files.values()
    }


def test_a_header_decides_what_a_file_is(http: HttpClient, tiny_model: Path, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "a.gguf", tiny_model, strength=0.0).read_bytes()
    with pytest.raises(DoesNotFit, match="is of the kind adapter, by its name weights"):
        built(http, {"m-Q8_0.gguf": adapter})


def test_the_publishers_label_is_the_id_and_a_false_one_is_said(http: HttpClient, model: bytes) -> None:
    made, _ = built(http, {"m-UD-Q4_K_XL.gguf": model})
    assert (made.hub.build.id, made.hub.build.facts.quantization, made.notes) == (
        "gguf-ud-q4_k_xl",
        "Q8_0",
        [],
    )
    made, _ = built(http, {"m-Q4_K_M.gguf": model})
    assert made.hub.build.id == "gguf-q4_k_m"
    assert made.notes == ["m-Q4_K_M is called Q4_K_M, and its header says Q8_0."]
    made, _ = built(http, {"m.gguf": model})
    assert made.hub.build.id == "gguf-q8_0"


def test_what_the_author_says_about_asking(http: HttpClient, model: bytes) -> None:
    params = {
        "temperature": 0.1,
        "stop": ["<end>"],
        "num_ctx": 4096.0,
        "mirostat": 2,
        "unknown": 1,
        "top_p": "x",
    }
    files = {
        "m-Q8_0.gguf": model,
        "generation_config.json": json.dumps(SAMPLING).encode(),
        "params": json.dumps(params).encode(),
        "system": b"You are kind.",
        "template": b"{{ .Prompt }}",
    }
    spec = built(http, files)[0].hub.build.spec
    assert dict(spec.parameters) == {
        "num_ctx": 4096,
        "repeat_penalty": 1.1,
        "stop": ("<end>",),
        "temperature": 0.1,
        "top_k": 20,
        "top_p": 0.95,
    }
    assert (spec.system, spec.template) == ("You are kind.", "{{ .Prompt }}")


def test_greedy_decoding_is_no_parameter(http: HttpClient, model: bytes) -> None:
    greedy = json.dumps({**SAMPLING, "do_sample": False}).encode()
    assert (
        built(http, {"m-Q8_0.gguf": model, "generation_config.json": greedy})[0].hub.build.spec.parameters
        == {}
    )


FOLDER = {
    "config.json": json.dumps(PLAIN).encode(),
    "generation_config.json": json.dumps(SAMPLING).encode(),
    "tokenizer.json": b'{"model": {}}' + b" " * 400_000,
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "modeling_evil.py": b"import os",
    "pytorch_model.bin": b"\x80\x04",
    "LICENSE": b"text",
}


def test_a_safetensors_folder(http: HttpClient) -> None:
    weights = save(tensors())
    made, fake = built(http, {**FOLDER, "model.safetensors": weights})
    facts = made.hub.build.facts
    assert (made.hub.build.id, facts.architecture, facts.quantization) == ("safetensors-f16", "llama", "F16")
    assert (facts.layers, facts.heads, facts.kv_heads, facts.head_size_k) == (2, 4, 2, 16)
    assert (facts.trained_context, facts.vocabulary, facts.tied_embeddings) == (2048, 320, False)
    assert facts.parameters == sum(tensor.size for tensor in tensors().values())
    assert facts.tensor_bytes == sum(tensor.nbytes for tensor in tensors().values())
    assert {row.tensor_class: row.count for row in facts.tensors} == {
        "attn_k": 2,
        "attn_q": 2,
        "ffn_down": 2,
        "norm": 3,
        "output": 1,
        "token_embd": 1,
    }
    assert facts.from_json(facts.to_json()) == facts
    assert [(file.path, file.role) for file in made.hub.build.files] == [
        ("model.safetensors", "weights"),
        ("chat_template.jinja", "config"),
        ("config.json", "config"),
        ("generation_config.json", "config"),
        ("tokenizer.json", "config"),
        ("tokenizer_config.json", "config"),
        ("LICENSE", "doc"),
    ]
    assert [blob.location for blob in made.hub.wanted] == ["model.safetensors", "tokenizer.json"]
    assert made.hub.build.spec.parameters["temperature"] == 0.6
    assert made.notes == [
        "The file 'config.json' asks for code of the repository's own, which is never downloaded."
    ]
    asked = {request.path.rpartition("/")[2] for request in [*fake.requests, *fake.cdn.requests]}
    assert not asked & {"modeling_evil.py", "pytorch_model.bin"}


def sharded() -> dict[str, bytes]:
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    all_tensors = tensors()
    halves = [dict(list(all_tensors.items())[:4]), dict(list(all_tensors.items())[4:])]
    index = {"metadata": {}, "weight_map": {key: names[at] for at, half in enumerate(halves) for key in half}}
    return {
        "config.json": FOLDER["config.json"],
        "model.safetensors.index.json": json.dumps(index).encode(),
        names[0]: save(halves[0]),
        names[1]: save(halves[1]),
    }


def test_a_sharded_folder_is_one_model(http: HttpClient) -> None:
    made, _ = built(http, sharded())
    assert made.hub.build.facts.parameters == sum(tensor.size for tensor in tensors().values())
    assert "model.safetensors.index.json" in {file.path for file in made.hub.build.files}


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "C:\\x.safetensors", "x\0", "model-00003-of-00002.safetensors", 7],
)
def test_an_index_names_the_models_files_only(http: HttpClient, name: object) -> None:
    files = sharded()
    index = json.loads(files["model.safetensors.index.json"])
    index["weight_map"]["model.norm.weight"] = name
    files["model.safetensors.index.json"] = json.dumps(index).encode()
    with pytest.raises(MalformedFile, match="none of the model's"):
        built(http, files)


def test_an_mlx_folder(http: HttpClient) -> None:
    config = {
        **PLAIN,
        "quantization": {"group_size": 64, "bits": 4, "lm_head": {"group_size": 32, "bits": 8}},
    }
    packed: dict[str, np.ndarray] = {
        "model.embed_tokens.weight": np.zeros((320, 8), dtype=np.uint32),
        "model.embed_tokens.scales": np.zeros((320, 1), dtype=np.float16),
        "model.embed_tokens.biases": np.zeros((320, 1), dtype=np.float16),
        "lm_head.weight": np.zeros((320, 16), dtype=np.uint32),
        "lm_head.scales": np.zeros((320, 2), dtype=np.float16),
        "lm_head.biases": np.zeros((320, 2), dtype=np.float16),
        "model.norm.weight": np.zeros((64,), dtype=np.float16),
    }
    files = {**FOLDER, "config.json": json.dumps(config).encode(), "model.safetensors": save(packed)}
    made, _ = built(http, files)
    facts = made.hub.build.facts
    assert (made.hub.build.id, facts.format, facts.quantization) == ("mlx-q4-g64", "mlx", "q4-g64")
    assert facts.parameters == 2 * 320 * 64 + 64
    assert {(row.tensor_class, row.type): (row.elements, row.bytes) for row in facts.tensors} == {
        ("token_embd", "q4-g64"): (320 * 64, 320 * (32 + 4)),
        ("output", "q8-g32"): (320 * 64, 320 * (64 + 8)),
        ("norm", "F16"): (64, 128),
    }


def test_an_onnx_folder(http: HttpClient) -> None:
    decoder = {
        "head_size": 96,
        "hidden_size": 3072,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 32,
        "session_options": {"provider_options": []},
    }
    config = {"model": {"type": "phi3", "context_length": 4096, "vocab_size": 32064, "decoder": decoder}}
    folder = "cpu_and_mobile/cpu-int4-rtn-block-32"
    files = {
        f"{folder}/genai_config.json": json.dumps(config).encode(),
        f"{folder}/model.onnx": b"\x08\x07\x12\x04onnx" + bytes(64),
        f"{folder}/model.onnx.data": bytes(4096),
        f"{folder}/tokenizer_config.json": b"{}",
        f"{folder}/modeling.py": b"import os",
        "LICENSE": b"MIT",
    }
    made, _ = built(http, files)
    facts = made.hub.build.facts
    assert (made.hub.build.id, facts.architecture, facts.quantization) == (
        "onnx-int4-cpu",
        "phi3",
        "int4-cpu",
    )
    assert (facts.layers, facts.head_size_k, facts.trained_context, facts.vocabulary) == (32, 96, 4096, 32064)
    assert [(file.path, file.role) for file in made.hub.build.files] == [
        ("model.onnx", "weights"),
        ("model.onnx.data", "weights"),
        ("genai_config.json", "config"),
        ("tokenizer_config.json", "config"),
        ("LICENSE", "doc"),
    ]


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("model.safetensors", b"\x80\x04" + bytes(100)),
        ("model.safetensors", b"PK\x03\x04" + bytes(100)),
        ("m-Q8_0.gguf", b"\x80\x04" + bytes(100)),
        ("m-Q8_0.gguf", pointer(b"x")),
        ("m-Q8_0.gguf", b"<!doctype html><html></html>"),
        ("model.onnx", b"PK\x03\x04" + bytes(100)),
        ("model.onnx", b"\x80\x02" + bytes(100)),
    ],
)
def test_what_looks_otherwise_inside_is_refused_before_it_is_downloaded(
    http: HttpClient, path: str, data: bytes
) -> None:
    files = {path: data, "config.json": FOLDER["config.json"]}
    if path == "model.onnx":
        files["genai_config.json"] = b'{"model": {"type": "phi3"}}'
    with pytest.raises(MalformedFile, match=path):
        built(http, files)


def test_the_same_files_give_the_same_digest(http: HttpClient, model: bytes) -> None:
    files = {**FOLDER, "model.safetensors": save(tensors()), "tiny-Q8_0.gguf": model}
    for selector in ("Q8_0", "safetensors"):
        one, _ = built(http, files, selector)
        with serve_hub({"org/model": dict(reversed(files.items()))}) as fake:
            fake.commit, fake.blobs, fake.page_size = "f" * 40, False, 3
            repository = repository_of(http, fake)
            assert repository.listing.commit != COMMIT
            blobs = Blobs()
            made = build(blobs, repository, repository.choose(selector).variant)
            assert write_model(blobs, [made.build]).digest == one.manifest
            assert blobs.held == one.blobs.held


def test_a_small_file_that_lies_stops_the_build(http: HttpClient, model: bytes) -> None:
    with serve_hub({"org/model": {"m-Q8_0.gguf": model, "LICENSE": b"free"}}) as fake:
        fake.served["LICENSE"] = b"paid"
        repository = repository_of(http, fake)
        with pytest.raises(DigestMismatch, match="LICENSE"):
            build(Blobs(), repository, repository.choose().variant)


def test_a_gguf_file_that_git_itself_holds_is_read_whole(http: HttpClient, model: bytes) -> None:
    with serve_hub({"org/model": {"m-Q8_0.gguf": model}}) as fake:
        fake.large = ()
        repository = repository_of(http, fake)
        blobs = Blobs()
        made = build(blobs, repository, repository.choose().variant)
        assert made.wanted == ()
        assert blobs.held[Digest.of(model)] == model


def test_variants_are_described_without_weights(http: HttpClient, model: bytes) -> None:
    big = model + bytes(8 << 20)
    with serve_hub({"org/model": {"m-Q8_0.gguf": big, "m-F16.gguf": big}}) as fake:
        repository = repository_of(http, fake)
        sizes = {variant.id: variant.size for variant in repository.variants()}
        assert sizes == {"gguf-q8_0": len(big), "gguf-f16": len(big)}
        looked = [facts_of(repository, variant) for variant in repository.variants()]
        assert [(each.requests, each.fetched_bytes) for each in looked] == [(1, 1 << 20)] * 2


def test_a_repository_of_endless_small_files_is_refused_before_they_are_read(http: HttpClient) -> None:
    files = {"config.json": json.dumps(PLAIN).encode(), "model.safetensors": save(tensors())}
    listed = [
        {"rfilename": f"x{number}.json", "size": 60 << 20, "blobId": f"{number:040x}"} for number in range(5)
    ]
    with serve_hub({"org/model": files}) as fake:
        fake.listed = listed
        repository = repository_of(http, fake)
        with pytest.raises(DoesNotFit, match="small ones"):
            build(Blobs(), repository, repository.choose().variant)
        assert not [path for path in fake.paths() if "/x" in path]
