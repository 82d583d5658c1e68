"""Models of slmctl's own, small ones with all that an author can say."""

from __future__ import annotations

import io
import json
from typing import Any

from modelfiles.spec import Message, ModelSpec
from registry.formats.facts import ModelFacts
from registry.formats.gguf import read_header
from registry.formats.gguf_facts import facts_from_gguf
from registry.store.index import Entry
from registry.store.store import Replace, Store
from slmctl.app.dialects.outgoing import Outgoing
from slmctl.app.package import Package, PackageFile
from slmctl.app.packaging import Build, write_model
from tests.fakes.artifact import NOW
from tests.gguf_bytes import STRING, Builder, tiny

WEIGHTS = tiny().build()
PROJECTOR = Builder().put("general.architecture", STRING, "clip").build()
TENSORS = b'{"model.embed_tokens.weight":{"dtype":"BF16","shape":[4,2],"data_offsets":[0,16]}}'
SAFETENSORS = len(TENSORS).to_bytes(8, "little") + TENSORS + bytes(16)
CONFIG_JSON = json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}).encode()

SPEC = ModelSpec(
    parameters={"temperature": 0.5, "stop": ("<end>", "</s>"), "num_ctx": 2048, "use_mmap": True},
    system="Be brief.",
    template="{{ .Prompt }}",
    messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Hello")),
    licenses=("MIT License\n", "BSD"),
    requires="0.20.0",
    parser="qwen3",
)


def gguf_facts(data: bytes) -> ModelFacts:
    return facts_from_gguf([read_header(io.BytesIO(data))])


def build(store: Store, session: Any, files: dict[str, tuple[str, bytes]], spec: ModelSpec) -> Build:
    weights = next(data for role, data in files.values() if role == "weights")
    facts = (
        gguf_facts(weights)
        if weights.startswith(b"GGUF")
        else ModelFacts(format="safetensors", architecture="llama", quantization="BF16")
    )
    return Build(
        files=tuple(
            PackageFile(path=path, role=role, digest=session.put(data), size=len(data))
            for path, (role, data) in files.items()
        ),
        facts=facts,
        licenses=(),
        spec=spec,
    )


def make(
    store: Store, *models: dict[str, tuple[str, bytes]], spec: ModelSpec = SPEC, name: str = "m:latest"
) -> Entry:
    with store.session("test") as session:
        builds = [build(store, session, files, spec) for files in models]
        descriptor = write_model(session, builds)
        return store.link(name, descriptor, source="test", linked=NOW, replace_rule=Replace.ANYTHING)


GGUF = {"model.gguf": ("weights", WEIGHTS)}
WITH_MORE = {
    **GGUF,
    "projector.gguf": ("projector", PROJECTOR),
    "README.md": ("doc", b"# read me"),
}
FOLDER = {
    "model.safetensors": ("weights", SAFETENSORS),
    "config.json": ("config", CONFIG_JSON),
    "tokenizer/tokenizer.json": ("config", b"{}"),
    "README.md": ("doc", b"#"),
}


def half() -> bytes:
    made = Builder(pairs=tiny().pairs)
    return made.tensor("token_embd.weight", (8, 16), 1, data=bytes(2 * 8 * 16)).build()


def contents(store: Store, package: Package) -> dict[str, bytes]:
    (variant,) = package.variants
    return {
        file.path: store.read_blob(file.descriptor)
        for file in variant.files
        if file.role != "spec" and file.path != "slmctl/spec.json"
    }


def documents(outgoing: Outgoing) -> list[Any]:
    return [json.loads(each.raw) for each in outgoing.documents]
