"""Ollama's registry, registry.ollama.ai, and others that speak as it does.

It speaks a part of the distribution specification: manifests of Docker's format and blobs, with or without
a redirect, and no list of tags. Manifests are kept byte for byte. What it answers, and what Ollama's client
sends (as of 0.33): `server/images.go`, `server/download.go`, `server/auth.go`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from registry.digest import Digest
from registry.errors import (
    InvalidReference,
    NotFound,
    OperationFailed,
    SlmctlError,
    Unauthorized,
    UsageError,
)
from registry.manifest import MAX_MANIFEST_BYTES, Descriptor, Index, Manifest
from registry.names import OLLAMA_HOST, OLLAMA_NAMESPACE, ModelRef
from registry.remotes.answers import words_of
from registry.remotes.base import Artifact, Blob
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.oci import OciRemote
from registry.remotes.ranges import RangedBody
from registry.remotes.repository import Repository
from registry.remotes.urls import parse

_PATH = re.compile(r"\w[\w-]{0,79}/\w[\w.-]{0,79}", re.ASCII)
"""A namespace and a model, as Ollama's `types/model/name.go` takes them."""


def ollama_repository(ref: ModelRef, *, address: str = f"https://{OLLAMA_HOST}") -> Repository:
    """The repository that a name of Ollama's means. Raises InvalidReference."""
    path = ref.path if "/" in ref.path else f"{OLLAMA_NAMESPACE}/{ref.path}"
    if not _PATH.fullmatch(path):
        source = str(ref)
        at = max(source.find(ref.path), 0)
        raise InvalidReference(
            f"{path!r:.80} is not a name in Ollama's registry.",
            source=source,
            span=(at, at + len(ref.path)),
            hint="Its names are of one or two parts, each of letters, digits, dashes and underscores.",
        )
    url = parse(f"{address}/")
    return Repository(scheme=url.scheme, host=url.place, path=path, shown=f"{url.place}/{path}")


class OllamaRemote:
    """One model of Ollama's registry. See `registry.remotes.base.Remote`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._oci = OciRemote(connection, explain=self._explain)

    @property
    def shown(self) -> str:
        return self._oci.shown

    def resolve(self, ref: ModelRef) -> Artifact:
        try:
            artifact = self._oci.resolve(ref)
        except Unauthorized as error:
            raise Unauthorized(
                f"Ollama's registry does not give {self.shown} to everybody. {error.message}",
                hint="A private model of Ollama's can be pulled by Ollama itself; then: slmctl adopt",
            ) from None
        tag = f":{ref.tag}" if ref.tag else ""
        pinned = f"ollama://{ref.path}{tag}@{artifact.root.digest}"
        return Artifact(pinned=pinned, root=artifact.root, document=artifact.document)

    def manifest(self, descriptor: Descriptor) -> Manifest | Index:
        return self._oci.manifest(descriptor)

    def read_blob(self, descriptor: Descriptor, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        return self._oci.read_blob(descriptor, limit)

    def open(self, blob: Blob, start: int, stop: int, validator: str | None = None) -> RangedBody:
        return self._oci.open(blob, start, stop, validator)

    def tags(self) -> Sequence[str]:
        name = self._connection.repository.path.removeprefix(f"{OLLAMA_NAMESPACE}/")
        place = f"library/{name}" if "/" not in name else name
        raise UsageError(
            "Ollama's registry has no list of tags.",
            hint=f"They are shown at https://ollama.com/{place}/tags.",
        )

    def _explain(self, answer: Answer, reference: str | Digest) -> SlmctlError | None:
        """The sentence for an answer that only this registry gives so."""
        what = f"{self.shown}@{reference}" if isinstance(reference, Digest) else f"{self.shown}:{reference}"
        if answer.status == 412:
            return OperationFailed(
                f"Ollama's registry gives {what} to newer clients only{words_of(answer)}.",
                hint="Take another tag of it, or get the model from Hugging Face: hf.co/ORG/REPO.",
            )
        if answer.status == 404:
            name = self._connection.repository.path.removeprefix(f"{OLLAMA_NAMESPACE}/")
            return NotFound(
                f"Ollama's registry has no {what}.",
                hint=f"Its models are listed at https://ollama.com/search?q={name.rpartition('/')[2]}.",
            )
        return None
