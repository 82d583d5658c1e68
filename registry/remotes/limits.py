"""What well-known registries take at most, so that a push which cannot end is not begun.

What is not known is None. The OCI distribution specification 1.1 asks registries to take manifests of 4 MiB;
many take more. Sources, as of 2026:
- GitHub: docs.github.com, "Working with the Container registry" (10 GB per layer, ten minutes per upload);
  its chunks may have 4 MiB (its own answer to larger ones: github.com/wasmCloud/wash-archive/issues/268)
- Amazon ECR: docs.aws.amazon.com/AmazonECR, "Amazon ECR service quotas" (52,000 MiB), and "Amazon ECR Public
  service quotas" (10,000 MiB)
- Azure: learn.microsoft.com/azure/container-registry, "Container Registry SKUs" (200 GiB; manifests 4 MiB)
"""

from __future__ import annotations

from registry.remotes.base import Limits

_MIB = 1 << 20

_ECR = Limits(layer_bytes=52_000 * _MIB)
_LIMITS = {
    "ghcr.io": Limits(layer_bytes=10_000_000_000),
    "public.ecr.aws": Limits(layer_bytes=10_000 * _MIB),
}
_CHUNKS = {"ghcr.io": 4 * _MIB}
CHUNK_BYTES = 32 * _MIB
"""How much one PATCH sends: what is lost at most when it fails."""


def limits_of(host: str) -> Limits:
    """What the registry at `host` takes at most."""
    host = host.lower()
    if host.endswith(".azurecr.io"):
        return Limits(layer_bytes=200 << 30, manifest_bytes=4 * _MIB)
    if ".dkr.ecr." in host and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return _ECR
    return _LIMITS.get(host, Limits())


def chunk_bytes_of(host: str) -> int:
    """How much to send at once to the registry at `host`."""
    return _CHUNKS.get(host.lower(), CHUNK_BYTES)
