"""Telling systemd how the server is doing (sd_notify(3)): one datagram to the socket that it named."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping


def notify(environment: Mapping[str, str], state: str) -> None:
    """Say `state`, such as READY=1; nothing where nobody listens."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)
