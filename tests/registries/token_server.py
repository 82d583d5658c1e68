"""A small token server: it signs tokens that docker-registry believes.

Docker registry token authentication (docs.docker.com/reference/api/registry/auth and .../auth/jwt): a JWT signed
with RS256 or ES256, whose certificate comes along in the `x5c` header, and whose claims say what may be done.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.registries.programs import PASSWORD, USER

SERVICE = "registry of this test"
ISSUER = "token server of this test"


@dataclass
class TokenServer:
    """`asked` has the query of each request, with `authorization`; `lifetime` is what tokens really last, in
    seconds, and `extra` what answers say besides the token (`expires_in`)."""

    url: str = ""
    lifetime: float = 300.0
    extra: dict[str, object] = field(default_factory=dict)
    public: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)

    def settings(self, bundle: Path) -> Mapping[str, object]:
        """docker-registry's."""
        return {
            "token": {
                "realm": f"{self.url}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(bundle),
            }
        }


@contextmanager
def token_server(bundle: Path) -> Iterator[TokenServer]:
    """One that gives tokens to the user with the password; `bundle` is written: the certificate to believe."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(key)
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    state = TokenServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {name: " ".join(values) for name, values in parse_qs(urlsplit(self.path).query).items()}
            authorization = self.headers.get("Authorization", "")
            state.asked.append({**query, "authorization": authorization})
            expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            known = authorization == f"Basic {expected}"
            if authorization and not known:
                self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
                return
            access = []
            for scope in query.get("scope", "").split():
                kind, name, actions = scope.split(":", 2)
                may = actions.split(",") if known else ["pull"] if state.public else []
                granted = [action for action in actions.split(",") if action in may]
                access.append({"type": kind, "name": name, "actions": granted})
            token = _signed(key, certificate, access, state.lifetime)
            self._answer(200, {"token": token, **state.extra})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _signed(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, access: Sequence[object], lifetime: float
) -> str:
    now = int(time.time())
    der = certificate.public_bytes(serialization.Encoding.DER)
    header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
    claims = {
        "iss": ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "exp": int(now + lifetime),
        "nbf": now - 60,
        "iat": now,
        "jti": str(time.monotonic_ns()),
        "access": access,
    }
    signed = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
