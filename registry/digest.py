"""Content digests: the names of blobs.

Grammar (OCI image specification, "Digests"): `algorithm ":" encoded`. Only sha256 is accepted, with 64
lower-case hexadecimal digits and nothing else, so that a digest can safely become a file name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.errors import BadContent

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A sha256 digest; `hex` is 64 lower-case hexadecimal digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise BadContent(f"{self.hex!r:.80} is not a sha256 digest: it takes 64 lower-case hex digits.")

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Read `sha256:<64 hex digits>`; anything else, of any type, raises BadContent."""
        if not isinstance(text, str) or not text.startswith("sha256:"):
            raise BadContent(f"{text!r:.80} is not a digest of the form sha256:<64 hex digits>.")
        return cls(text.removeprefix("sha256:"))

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The digest of `data`."""
        import hashlib  # it loads OpenSSL, which is slow, and a listing from notes computes no digest

        return cls(hashlib.sha256(data).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, as listings show them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"
