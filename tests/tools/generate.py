"""Child program of the tests: load a GGUF with xllamacpp, generate text, print the reply as a JSON line.

    python -P generate.py MODEL SOCKET PROMPT COUNT [TEMPERATURE]

Own process because the library may abort on a bad file. SOCKET must not exist, be short and end in `.sock`.
"""

import http.client
import json
import os
import socket
import sys

import xllamacpp


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.host)


def main() -> None:
    model, address, prompt, count, *rest = sys.argv[1:]
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames = [address]
    parameters.n_parallel = 1
    parameters.n_ctx = 512
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.fit_params = False
    server = xllamacpp.Server(parameters)

    connection = _UnixConnection(address, timeout=60)
    body = {"prompt": prompt, "n_predict": int(count), "temperature": float(rest[0]) if rest else 0.0}
    body |= {"stream": False, "seed": 1, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "n_probs": 0}
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    reply = json.loads(connection.getresponse().read())
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
    del server
    os._exit(0)


if __name__ == "__main__":
    main()
