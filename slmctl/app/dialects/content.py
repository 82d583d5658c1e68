"""A variant as the writers of formats see it: its files, and apart from them what its author said."""

from __future__ import annotations

from dataclasses import dataclass

from modelfiles.spec import ModelSpec
from registry.formats.facts import ModelFacts
from slmctl.app.dialects.modelpack import SPEC_PATH
from slmctl.app.package import PackageFile, Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """`files` are those of the variant without what its spec was read from, by path; `facts` are None where
    nobody knows them."""

    id: str
    format: str
    quantization: str | None
    facts: ModelFacts | None
    spec: ModelSpec
    licenses: tuple[str, ...]
    files: tuple[PackageFile, ...]

    @classmethod
    def of(cls, variant: Variant) -> Content:
        return cls(
            id=variant.id,
            format=variant.format,
            quantization=variant.quantization,
            facts=variant.facts,
            spec=variant.spec,
            licenses=variant.licenses,
            files=tuple(
                sorted(
                    (file for file in variant.files if file.role != "spec" and file.path != SPEC_PATH),
                    key=lambda file: file.path,
                )
            ),
        )

    def of_role(self, *roles: str) -> tuple[PackageFile, ...]:
        """The files of some roles, by path."""
        return tuple(file for file in self.files if file.role in roles)

    @property
    def spec_file(self) -> tuple[str, bytes] | None:
        """The path and the bytes of a file that says what the author did; None where he said nothing."""
        return None if self.spec == ModelSpec() else (SPEC_PATH, self.spec.to_canonical_bytes())
