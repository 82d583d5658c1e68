"""A folder of safetensors that was looked at. Apart from who looks (`folder_files`), which imports numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelfiles.spec import ModelSpec
from registry.formats.facts import ModelFacts
from registry.formats.hf_dimensions import gguf_architecture
from runtimes.convert.files import SourceFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSet:
    """A model in a folder: `roles` says of each file of it, by its path there, what it is for, the weights
    first. `facts` are those of the folder as it is, `spec` and `licenses` what its author says."""

    path: Path
    files: SourceFiles
    roles: Mapping[str, str]
    facts: ModelFacts
    spec: ModelSpec
    licenses: tuple[str, ...]

    @property
    def shown(self) -> str:
        return self.files.shown

    @property
    def architecture(self) -> str:
        """GGUF's name of it, so that it can be held against other builds'."""
        return gguf_architecture(self.facts.architecture)
