"""TLS from files: a certificate that clients would refuse is refused at the start, with a sentence."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import NoReturn

from registry.errors import OperationFailed, SlmctlError, UsageError

_EXPIRED, _NOT_YET = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_CERT_NOT_YET_VALID of OpenSSL."""


def server_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """What TLS is spoken with: 1.2 and later. Raises UsageError and OperationFailed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    load(context, certificate, key)
    return context


def load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Read the files, also again: connections from now on get what they say. Raises as `server_context`."""
    for path, what in ((certificate, "certificate"), (key, "key")):
        if path is not None:
            _check_readable(path, what)
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # so that what does not fit changes nothing
    try:
        trial.load_cert_chain(certificate, key, password=_no_password)
    except _Encrypted:
        raise UsageError(
            f"The key in {key or certificate} is encrypted.", hint="Give it without a passphrase."
        ) from None
    except ssl.SSLError as error:
        raise _refusal(error, certificate, key) from None
    if (complaint := _out_of_date(trial, certificate)) is not None:
        raise OperationFailed(complaint, hint="Get a new one; clients would refuse this.")
    context.load_cert_chain(certificate, key, password=_no_password)


class _Encrypted(Exception):
    pass


def _no_password() -> NoReturn:
    raise _Encrypted


def _check_readable(path: Path, what: str) -> None:
    try:
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        raise UsageError(
            f"The {what} {path} cannot be read ({os.strerror(error.errno or 0)}).",
            hint="--tls-certificate and --tls-key name PEM files.",
        ) from None


def _refusal(error: ssl.SSLError, certificate: Path, key: Path | None) -> SlmctlError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return UsageError(
            f"The key in {key or certificate} does not belong to the certificate in {certificate}.",
            hint="The certificate of the server comes first in its file, before those that signed it.",
        )
    both = f"{certificate}" if key is None else f"{certificate} and {key}"
    return UsageError(
        f"There is no certificate with its key in {both}.",
        hint="They are PEM files: -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----.",
    )


def _out_of_date(server: ssl.SSLContext, certificate: Path) -> str | None:
    """What a client that trusts this very certificate says of its dates; None where it is content."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    )
    for _ in range(4):
        for end in (ends[1], ends[0]):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                if error.verify_code == _EXPIRED:
                    return f"The certificate in {certificate} has expired."
                if error.verify_code == _NOT_YET:
                    return f"The certificate in {certificate} is not valid yet."
                return None
            except ssl.SSLError:
                return None
    return None
