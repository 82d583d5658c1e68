"""A client program: many streams at once from one thread, each told of exactly.

    python -m tests.load.asking        (what it is to do comes as one line of JSON on standard input)

It is a process of its own so that it does not share a processor lock with what looks at it, and cheap, since on
a small machine it takes its time from the server: no library, one epoll, an event counted by a search in its
bytes. Prints {"sent": true} when each stream of each lane has asked, {"begun": true} when each has its first
token, and at last {"asked": {lane: [...]}, "cpu_seconds"}. When standard input ends, no more requests are
begun, and those that run end by themselves. `tests.load.lanes` starts it and reads what it prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Any

from tests.load.wire import AnswerReader, Broken, EventSplitter

LOOK_SECONDS = 0.25
READ_BYTES = 262144
ERROR_BYTES = 65536
SEPARATORS = {"sse": b"\n\n", "ndjson": b"\n", "json": None, "text": None}


class Stream:
    """One of a lane's streams: asks one request after the other."""

    def __init__(self, lane: dict[str, Any], number: int) -> None:
        self.lane = lane
        self.number = number
        self.socket: socket.socket | None = None
        self.wait_until = time.monotonic() + lane["delay"] * number
        self.asked = 0
        self.over = False
        self.mark = lane["mark"].encode()
        self._forget()

    def _forget(self) -> None:
        """A request is about to begin: nothing of its answer is known."""
        self.abort: str | None = None
        self.reader = AnswerReader()
        self.splitter = EventSplitter(SEPARATORS[self.lane["form"]])
        self.last: deque[bytes] = deque(maxlen=4)
        self.pieces = 0
        self.first: float | None = None
        self.gap = 0.0
        self.bytes = 0
        self.start = self.heard = self.token_at = time.monotonic()

    def begin(self) -> bool:
        """Send the next request; whether something is now to be waited for."""
        lane = self.lane
        body = lane["bodies"][(self.number + self.asked * lane["streams"]) % len(lane["bodies"])].encode()
        self._forget()
        if lane["aborts"]:
            self.abort = lane["aborts"][(self.number + self.asked) % len(lane["aborts"])]
        self.asked += 1
        head = (
            f"{lane['method']} {lane['path']} HTTP/1.1\r\nHost: {lane['host']}\r\n"
            + "".join(f"{name}: {value}\r\n" for name, value in lane["headers"].items())
            + (f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else "")
            + ("Connection: close\r\n" if lane["fresh"] else "")
            + "\r\n"
        ).encode()
        whole = head + body
        cut = {"connected": 0, "half head": len(head) // 2, "head": len(head)}
        cut["half body"] = len(head) + len(body) // 2
        sent = len(whole) if self.abort is None else cut.get(self.abort, len(whole))
        try:
            if self.socket is None:
                self.socket = connected(lane["address"])
            self.socket.sendall(whole[:sent])
        except OSError as error:
            self.end("refused", type(error).__name__)
            return False
        if self.abort in cut or self.abort == "sent":
            self.end("aborted", self.abort)
            return False
        self.socket.setblocking(False)
        return True

    def readable(self) -> bool:
        """Read what is there; whether the request is over."""
        assert self.socket is not None
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            return self.cut_off(type(error).__name__)
        now = time.monotonic()
        self.heard = now
        if not data:
            return self.cut_off("end")
        self.bytes += len(data)
        try:
            piece = self.reader.feed(data)
        except Broken as error:
            return self.end("broken", str(error))
        if self.reader.status != 200 or self.lane["form"] in ("json", "text"):
            self.splitter.feed(piece)
        else:
            self.count(self.splitter.feed(piece), now)
        if self.abort == "answered" or (self.abort == "tokens" and self.pieces >= 3):
            return self.end("aborted", self.abort)
        return self.judge() if self.reader.whole else False

    def count(self, events: list[bytes], now: float) -> None:
        mark, empty = self.mark, self.mark + b'"'
        for event in events:
            if mark in event and empty not in event:
                self.pieces += 1
                if self.first is None:
                    self.first = now - self.start
                else:
                    self.gap = max(self.gap, now - self.token_at)
                self.token_at = now
            if event:
                self.last.append(event)

    def cut_off(self, why: str) -> bool:
        """The connection has ended: that is an answer's end, its break, or a refusal to begin one."""
        if not self.bytes:
            return self.end("refused", why)
        try:
            self.reader.close()
        except Broken as error:
            return self.end("broken", f"{error} ({why})")
        return self.judge()

    def judge(self) -> bool:
        """The answer is whole as HTTP: is it one of the API's?"""
        form, status = self.lane["form"], self.reader.status
        events = list(self.last)
        try:
            if status != 200:
                error = json.loads(self.splitter.rest[:ERROR_BYTES])
                well = isinstance(error, dict) and "error" in error
                return self.end("error" if well else "broken", error)
            if form == "text":
                return self.end("whole", None)
            if form == "json":
                return self.end("whole", json.loads(self.splitter.rest))
            if self.splitter.rest.strip():
                return self.end("broken", "half an event at the end")
            told = [json.loads(data) for data in map(data_of, events) if data not in (b"", b"[DONE]")]
        except ValueError:
            return self.end("broken", f"no JSON, status {status}")
        for fields in told:
            if "error" in fields:
                return self.end("error", fields)
        marks = self.lane["end"].encode()
        if not events or marks not in events[-1]:
            return self.end("broken", f"no end of the stream: {events[-1][:200]!r}" if events else "no event")
        return self.end(
            "whole", [fields for fields in told if "usage" in fields or "eval_count" in fields][-1:]
        )

    def end(self, outcome: str, said: object) -> bool:
        now = time.monotonic()
        self.lane["asked"].append(
            {
                "at": self.start,
                "outcome": outcome,
                "status": self.reader.status,
                "seconds": now - self.start,
                "first": self.first,
                "pieces": self.pieces,
                "gap": self.gap,
                "said": said,
                "bytes": self.bytes,
            }
        )
        if self.socket is not None and (outcome != "whole" or self.lane["fresh"] or not self.reader.stays):
            if outcome == "aborted" and self.asked % 2:  # every other one with a reset
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
            self.socket = None
        self.wait_until = now + (
            self.lane["pause"] if outcome != "refused" else max(0.05, self.lane["pause"])
        )
        return True

    def may_begin(self, now: float, ending: bool) -> bool:
        lane = self.lane
        if ending or (lane["seconds"] is not None and now >= lane["began"] + lane["seconds"]):
            self.over = True
        if lane["requests"] is not None and self.asked >= lane["requests"]:
            self.over = True
        return not self.over and now >= self.wait_until


def connected(address: Any) -> socket.socket:
    if isinstance(address, str):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = address
    else:
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = tuple(address)
    try:
        made.settimeout(10)
        made.connect(target)
    except OSError:
        made.close()
        raise
    return made


def data_of(event: bytes) -> bytes:
    """The JSON of an event, of a server-sent one or a line."""
    if event[:1] == b"{":
        return event.strip()
    return b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))


