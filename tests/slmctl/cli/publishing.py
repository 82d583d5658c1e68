"""Somebody who publishes models in a real registry, without `slmctl push`."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.registries.programs import Registry, need
from tests.slmctl.cli.program import Program
from tools.random_model import write_random_model


class Author:
    """Somebody with a store of his own, who publishes by `slmctl export` and skopeo."""

    def __init__(self, folder: Path, runtime: Path, registry: Registry) -> None:
        self.slmctl = Program(folder / "author", runtime)
        self._folder = folder
        self._registry = registry
        self.files: list[Path] = []

    def create(self, name: str, seed: int, *types: str) -> None:
        """A model with random weights: one build, or one of each of several types."""
        lines = []
        for each in types or ("F32",):
            path = self._folder / f"{name}-{seed}-{each}.gguf"
            write_random_model(path, seed=seed, tensor_type=each)
            self.files.append(path)
            lines.append(f"FROM {path}")
        modelfile = self._folder / "Modelfile"
        modelfile.write_text("\n".join(lines))
        done = self.slmctl("create", name, "-f", str(modelfile), "--force")
        assert done.code == 0, done.err

    def publish(self, name: str, reference: str) -> str:
        """Push it; gives the digest it has."""
        need("skopeo")
        bundle = self._folder / "published.tar"
        assert self.slmctl("export", name, "-o", str(bundle), "--force").code == 0
        subprocess.run(
            ["skopeo", "copy", "-q", "--all", "--dest-tls-verify=false", f"oci-archive:{bundle}:{name}:latest",
             f"docker://{self._registry.host}/{reference}"],
            check=True, capture_output=True,
        )  # fmt: skip
        digest: str = self.slmctl("show", name, "--json").json["digest"]
        return digest
