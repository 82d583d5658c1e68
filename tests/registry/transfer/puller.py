"""A process that gets blobs from a registry into a store, as a pull does, and tells of it in lines of JSON.

python -m tests.registry.transfer.puller STORE NAME CONNECTIONS CHUNK_BYTES DIGEST:SIZE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from registry.digest import Digest
from registry.errors import SlmctlError
from registry.names import parse
from registry.remotes.base import Blob
from registry.remotes.credentials import Keyring
from registry.remotes.http import HttpClient, HttpSettings
from registry.remotes.registries import Registries
from registry.store.store import Store
from registry.transfer.download import Wanted, download
from registry.transfer.events import Moved, Resumed, TransferEvent, Waiting
from registry.transfer.pace import Pace


def main() -> int:
    root, name, connections, chunk_bytes, *blobs = sys.argv[1:]
    pace = Pace(connections=int(connections), chunk_bytes=int(chunk_bytes))
    try:
        with (
            HttpClient(HttpSettings()) as http,
            Store(Path(root)).session(f"pull {name}", resumable=True) as session,
        ):
            remote = Registries(http=http, keyring=Keyring((), search_path="", helper_environment={})).oci(
                parse(name)
            )
            wanted = [
                Wanted(blob=Blob(digest=Digest(digest), size=int(size)), sources=(remote,))
                for digest, _, size in (blob.partition(":") for blob in blobs)
            ]
            download(session, wanted, pace, tell)
    except KeyboardInterrupt:
        return 130
    except SlmctlError as error:
        sys.stderr.write(f"{error.code}: {error.message}\n")
        return 1
    sys.stdout.write(json.dumps({"peak_bytes": peak_bytes()}) + "\n")
    return 0


def peak_bytes() -> int:
    """The most memory that this program had. Not what getrusage says, which counts who started it too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) << 10


def tell(event: TransferEvent) -> None:
    said: dict[str, object] = {"event": type(event).__name__, "digest": event.blob.digest.hex}
    if isinstance(event, Moved | Resumed):
        said["count"] = event.count
    if isinstance(event, Waiting):
        said["done"] = event.done
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
