"""Which endpoint a request is for: found on the path that the server has decoded, and on nothing else.

Never on `request.url`, which is made up from the Host header. The words of a template must stand in the
request as they are: a proxy in front that forbids `/api/delete` would not know `/api%2fdelete`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from starlette.routing import Match, Route
from starlette.types import Scope

from slmctl.server.call import Endpoint
from slmctl.server.problems import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What there is at a path. `endpoint` is None where the path is known and the method is not."""

    endpoint: Endpoint | None
    others: Mapping[str, Endpoint]
    """All that stands at the path, by method."""
    parameters: Mapping[str, str]

    @property
    def family(self) -> Family:
        return next(iter(self.others.values())).family

    @property
    def allow(self) -> str:
        return ", ".join(sorted(self.others))


class Routes:
    """The table of all endpoints. Paths without parameters are found first."""

    def __init__(self, tables: Iterable[Iterable[Endpoint]], *, root_path: str = "") -> None:
        self._root = root_path.rstrip("/")
        self._plain: dict[str, dict[str, Endpoint]] = {}
        self._templates: dict[str, tuple[Route, str, dict[str, Endpoint]]] = {}
        for endpoint in (each for table in tables for each in table):
            self._add(endpoint)

    def __iter__(self) -> Iterator[Endpoint]:
        for methods in self._plain.values():
            yield from methods.values()
        for _, _, methods in self._templates.values():
            yield from methods.values()

    def _add(self, endpoint: Endpoint) -> None:
        path = endpoint.path
        if "{" in path:
            new: dict[str, Endpoint] = {}
            route = Route(path, _unused, methods=["GET"])
            _, _, methods = self._templates.setdefault(path, (route, path[: path.index("{")], new))
        else:
            methods = self._plain.setdefault(path, {})
        if endpoint.method in methods:
            raise ValueError(f"{endpoint.method} {path} is served twice")
        methods[endpoint.method] = endpoint

    def find(self, scope: Scope) -> Found | None:
        """What the request is for. None for a path that is not known."""
        path, raw = scope["path"], scope.get("raw_path")
        written = raw.decode("latin-1") if raw is not None else path
        if not is_clean(path):
            return None
        below = self._find(scope, self._relative(path), self._relative(written))
        if below is None and self._root and written.startswith(f"{self._root}/"):
            return self._find(scope, path, written)  # with a root path of "/api", /api/tags is what it says
        return below

    def _find(self, scope: Scope, path: str, written: str) -> Found | None:
        if path.endswith("/") and path != "/":
            return None
        methods = self._plain.get(path)
        if methods is not None:
            return _found(methods, scope["method"], {}) if written == path else None
        for route, prefix, methods in self._templates.values():
            if path.startswith(prefix) and written.startswith(prefix):
                match, child = route.matches({**scope, "path": path, "root_path": "", "method": "GET"})
                if match is Match.FULL:
                    return _found(methods, scope["method"], child["path_params"])
        return None

    def _relative(self, path: str) -> str:
        """The path below the root path, whether the proxy in front has taken that away or not."""
        root = self._root
        return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _found(methods: Mapping[str, Endpoint], method: str, parameters: Mapping[str, str]) -> Found:
    return Found(endpoint=methods.get(method), others=methods, parameters=parameters)


def is_clean(path: str) -> bool:
    """Whether a path has no control characters and no steps that somebody else would take."""
    if not path.startswith("/") or not path.isprintable() or "\\" in path:
        return False
    return all(part not in {"", ".", ".."} for part in path[1:].removesuffix("/").split("/")) or path == "/"


async def _unused() -> None:
    raise AssertionError
