"""The safetensors, MLX and ONNX GenAI builds of a repository: folders with a configuration that says what
they are.

Sources: what Transformers saves (`save_pretrained`), what mlx-lm's `convert` saves (`quantization` in
config.json), and the genai_config.json of onnxruntime-genai's model builder. Python files beside them
(`auto_map`, `trust_remote_code`) are never among a build's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from registry.errors import MalformedFile
from registry.formats.hf_config import declared_quantization
from registry.formats.mlx import mlx_quantization
from registry.formats.onnx import GENAI_CONFIG, provider_of
from registry.manifest import load_json_object
from registry.remotes.base import HubFile
from slmctl.app.hub.variant import HubPart, HubVariant
from slmctl.app.package import variant_id

CONFIG = "config.json"
CARD = "README.md"
INDEX = "model.safetensors.index.json"

_PART = re.compile(r"(?P<stem>.+?)-?(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.safetensors", re.ASCII)
_OLD_MLX_PART = re.compile(r"weights\.[0-9]{2}\.safetensors", re.ASCII)
_NO_WEIGHTS = re.compile(r"(?:adapter_model|optimizer|scheduler|training_args|consolidated)", re.IGNORECASE)
_TOKENIZER = re.compile(r"(?:merges|vocab)\.txt|.+\.(?:model|tiktoken|jinja|json)", re.IGNORECASE)
_NO_CONFIG = re.compile(
    r"(?:pytorch_model|flax_model|tf_model|consolidated).*|(?:trainer_state|training_args|adapter_config"
    r"|(?:all|train|eval|test|predict)_results)\.json",
    re.IGNORECASE,
)
_MODULE = re.compile(r"[0-9]{1,2}_[A-Za-z]+", re.ASCII)  # Sentence Transformers: 1_Pooling, 2_Dense
_ONNX_WEIGHTS = re.compile(r".+\.(?:onnx|onnx[._]data(?:_[0-9]+)?|data)", re.IGNORECASE)
_ONNX_COMPILED = re.compile(r".+\.(?:bin|xml)", re.IGNORECASE)
_PRECISION = re.compile(r"(?:^|[-_/.])(u?int[248]|q[248]|bf16|fp16|fp32)(?=$|[-_/.])", re.IGNORECASE)
_WITHOUT_COMPILED_FILES = frozenset({"cpu", "cuda", "dml", "webgpu", "rocm"})
_MAX_FOLDERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    path: PurePosixPath
    files: Mapping[str, HubFile]

    @property
    def name(self) -> str:
        return "" if self.path == PurePosixPath() else str(self.path)

    def part(self, role: str, name: str) -> HubPart:
        return HubPart(path=name, role=role, file=self.files[name])


def telling_files(files: Sequence[HubFile]) -> list[HubFile]:
    """The small files that say what kind of build the folders are; none where there are only GGUF files."""
    told = []
    for folder in _folders(files):
        told += [folder.files[name] for name in (CONFIG, GENAI_CONFIG) if name in folder.files]
    return told


def folder_variants(files: Sequence[HubFile], read: Mapping[str, bytes], mlx: bool) -> list[HubVariant]:
    """The builds that are folders; `read` has the contents of `telling_files` by path, as far as they were
    read. `mlx` says that the card calls the repository MLX's. Ids may occur twice."""
    folders = _folders(files)
    found = []
    for folder in folders:
        if GENAI_CONFIG in folder.files:
            found.append(_onnx(folder, read))
        elif CONFIG in folder.files:
            found.append(_safetensors(folder, files, read, mlx))
    return found


def _folders(files: Sequence[HubFile]) -> list[_Folder]:
    """The folders that hold a build: with a configuration and weights beside it."""
    by_folder: dict[PurePosixPath, dict[str, HubFile]] = {}
    for file in files:
        path = PurePosixPath(file.path)
        by_folder.setdefault(path.parent, {})[path.name] = file
    pipeline = "model_index.json" in by_folder.get(PurePosixPath(), {})
    modules = {path for path, inside in by_folder.items() if "modules.json" in inside}
    found = []
    for path, inside in sorted(by_folder.items()):
        if path.parent in modules and _MODULE.fullmatch(path.name):
            continue
        genai = GENAI_CONFIG in inside and any(name.lower().endswith(".onnx") for name in inside)
        tensors = CONFIG in inside and not pipeline and bool(_weights(inside)[0])
        if genai or tensors:
            found.append(_Folder(path=path, files=inside))
    return found[:_MAX_FOLDERS]


