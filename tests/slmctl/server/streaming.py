"""Streams of OpenAI's completions, read as a program would that looks at every byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

LONG = 1000
"""Tokens that take the tiny model a second or two."""

LONGER = 4000
"""More than its context holds: for the model "endless", which takes some seconds over them."""


class Stream:
    """One answer on its way. `events` are the parsed events so far; `is_done` whether [DONE] has come."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.events: list[dict[str, Any]] = []
        self.is_done = False
        self._lines = response.iter_lines()

    def next(self) -> dict[str, Any] | None:
        """The next event; None at the end."""
        for line in self._lines:
            if line == "data: [DONE]":
                self.is_done = True
            elif line.startswith("data: "):
                assert not self.is_done, "nothing comes behind the end"
                self.events.append(json.loads(line.removeprefix("data: ")))
                return self.events[-1]
            else:
                assert line == "" or line.startswith(("event: ", ": ")), line
        return None

    def rest(self) -> None:
        """Read to the end."""
        while self.next() is not None:
            pass

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event["error"] for event in self.events if "error" in event]

    @property
    def finish_reasons(self) -> list[str]:
        return [
            choice["finish_reason"]
            for event in self.events
            for choice in event.get("choices", ())
            if choice.get("finish_reason")
        ]


@contextmanager
def streaming(
    client: httpx.Client, base_url: str, *, model: str = "tiny", tokens: int = LONG, **headers: str
) -> Iterator[Stream]:
    """A stream that has begun: its first event is there."""
    body: Mapping[str, object] = {
        "model": model,
        "prompt": "once",
        "max_tokens": tokens,
        "stream": True,
        "temperature": 0,
    }
    with client.stream("POST", f"{base_url}/v1/completions", json=body, headers=headers) as response:
        assert response.status_code == 200, response.read()
        stream = Stream(response)
        assert stream.next() is not None
        yield stream
