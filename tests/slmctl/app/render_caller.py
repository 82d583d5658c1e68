"""Renders the hostile templates as slmctl would and prints what that took: a child process of the tests."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime

from modelfiles.template.errors import TemplateError
from slmctl.app.prompt import render_outside
from tests.registry.formats.measure import peak_bytes
from tests.slmctl.app.hostile_templates import CORPUS

MESSAGES = [{"role": "user", "content": "hello"}]
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def main() -> None:
    """Print one JSON object: for each template its text or message, seconds, and the growth so far in bytes."""
    before = peak_bytes()
    results: dict[str, object] = {}
    for case in CORPUS:
        start = time.perf_counter()
        text = message = None
        try:
            text = render_outside(case.template, MESSAGES, now=NOW, environment=os.environ)
        except TemplateError as error:
            message = error.message
        results[case.name] = {
            "text": text,
            "message": message,
            "seconds": time.perf_counter() - start,
            "growth_bytes": peak_bytes() - before,
        }
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
