"""What the whole server shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.store.reader import StoreReader
from registry.store.store import Store
from slmctl.config import Settings
from slmctl.serve_settings import ServeSettings
from slmctl.server.draining import UnderWay
from slmctl.server.uploads import Uploads

if TYPE_CHECKING:
    from slmctl.server.keys import Keyring
    from slmctl.server.logs import ServerLog
    from slmctl.server.metrics import Metrics
    from slmctl.server.scheduler import Scheduler


@dataclass(slots=True, kw_only=True)
class ServerState:
    """Made once, before the first request. `reader` has the further stores behind the own one."""

    settings: Settings
    serve: ServeSettings
    store: Store
    reader: StoreReader
    scheduler: Scheduler
    keys: Keyring
    log: ServerLog
    metrics: Metrics
    local_token: str | None = None
    """The secret of this run, in a file of the server's own user: its commands may do everything
    (slmctl.app.announced)."""
    running: UnderWay = field(default_factory=UnderWay)
    """What can be ended early: one for each request under way."""
    uploads: Uploads = field(default_factory=Uploads)
    """What clients sent before they said which model it is part of."""
    draining: bool = False
    """Whether the server is about to end: not ready, and no new requests."""