def run(lanes: list[dict[str, Any]]) -> None:
    """Ask until all lanes are over."""
    poll = select.epoll()
    used = time.process_time()
    poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    began = time.monotonic()
    streams = []
    for lane in lanes:
        lane["asked"], lane["began"] = [], began
        streams += [Stream(lane, number) for number in range(lane["streams"])]
    idle, busy = list(streams), dict[int, Stream]()
    sent, begun, ending = False, False, False
    looked = began
    while idle or busy:
        now = time.monotonic()
        for stream in [each for each in idle if each.may_begin(now, ending)]:
            if stream.begin():
                idle.remove(stream)
                assert stream.socket is not None
                busy[stream.socket.fileno()] = stream
                poll.register(stream.socket.fileno(), select.EPOLLIN)
        if not sent and all(each.asked for each in streams):
            sent = True
            say({"sent": True})
        idle = [each for each in idle if not each.over]
        if not idle and not busy:
            break
        rests = [each.wait_until - now for each in idle]
        for fd, _ in poll.poll(max(0.0, min([LOOK_SECONDS, *rests]))):
            if fd == 0:
                ending = True
                poll.unregister(0)
                continue
            if busy[fd].readable():
                stream = busy.pop(fd)
                if stream.socket is not None:
                    poll.unregister(fd)
                idle.append(stream)
        now = time.monotonic()
        if now - looked > LOOK_SECONDS:
            looked = now
            for fd, stream in list(busy.items()):
                if now - stream.heard > stream.lane["silence"]:
                    poll.unregister(fd)
                    del busy[fd]
                    stream.end("broken", f"nothing came for {stream.lane['silence']} seconds")
                    idle.append(stream)
        if not begun and all(each.asked > 1 or (each.asked and each.first is not None) for each in streams):
            begun = True
            say({"begun": True})
    say(
        {
            "asked": {lane["name"]: lane["asked"] for lane in lanes},
            "cpu_seconds": time.process_time() - used,
        }
    )


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def read_line() -> bytes:
    """The first line of standard input, and no byte more: its end is waited for by epoll."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, 65536)
        if not piece:
            break
        line += piece
    return bytes(line)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        run(json.loads(read_line()))