def _weights(inside: Iterable[str]) -> tuple[list[str], str | None]:
    """The safetensors files that are the model, in order, and what is wrong with them."""
    names = sorted(
        name
        for name in inside
        if name.endswith(".safetensors") and not name.startswith(".") and not _NO_WEIGHTS.match(name)
    )
    for single in ("model.safetensors", "weights.safetensors"):
        if single in names:
            return [single], None
    sets: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if part := _PART.fullmatch(name):
            sets.setdefault((part["stem"], int(part["count"])), set()).add(int(part["number"]))
    if sets:
        stem, count = min(sets, key=lambda each: (each[0] != "model", each))
        numbers = sets[stem, count]
        missing = next((number for number in range(1, count + 1) if number not in numbers), None)
        problem = f"Part {missing} of its {count} files is not in the repository." if missing else None
        return [
            name
            for name in names
            if (part := _PART.fullmatch(name)) and (part["stem"], int(part["count"])) == (stem, count)
        ], problem
    if old := [name for name in names if _OLD_MLX_PART.fullmatch(name)]:
        return old, None
    if len(names) > 1:
        return names, "It holds several safetensors files, and none of them is called model.safetensors."
    return names, None


def _safetensors(
    folder: _Folder, files: Sequence[HubFile], read: Mapping[str, bytes], mlx: bool
) -> HubVariant:
    config = _config(folder, CONFIG, read)
    quantization = mlx_quantization(config)
    model_format = "mlx" if mlx or quantization is not None else "safetensors"
    label = quantization or declared_quantization(config)
    names, problem = _weights(folder.files)
    taken = {INDEX} if INDEX in folder.files else set()
    taken |= {name for name in folder.files if is_config(name)}
    parts = [folder.part("weights", name) for name in names]
    parts += [folder.part("config", name) for name in sorted(taken)]
    if "modules.json" in folder.files:
        parts += _modules(folder, files)
    return HubVariant(
        id=variant_id(model_format, label),
        format=model_format,
        label=label,
        name=folder.name,
        parts=tuple(parts),
        problem=problem,
    )


def is_config(name: str) -> bool:
    """Whether a file beside the weights is part of the model: its configuration, tokenizer, chat template."""
    if (
        name.startswith(".")
        or name.endswith((".index.json", ".bin.index.json"))
        or _NO_CONFIG.fullmatch(name)
    ):
        return False
    return _TOKENIZER.fullmatch(name) is not None


def is_module(path: PurePosixPath) -> bool:
    """Whether a file belongs to a module of an embedding model that Sentence Transformers saved."""
    named = _MODULE.fullmatch(str(path.parent)) is not None
    return named and path.name in {CONFIG, "model.safetensors"}


def _modules(folder: _Folder, files: Sequence[HubFile]) -> list[HubPart]:
    """The modules of an embedding model that Sentence Transformers saved: folders beside the weights."""
    parts = []
    for file in sorted(files, key=lambda each: each.path):
        path = PurePosixPath(file.path)
        inside = path.parent.parent == folder.path and _MODULE.fullmatch(path.parent.name)
        if inside and path.name in {CONFIG, "model.safetensors"}:
            parts.append(HubPart(path=f"{path.parent.name}/{path.name}", role="config", file=file))
    return parts


def _onnx(folder: _Folder, read: Mapping[str, bytes]) -> HubVariant:
    config = _config(folder, GENAI_CONFIG, read)
    provider = provider_of(config) or _provider_by_name(folder.name)
    names = sorted(name for name in folder.files if not name.startswith("."))
    weights = [name for name in names if _ONNX_WEIGHTS.fullmatch(name)]
    if provider not in _WITHOUT_COMPILED_FILES:
        weights += [name for name in names if _ONNX_COMPILED.fullmatch(name)]
    precision = next(
        (found[-1].lower() for text in (folder.name, *weights) if (found := _PRECISION.findall(text))), None
    )
    label = "-".join(text for text in (precision, provider) if text) or None
    parts = [folder.part("weights", name) for name in weights]
    parts += [folder.part("config", name) for name in names if name not in weights and is_config(name)]
    return HubVariant(
        id=variant_id("onnx", label), format="onnx", label=label, name=folder.name, parts=tuple(parts)
    )


def _provider_by_name(name: str) -> str | None:
    words = set(re.split(r"[-_/. ]", name.lower()))
    for provider, others in (("cuda", {"gpu"}), ("dml", {"directml"}), ("cpu", {"mobile"})):
        if provider in words or words & others:
            return provider
    return None


def _config(folder: _Folder, name: str, read: Mapping[str, bytes]) -> Mapping[str, object]:
    raw = read.get(str(folder.path / name))
    if raw is None:
        return {}
    try:
        return load_json_object(raw, f"The file {name}")
    except MalformedFile:
        return {}  # said when the build is made
