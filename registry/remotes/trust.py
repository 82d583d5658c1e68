"""Whose certificates are believed: one ssl.SSLContext, for requests and for httpx alike.

First the operating system's store, then what the user added; nothing is taken away. (requests alone ignores
SSL_CERT_FILE, httpx alone REQUESTS_CA_BUNDLE; to OpenSSL SSL_CERT_FILE replaces the system's file.)
"""

from __future__ import annotations

import os
import re
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from registry.errors import UsageError
from registry.remotes.network import CaPlace

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+", re.ASCII)

_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)


def make_context(places: Sequence[CaPlace]) -> ssl.SSLContext:
    """The context for all that this process asks over TLS. TLS 1.2 or later, host names checked.

    Raises UsageError where a place has no certificate.
    """
    context = _of_the_system()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    seen: set[Path] = set()
    for place in places:
        where = place.path.resolve()
        if where not in seen:  # many set all four variables to one file
            seen.add(where)
            _add(context, place)
    return context


def once(places: Sequence[CaPlace]) -> Callable[[], ssl.SSLContext]:
    """A function that makes the context when it is first asked for, and gives the same one ever after."""
    lock = threading.Lock()
    made: list[ssl.SSLContext] = []

    def context() -> ssl.SSLContext:
        with lock:
            if not made:
                made.append(make_context(places))
            return made[0]

    return context


def describe(places: Sequence[CaPlace]) -> str:
    """What is trusted, in words: `the operating system's store and SSL_CERT_FILE=/x`."""
    added = [
        f"{place.named_by}{' ' if place.named_by.startswith('-') else '='}{place.path}" for place in places
    ]
    names = ["the operating system's store", *dict.fromkeys(added)]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _of_the_system() -> ssl.SSLContext:
    """Trusts what the operating system trusts.

    On macOS that is truststore, which asks the system itself. On Linux truststore reads the same files as
    this does, but again for each connection, with SSL_CERT_FILE in place of the system's file, and holding a
    lock while it waits for the other side: one server that is slow to greet would hold up all others.
    """
    if sys.platform == "darwin":
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    compiled = ssl.get_default_verify_paths()  # the fields named openssl_ know nothing of the environment
    files = [compiled.openssl_cafile, *_SYSTEM_FILES]
    if found := next((file for file in files if os.path.isfile(file)), None):  # noqa: PTH113 - many, and rarely
        context.load_verify_locations(cafile=found)
    if os.path.isdir(compiled.openssl_capath):  # noqa: PTH112
        context.load_verify_locations(capath=compiled.openssl_capath)
    return context


def _add(context: ssl.SSLContext, place: CaPlace) -> None:
    try:
        if place.path.is_dir():
            _add_folder(context, place)
        elif place.is_folder:
            raise NotADirectoryError
        else:
            context.load_verify_locations(cafile=place.path)
    except FileNotFoundError:
        raise _unusable(place, "does not exist") from None
    except NotADirectoryError:
        raise _unusable(place, "is not a folder" if place.path.exists() else "does not exist") from None
    except ssl.SSLError:
        raise _unusable(place, "has no certificate that can be read") from None
    except OSError as error:
        raise _unusable(place, f"cannot be read ({os.strerror(error.errno or 0)})") from None


def _add_folder(context: ssl.SSLContext, place: CaPlace) -> None:
    """OpenSSL looks up files that have names as c_rehash gives them; without any, all PEM files are read."""
    names = sorted(os.listdir(place.path))  # noqa: PTH208 - names, not paths
    if any(_HASHED.fullmatch(name) for name in names):
        context.load_verify_locations(capath=place.path)
        return
    read = [place.path / name for name in names if _is_pem(place.path / name)]
    if not read:
        raise _unusable(place, "has no certificate in it")
    for file in read:
        context.load_verify_locations(cafile=file)


def _is_pem(file: Path) -> bool:
    try:
        return file.is_file() and b"-----BEGIN CERTIFICATE-----" in file.read_bytes()
    except OSError:
        return False


def _unusable(place: CaPlace, why: str) -> UsageError:
    kind = "folder" if place.is_folder else "file"
    return UsageError(
        f"The {kind} of certificates {place.path} that {place.named_by} names {why}.",
        hint=f"Give {place.named_by} a PEM file of the CA's certificate, or leave it out.",
    )
