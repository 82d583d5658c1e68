"""Which variants a repository holds, by its files' names and its small files."""

from __future__ import annotations

import json

import pytest

from registry.errors import DoesNotFit
from slmctl.app.hub.variant import HubVariant
from slmctl.app.hub.variants import MAX_VARIANTS, files_to_read, variants_of, why_none
from tests.slmctl.app.hub.listings import listing

MLX = json.dumps({"model_type": "llama", "quantization": {"group_size": 64, "bits": 4}}).encode()
BF16 = json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}).encode()


def genai(*providers: str) -> bytes:
    options: dict[str, object] = {"provider_options": [{name: {}} for name in providers]}
    return json.dumps({"model": {"type": "phi3", "decoder": {"session_options": options}}}).encode()


def ids(variants: list[HubVariant]) -> list[str]:
    return [each.id for each in variants]


def paths(variant: HubVariant, role: str = "weights") -> list[str]:
    return [file.path for file in variant.of_role(role)]


@pytest.mark.parametrize(
    ("path", "identity"),
    [
        ("model-Q4_K_M.gguf", "gguf-q4_k_m"),
        ("Model.q4_k_m.gguf", "gguf-q4_k_m"),
        ("model.i1-IQ3_XXS.gguf", "gguf-iq3_xxs"),
        ("model-UD-Q4_K_XL.gguf", "gguf-ud-q4_k_xl"),
        ("model-fp16.gguf", "gguf-f16"),
        ("gemma-3-1b-it-qat-q4_0.gguf", "gguf-q4_0"),
        ("gpt-oss-20b-MXFP4.gguf", "gguf-mxfp4"),
        ("model-Q4_K_M-imat.gguf", "gguf-q4_k_m"),
        ("Q8_0/model.gguf", "gguf-q8_0"),
        ("UD-Q4_K_XL/model-00001-of-00001.gguf", "gguf-ud-q4_k_xl"),
        ("model.GGUF", "gguf-unknown"),
        ("Qwen3-8B.gguf", "gguf-unknown"),
    ],
)
def test_the_label_is_in_the_name(path: str, identity: str) -> None:
    assert ids(variants_of(listing(path))) == [identity]


def test_parts_belong_together_in_their_order() -> None:
    names = [f"Q8_0/m-Q8_0-0000{number}-of-00003.gguf" for number in (2, 3, 1)]
    (variant,) = variants_of(listing(*names, "m-Q4_K_M.gguf"))[:1]
    assert (variant.id, paths(variant)) == ("gguf-q8_0", sorted(names))
    assert [part.path for part in variant.parts] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert variant.problem is None


def test_a_missing_part_is_a_problem() -> None:
    (variant,) = variants_of(listing("m-00001-of-00003.gguf", "m-00003-of-00003.gguf"))
    assert variant.problem == "Part 2 of its 3 files is not in the repository."


def test_a_projector_completes_what_lies_beside_and_below() -> None:
    found = variants_of(
        listing(
            "m-Q4_K_M.gguf",
            "deep/m-Q8_0.gguf",
            "mmproj-F32.gguf",
            "mmproj-F16.gguf",
            "deep/x/mmproj-BF16.gguf",
        )
    )
    assert {each.id: paths(each, "projector") for each in found} == {
        "gguf-q4_k_m": ["mmproj-F16.gguf"],
        "gguf-q8_0": ["mmproj-F16.gguf"],
    }
    assert {part.path for part in found[0].parts} == {"model.gguf", "projector.gguf"}


def test_adapters_and_matrices_are_no_builds() -> None:
    (variant,) = variants_of(
        listing("m-Q4_K_M.gguf", "my-lora-f16.gguf", "m.imatrix.gguf", "ggml-vocab-x.gguf")
    )
    assert [file.path for file in variant.adapters] == ["my-lora-f16.gguf"]
    assert paths(variant) == ["m-Q4_K_M.gguf"]


def test_no_two_builds_have_one_id() -> None:
    found = variants_of(listing("a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "old/a-Q4_K_M.gguf", "c-Q8_0.gguf"))
    assert ids(found) == ["gguf-a-q4_k_m", "gguf-b-q4_k_m", "gguf-q8_0", "gguf-a-q4_k_m-2"]


def test_the_one_nearest_to_the_top_keeps_the_usual_id() -> None:
    found = variants_of(listing("a-Q4_K_M.gguf", "old/a-Q4_K_M.gguf"))
    assert ids(found) == ["gguf-q4_k_m", "gguf-a-q4_k_m"]


FOLDER = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "merges.txt",
    "vocab.json",
    "chat_template.jinja",
    "model.safetensors",
)
UNWANTED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "consolidated.safetensors",
    "training_args.bin",
    "trainer_state.json",
    "modeling_evil.py",
    ".gitattributes",
    "onnx/model.onnx",
    "optimizer.pt",
    "tf_model.h5",
    "run.sh",
)


def test_a_safetensors_folder() -> None:
    (variant,) = variants_of(
        listing(*FOLDER[1:], *UNWANTED, files={"config.json": BF16}), {"config.json": BF16}
    )
    assert (variant.id, paths(variant)) == ("safetensors-bf16", ["model.safetensors"])
    assert paths(variant, "config") == sorted(FOLDER[:-1])


