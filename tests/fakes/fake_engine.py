"""A fake engine: a real program that speaks the worker contract and misbehaves on demand.

Self-contained like the real workers. It takes the launch document on standard input and answers /health,
/completion, /v1/chat/completions, /tokenize and /apply-template on the document's socket for the document's
key. An answer is `--tokens` times " word", or fewer when the request says so.

    --load-seconds S     /health says 503 for so long
    --never-ready        ... for ever
    --stderr TEXT        write it first
    --die-at-load N      exit with N, or by the signal -N
    --die-after N        exit with 7 after N tokens
    --cut-after N        cut the connection after N tokens, live on
    --hold-after N       say no more after N tokens
    --fail-after N       send an error inside the stream after N tokens
    --ignore-sigterm     only SIGKILL ends it
    --ignore-stdin       the end of standard input means nothing
    --unread-stdin       never read the document
    --child              leave a process behind that holds our output
    --spin               write log lines without end
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

_FOREVER = threading.Event()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--stderr", default="")
    parser.add_argument("--tokens", type=int, default=3)
    for name in ("die-at-load", "die-after", "cut-after", "hold-after", "fail-after"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("never-ready", "ignore-sigterm", "ignore-stdin", "unread-stdin", "child", "spin"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    options: argparse.Namespace
    document: dict[str, Any]
    ready_at: float

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass

    def do_GET(self) -> None:
        if self.path != "/health":
            self._say(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})
        elif self.server.options.never_ready or time.monotonic() < self.server.ready_at:
            self._say(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
        else:
            self._say(200, {"status": "ok"})

    def do_POST(self) -> None:
        fields = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.headers.get("Authorization") != f"Bearer {self.server.document['key']}":
            error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
            self._say(401, {"error": error})
        elif self.path == "/tokenize":
            self._say(200, {"tokens": list(range(len(fields["content"].split())))})
        elif self.path == "/apply-template":
            self._say(200, {"prompt": "".join(f"<{m['role']}>{m['content']}" for m in fields["messages"])})
        elif self.path in ("/completion", "/v1/chat/completions"):
            self._stream(fields)
        else:
            self._say(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

    def _say(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, fields: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chat = self.path != "/completion"
        asked = fields.get("max_tokens" if chat else "n_predict", -1)
        tokens = self.server.options.tokens
        count = min(asked, tokens) if asked >= 0 else tokens
        for number in range(count):
            if not self._misbehave(number):
                return
            self._event({"choices": [{"delta": {"content": " word"}}]} if chat else {"content": " word"})
        if not self._misbehave(count):
            return
        reason = "length" if count == asked else "stop"
        timings = {"cache_n": 1, "prompt_n": 1, "prompt_ms": 2.0, "predicted_n": count, "predicted_ms": 4.0}
        if chat:
            self._event({"choices": [{"delta": {}, "finish_reason": reason}]})
            usage = {"prompt_tokens": 2, "completion_tokens": count}
            self._event({"choices": [], "usage": usage, "timings": timings})
            self._line("data: [DONE]")
        else:
            kind = "limit" if reason == "length" else "eos"
            last = {"content": "", "stop": True, "stop_type": kind, "timings": timings}
            self._event({**last, "tokens_evaluated": 2, "tokens_predicted": count})
        self.wfile.write(b"0\r\n\r\n")

    def _misbehave(self, number: int) -> bool:
        """What is to happen before token `number`; False when there is no more to say."""
        options = self.server.options
        if number == options.die_after:
            os._exit(7)
        if number == options.hold_after:
            _FOREVER.wait()
        if number == options.cut_after:
            self.close_connection = True
            return False
        if number == options.fail_after:
            self._event({"error": {"message": "Context size exceeded", "type": "server_error", "code": 500}})
            return False
        return True

    def _event(self, answer: object) -> None:
        self._line(f"data: {json.dumps(answer)}")

    def _line(self, line: str) -> None:
        data = f"{line}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def watch_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def spin() -> None:
    while True:
        sys.stderr.write("a line of the log\n")


def leave_a_child() -> None:
    """A process of our group that holds our output and outlives us."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _FOREVER.wait()


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    options = arguments()
    sys.stderr.write(options.stderr)
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if options.child:
        leave_a_child()
    if options.unread_stdin:
        _FOREVER.wait()
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 65536)
    if options.die_at_load is not None:
        if options.die_at_load < 0:
            signal.signal(-options.die_at_load, signal.SIG_DFL) if options.die_at_load != -9 else None
            os.kill(os.getpid(), -options.die_at_load)
        os._exit(options.die_at_load)
    if not options.ignore_stdin:
        threading.Thread(target=watch_standard_input, daemon=True).start()
    if options.spin:
        threading.Thread(target=spin, daemon=True).start()
    document = json.loads(line)
    with Server(document["socket"], Handler) as server, contextlib.suppress(KeyboardInterrupt):
        server.options = options
        server.document = document
        server.ready_at = time.monotonic() + options.load_seconds
        server.serve_forever()


if __name__ == "__main__":
    main()
