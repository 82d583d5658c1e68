"""Somebody else who fills a registry, without a line of ours between: requests, as the specification says it."""

from __future__ import annotations

from hashlib import sha256

import requests


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def put_blob(url: str, repository: str, data: bytes) -> str:
    begun = requests.post(f"{url}/v2/{repository}/blobs/uploads/", timeout=30)
    assert begun.status_code == 202, begun.text
    location = requests.compat.urljoin(begun.url, begun.headers["Location"])
    separator = "&" if "?" in location else "?"
    digest = digest_of(data)
    done = requests.put(f"{location}{separator}digest={digest}", data=data, timeout=30)
    assert done.status_code == 201, done.text
    return digest


def put_manifest(url: str, repository: str, raw: bytes, media_type: str, reference: str | None = None) -> str:
    digest = digest_of(raw)
    address = f"{url}/v2/{repository}/manifests/{reference or digest}"
    done = requests.put(address, data=raw, headers={"Content-Type": media_type}, timeout=30)
    assert done.status_code == 201, done.text
    return digest


def has_manifest(url: str, repository: str, reference: str) -> bool:
    address = f"{url}/v2/{repository}/manifests/{reference}"
    return requests.head(address, headers={"Accept": "*/*"}, timeout=30).status_code == 200
