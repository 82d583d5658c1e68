"""The facts of builds that are folders: safetensors, MLX and ONNX GenAI, from what lies in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from registry.digest import Digest
from registry.formats.facts import ModelFacts
from registry.formats.folder_facts import facts_from_folder
from registry.formats.onnx import GENAI_CONFIG, facts_from_genai
from registry.formats.safetensors import read_header
from registry.manifest import Descriptor, load_json_object
from registry.store.reader import StoreReader
from slmctl.app.derived_facts import noted_facts, remember_facts

CONFIG = "config.json"


def folder_facts(
    store: StoreReader,
    files: Mapping[str, Descriptor],
    weights: Sequence[str],
    claimed: str | None,
    quantization: str | None,
) -> ModelFacts | None:
    """The facts of the folder whose files are `files`, by path, `weights` among them; None where nothing says
    what it is. The format `claimed` and `quantization` are what the publisher says; both count only where no
    header does.

    Raises MalformedFile, NotFound and other BadContent.
    """
    if GENAI_CONFIG in files:
        return facts_from_genai(_document(store, files[GENAI_CONFIG], GENAI_CONFIG), quantization)
    if CONFIG not in files or not weights or not all(path.endswith(".safetensors") for path in weights):
        return None
    config = _document(store, files[CONFIG], CONFIG)
    with ExitStack() as stack:
        headers = [read_header(stack.enter_context(store.open_blob(files[path]))) for path in weights]
    return facts_from_folder(config, headers, mlx=claimed == "mlx")


def derived_folder_facts(
    store: StoreReader,
    manifest: Digest,
    files: Mapping[str, Descriptor],
    weights: Sequence[str],
    claimed: str | None,
    quantization: str | None,
) -> ModelFacts | None:
    """`folder_facts`, remembered from one time to the next as those of GGUF files are."""
    noted = noted_facts(store, manifest)
    if noted is not None:
        return noted
    facts = folder_facts(store, files, weights, claimed, quantization)
    if facts is not None:
        remember_facts(store, manifest, facts)
    return facts


def _document(store: StoreReader, descriptor: Descriptor, name: str) -> dict[str, object]:
    return load_json_object(store.read_blob(descriptor), f"The file {name}")
