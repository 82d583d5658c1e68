"""What is made up, and what has to be true of every answer."""

from __future__ import annotations

import contextlib
import copy
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.servers import Server
from tests.slmctl.server.models import GO_TOOLS, HELLO, RANKER, THINKER, TINY, TOOLS

CONFIG = """\
[serve]
max_tokens = 8
request_timeout = 30
"""
"""Short answers, so that there are many; and what takes longer than this is cut off by the server itself."""

PATIENCE_SECONDS = 45.0
"""An answer that takes longer hangs."""

MEANT = frozenset({503, 507})
"""A full queue, and not enough memory (num_ctx is among what is made up): what the server says on purpose."""

TRANSFERS = ("/api/pull", "/api/push")
"""They may say 502, too: the source cannot be asked."""

NAMES = [HELLO, TINY, TOOLS, GO_TOOLS, THINKER, "HELLO:latest", "nobody"]


@dataclass(slots=True)
class Findings:
    """What was asked how often, and what was wrong. `answers` counts by operation and status."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: dict[str, str] = field(default_factory=dict)
    """The first of each kind, by operation and kind."""

    @property
    def asked(self) -> int:
        return self.answers.total()


def fuzz(
    server: Server,
    secret: str,
    *,
    examples: int,
    seed: int,
    until: float | None = None,
    only: Iterable[str] = (),
) -> Findings:
    """Ask every operation of the document `examples` times with what fits its schema and as often with what
    does not. `until` is a moment of time.monotonic() after which nothing more is asked."""
    headers = {"Authorization": f"Bearer {secret}"}
    document = requests.get(f"{server.base_url}/openapi.json", headers=headers, timeout=30).json()
    loaded = schemathesis.openapi.from_dict(aimed(document))
    findings = Findings()
    with requests.Session() as session:
        for result in loaded.get_all_operations():
            assert isinstance(result, Ok)
            operation = result.ok()
            if only and operation.label not in only:
                continue
            for mode in GenerationMode:
                if mode is GenerationMode.POSITIVE or operation.body:
                    strategy = operation.as_strategy(mode)
                    _ask(
                        strategy,
                        server,
                        session,
                        headers,
                        findings,
                        examples=examples,
                        seed=seed,
                        until=until,
                    )
    return findings


def aimed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with names of models that there are, so that requests get past that."""
    found: dict[str, Any] = copy.deepcopy(document)
    for operations in found["paths"].values():
        for operation in operations.values():
            operation["security"] = []  # else the key in the header makes room for keys that are made up
    for name, schema in found["components"]["schemas"].items():
        properties = schema.get("properties", {})
        if name.endswith("_request") and "destination" in properties:
            properties["destination"] = {"enum": ["copy"]}
        for key in ("model", "name", "source", "from"):
            if name.endswith("_request") and key in properties:
                properties[key] = {"enum": _names(name)}
    return found


def _names(request: str) -> list[str]:
    if "rerank" in request:
        return [RANKER, HELLO]
    return ["copy", "nobody"] if "delete" in request else NAMES  # the next seed needs its models


def _ask(
    strategy: Any,
    server: Server,
    session: requests.Session,
    headers: dict[str, str],
    findings: Findings,
    *,
    examples: int,
    seed: int,
    until: float | None,
) -> None:
    @seeded(seed)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Case[Any]) -> None:
        if until is None or time.monotonic() < until:
            _look(case, server, session, headers, findings)

    # there is nothing that would not fit, or schemathesis fails at what it makes of a schema to break it
    with contextlib.suppress(Unsatisfiable, InvalidSchema):
        ask()


def _look(
    case: Case[Any],
    server: Server,
    session: requests.Session,
    headers: dict[str, str],
    findings: Findings,
) -> None:
    label = case.operation.label
    case.body = _whole(case.body)
    try:
        answer = case.call(
            base_url=server.base_url, session=session, headers=headers, timeout=PATIENCE_SECONDS
        )
    except requests.exceptions.InvalidHeader:
        return  # nobody could have sent that
    except requests.exceptions.RequestException as error:
        findings.wrong.setdefault(f"{label}: {type(error).__name__}", _told(case, str(error)))
        return
    status = answer.status_code
    findings.answers[label, status] += 1
    meant = MEANT | {502} if case.operation.path in TRANSFERS else MEANT
    if status >= 500 and status not in meant:
        findings.wrong.setdefault(f"{label}: {status}", _told(case, answer.text))
    try:
        case.validate_response(
            answer,
            checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
            headers=headers,
        )
    except FailureGroup as group:
        for failure in group.exceptions:
            kind = f"{label}: {type(failure).__name__} ({status})"
            findings.wrong.setdefault(kind, _told(case, f"{failure}\n{answer.text}"))


def _whole(value: Any) -> Any:
    """5.0 is an integer for JSON Schema and none for those who write requests by hand."""
    if isinstance(value, dict):
        return {name: _whole(child) for name, child in value.items()}
    if isinstance(value, list):
        return [_whole(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _told(case: Case[Any], what: str) -> str:
    return f"{case.method} {case.formatted_path} {case.body!s:.1500}\n{what:.1500}"
