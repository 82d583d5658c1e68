"""Sending blobs to a repository: whether it has them, mounting them from elsewhere, and uploads.

OCI distribution specification 1.1, "Pushing blobs" and "Mounting a blob from another repository".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from urllib.parse import quote

from registry.digest import Digest
from registry.errors import Unauthorized
from registry.remotes.base import Blob, OpenAt
from registry.remotes.connection import Connection
from registry.remotes.http import Answer
from registry.remotes.sessions import Session, session_of
from registry.remotes.upload import Upload


class Uploads:
    """Uploads to one repository; several blobs may be sent at once, each by one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._begun: dict[Digest, Session] = {}

    def has(self, blob: Blob) -> bool:
        """Whether the repository has the blob."""

        def use(answer: Answer) -> bool:
            if answer.status == 200 and answer.length not in {None, blob.size}:
                return False  # something else is there under its name; the upload will tell
            return answer.status == 200

        url = self._connection.repository.blob(blob.digest)
        what = f"whether it has the blob {blob.digest.short}"
        return self._connection.ask("HEAD", url, what, use, expected=(200, 404))

    def mount(self, blob: Blob, path: str) -> bool:
        """Take the blob from the repository `path` of the same registry. Where that fails, the session that
        the registry begins instead is kept for `upload`."""
        query = f"mount={quote(str(blob.digest), safe='')}&from={quote(path, safe='')}"

        def use(answer: Answer) -> bool:
            if answer.status == 202:
                with self._lock:
                    self._begun[blob.digest] = session_of(answer, self._connection)
            return answer.status == 201

        try:
            return self._connection.ask(
                "POST",
                f"{self._connection.repository.uploads()}?{query}",
                f"to take the blob {blob.digest.short} from {path}",
                use,
                expected=(201, 202, 400, 403, 404, 405),
                reading=path,
            )
        except Unauthorized:  # who may write here need not be one who may read there
            return False

    def upload(self, blob: Blob, open_at: OpenAt, progress: Callable[[int], None]) -> None:
        with self._lock:
            session = self._begun.pop(blob.digest, None)
        has, begin = partial(self.has, blob), partial(self.begin, blob)
        Upload(self._connection, has, begin, blob, open_at, progress).run(session)

    def begin(self, blob: Blob) -> Session:
        return self._connection.ask(
            "POST",
            self._connection.repository.uploads(),
            f"to take the blob {blob.digest.short}",
            lambda answer: session_of(answer, self._connection),
            expected=(202,),
        )