def test_shards_and_their_index() -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = "model.safetensors.index.json"
    (variant,) = variants_of(listing("config.json", index, *shards))
    assert (variant.id, paths(variant), paths(variant, "config")) == (
        "safetensors-unknown",
        shards,
        ["config.json", index],
    )
    (broken,) = variants_of(listing("config.json", index, shards[1]))
    assert broken.problem == "Part 1 of its 2 files is not in the repository."


def test_an_mlx_folder_is_told_by_its_config() -> None:
    repository = listing("model.safetensors", "tokenizer.json", files={"config.json": MLX})
    assert ids(variants_of(repository)) == ["safetensors-unknown"]
    assert [file.path for file in files_to_read(repository)] == ["config.json"]
    (variant,) = variants_of(repository, {"config.json": MLX})
    assert (variant.id, variant.format, variant.label) == ("mlx-q4-g64", "mlx", "q4-g64")


def test_an_mlx_folder_without_quantization_is_told_by_its_card() -> None:
    card = b"---\nlibrary_name: mlx\nlicense: mit\n---\n# text"
    repository = listing("model.safetensors", files={"config.json": BF16, "README.md": card})
    assert ids(variants_of(repository, {"config.json": BF16, "README.md": card})) == ["mlx-bf16"]


@pytest.mark.parametrize(
    ("folder", "providers", "identity"),
    [
        ("cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4", (), "onnx-int4-cpu"),
        ("cuda/cuda-fp16", ("cuda",), "onnx-fp16-cuda"),
        ("gpu/gpu-int4-awq-block-128", ("cuda",), "onnx-int4-cuda"),
        ("directml/directml-int4-awq-block-128", ("dml",), "onnx-int4-dml"),
        ("int8", ("WebGPU",), "onnx-int8-webgpu"),
    ],
)
def test_an_onnx_folder(folder: str, providers: tuple[str, ...], identity: str) -> None:
    config = f"{folder}/genai_config.json"
    names = [f"{folder}/{name}" for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "x.py")]
    (variant,) = variants_of(listing(*names, files={config: genai(*providers)}), {config: genai(*providers)})
    assert (variant.id, paths(variant)) == (identity, names[:2])
    assert [part.path for part in variant.parts] == [
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
        "tokenizer.json",
    ]


def test_several_formats_in_one_repository() -> None:
    files = {"config.json": BF16, "mlx/config.json": MLX, "onnx/cpu-int4/genai_config.json": genai()}
    others = (
        "m-Q4_K_M.gguf",
        "model.safetensors",
        "mlx/model.safetensors",
        "onnx/cpu-int4/model.onnx",
        "LICENSE",
    )
    found = variants_of(listing(*others, "README.md", "mlx/LICENSE.txt", files=files), files)
    assert ids(found) == ["gguf-q4_k_m", "safetensors-bf16", "mlx-q4-g64", "onnx-int4-cpu"]
    assert [paths(each, "doc") for each in found] == [
        ["LICENSE", "README.md"],
        ["LICENSE", "README.md"],
        ["LICENSE", "mlx/LICENSE.txt", "README.md"],
        ["LICENSE", "README.md"],
    ]


def test_modules_of_an_embedding_model_stay_with_it() -> None:
    found = variants_of(
        listing(
            "config.json",
            "model.safetensors",
            "modules.json",
            "2_Dense/model.safetensors",
            "2_Dense/config.json",
        )
    )
    assert len(found) == 1
    assert [part.path for part in found[0].parts] == [
        "model.safetensors",
        "config.json",
        "modules.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    ]
    assert paths(found[0]) == ["model.safetensors"]


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (("config.json", "pytorch_model.bin"), "only pickled weights"),
        (("model.pt",), "only pickled weights"),
        (("lora.gguf",), "a LoRA adapter and no model"),
        (("adapter_config.json", "adapter_model.safetensors"), "a LoRA adapter and no model"),
        (("mmproj-f16.gguf",), "a projector and no model"),
        (("model_index.json", "unet/config.json", "unet/model.safetensors"), "a Diffusers pipeline"),
        (("onnx/model.onnx", "config.json"), "without a genai_config.json"),
        (("model.safetensors",), "weights without a config.json"),
        (("README.md",), "no model that slmctl knows"),
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(files: tuple[str, ...], sentence: str) -> None:
    repository = listing(*files)
    assert variants_of(repository) == []
    error = why_none("org/repo", repository)
    assert isinstance(error, DoesNotFit)
    assert sentence in error.message
    assert error.hint is not None


def test_configs_that_lie_do_not_stop_the_others() -> None:
    read = {
        "config.json": b"[" * 100_000,
        "a/config.json": b'{"quantization": {"bits": true, "group_size": 64}}',
    }
    repository = listing("model.safetensors", "a/model.safetensors", "m-Q8_0.gguf", files=read)
    assert ids(variants_of(repository, read)) == ["gguf-q8_0", "safetensors-unknown", "safetensors-a"]


def test_a_repository_of_very_many_files_has_an_end() -> None:
    found = variants_of(listing(*(f"d{number}/m-Q4_K_M.gguf" for number in range(2000))))
    assert len(found) == len({each.id for each in found}) == MAX_VARIANTS
