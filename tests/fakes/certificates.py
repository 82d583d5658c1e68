"""A private certificate authority, for servers on this machine."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import trustme

_DAY = dt.timedelta(days=1)


class Authority:
    """Signs for any name. `pem` is a file with its certificate."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ca = trustme.CA(organization_name=name)
        self.pem = folder / f"{name}.pem"
        self._ca.cert_pem.write_to_path(self.pem)

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """What a server with a certificate for these names uses."""
        leaf = self._issue(*names, expired=expired)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        return context

    def write(self, folder: Path, *names: str, expired: bool = False) -> tuple[Path, Path]:
        """A certificate (with its chain) and its key as files, for programs."""
        leaf = self._issue(*names, expired=expired)
        certificate, key = folder / "server.pem", folder / "server.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return certificate, key

    def _issue(self, *names: str, expired: bool) -> trustme.LeafCert:
        if not expired:
            return self._ca.issue_cert(*names)
        now = dt.datetime.now(dt.UTC)
        return self._ca.issue_cert(*names, not_before=now - 3 * _DAY, not_after=now - _DAY)
