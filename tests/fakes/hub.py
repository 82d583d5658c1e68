"""A Hugging Face Hub on 127.0.0.1 that knows enough for huggingface_hub to download files from it.

What a real one says of a file: X-Repo-Commit, an ETag that is the git blob's sha1, and for large files (LFS) a
linked ETag that is the sha256, with a linked size.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"

Repositories = Mapping[str, Mapping[str, bytes]]
"""Files by their paths, by repositories ORG/NAME."""


@contextmanager
def hub(repositories: Repositories) -> Iterator[str]:
    """Serve the repositories; gives what HF_ENDPOINT takes. Files that end in .gguf and .safetensors are LFS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.partition("?")[0].removeprefix("/")
            if path.startswith("api/models/"):
                self._describe(path.removeprefix("api/models/").partition("/revision/")[0])
                return
            repository, _, name = path.partition(f"/resolve/{COMMIT}/")
            if not name:
                repository, _, name = path.partition("/resolve/main/")
            data = repositories.get(repository, {}).get(name)
            if data is None:
                self._send(404, {"X-Error-Code": "EntryNotFound"}, b"")
                return
            oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{oid}"', "Accept-Ranges": "bytes"}
            if name.endswith((".gguf", ".safetensors")):
                headers |= {
                    "X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"',
                    "X-Linked-Size": str(len(data)),
                }
            self._send(200, headers, data, with_body=with_body)

        def _describe(self, repository: str) -> None:
            siblings = [{"rfilename": name} for name in repositories.get(repository, {})]
            document = {"id": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            self._send(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

        def _send(
            self, code: int, headers: Mapping[str, str], body: bytes, *, with_body: bool = True
        ) -> None:
            self.send_response(code)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
