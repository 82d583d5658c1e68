"""A registry on 127.0.0.1 for the rows that pull: two models, as long as the process lasts that asks for it."""

from __future__ import annotations

import re
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from registry import mediatypes
from registry.digest import Digest
from registry.manifest import Descriptor, modelpack_config, modelpack_layer, modelpack_manifest

_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@cache
def registry(*weights: bytes) -> str:
    """The place of a registry whose model `t/m` has a tag for each of `weights`: v0, v1 and so on."""
    found: dict[str, tuple[str, bytes]] = {}
    for number, data in enumerate(weights):
        digest = Digest.of(data)
        config = modelpack_config(
            architecture=None,
            format="gguf",
            quantization=None,
            parameters=None,
            licenses=[],
            diff_ids=[digest],
        )
        manifest = modelpack_manifest(
            config=Descriptor(
                media_type=mediatypes.MODELPACK_CONFIG, digest=Digest.of(config), size=len(config)
            ),
            layers=[
                modelpack_layer(
                    media_type=mediatypes.MODELPACK_WEIGHT, digest=digest, size=len(data), path="model.gguf"
                )
            ],
            annotations={mediatypes.SLMCTL_VARIANT: "gguf-f32"},
        )
        for blob in (data, config):
            found[f"/v2/t/m/blobs/{Digest.of(blob)}"] = ("application/octet-stream", blob)
        for reference in (f"v{number}", str(manifest.digest)):
            found[f"/v2/t/m/manifests/{reference}"] = (mediatypes.OCI_MANIFEST, manifest.raw)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            media_type, data = found.get(self.path, ("text/plain", b""))
            match = _RANGE.fullmatch(self.headers.get("Range", ""))
            self.send_response(404 if self.path not in found else 206 if match else 200)
            if match:
                start, stop = int(match[1]), int(match[2]) + 1
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
                data = data[start:stop]
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.server_port}"
