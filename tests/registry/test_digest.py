import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.digest import Digest
from registry.errors import BadContent

HEX = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        HEX,
        f"sha256-{HEX}",
        f"md5:{HEX}",
        f"SHA256:{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        "sha256:" + "%2e%2e" * 11,
        "../../../../etc/passwd",
        "sha256:../" + "a" * 61,
        "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
        "sha512:" + "a" * 128,
        None,
        7,
        [f"sha256:{HEX}"],
    ],
)
def test_anything_but_sha256_and_64_hex_digits_is_refused(text: object) -> None:
    with pytest.raises(BadContent):
        Digest.parse(text)


@given(st.binary(max_size=200))
def test_the_digest_of_bytes_is_their_sha256_and_reads_back(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert Digest.parse(str(digest)) == digest
    assert digest.hex.startswith(digest.short)
