"""Requests of any kind to a worker: http.client over a unix socket."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from runtimes.protocol import HttpRequest


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def send_request(self, request: HttpRequest) -> http.client.HTTPResponse:
        self.request(request.method, request.path, body=request.body or None, headers=dict(request.headers))
        return self.getresponse()
