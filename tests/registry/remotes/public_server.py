"""Run in a network of its own, where this machine has a public address: what a public server may make us do.

Nothing here is pretended: the resolver is the system's (its /etc/hosts knows inner.example), the classifier is
the real one. Prints one line per address: whether it was followed, and whether anybody there heard of it.
"""

from __future__ import annotations

import json
import sys

from registry.errors import Unreachable
from registry.remotes.http import HttpClient, HttpSettings
from tests.fakes.wire import Request, Wire, reply, serve


def main(public: str) -> None:
    def redirect(request: Request, wire: Wire) -> None:
        wire.send(reply(302, b"", {"Location": targets[int(request.path[1:])]}))

    def here(_request: Request, wire: Wire) -> None:
        wire.send(reply(200, b"here"))

    with serve(redirect, host=public) as outside, serve(here) as inside, serve(here, host=public) as other:
        hosts = [
            "127.0.0.1",
            "127.1.2.3",
            "localhost",
            "inner.example",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "0x7f.1",
        ]
        targets = [f"http://{host}:{inside.port}/" for host in hosts] + [other.url]
        permitted = frozenset({outside.place, other.place, *(target.split("/")[2] for target in targets)})
        with HttpClient(HttpSettings(plain_http=permitted)) as client:
            for number, target in enumerate(targets):
                before = inside.connections
                try:
                    client.send("GET", f"{outside.url}/{number}").close()
                    followed = True
                except Unreachable:
                    followed = False
                host = target.split("/")[2].rpartition(":")[0]
                sys.stdout.write(json.dumps([host, followed, inside.connections > before]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
