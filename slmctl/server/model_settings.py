"""What the config file says of single models, by whatever name they are asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

from modelfiles.spec import ModelSpec
from registry.names import parse_name
from slmctl.serve_settings import ModelSettings, ServeSettings

_USUAL = ModelSettings()


class SettingsOfModels:
    """The tables [serve.models] by full names. Raises UsageError for what is no name."""

    def __init__(self, serve: ServeSettings) -> None:
        self._serve = serve
        self._by_name = {parse_name(name).full_name.casefold(): own for name, own in serve.models.items()}

    def of(self, name: str) -> ModelSettings:
        """Those of a full name."""
        return self._by_name.get(name.casefold(), _USUAL)

    def parallel(self, name: str) -> int | None:
        return self.of(name).parallel or self._serve.parallel

    def is_pinned(self, names: Iterable[str]) -> bool:
        return any(self.of(name).pinned for name in names)

    def keep_seconds(self, names: Iterable[str]) -> float:
        """How long a model of these names stays: what is said of one of them; else for ever if it is pinned;
        else what is said of all."""
        said = [own for name in names if (own := self.of(name).keep_seconds) is not None]
        if said:
            return max(said)
        return math.inf if self.is_pinned(names) else self._serve.keep_seconds

    def spec(self, spec: ModelSpec, name: str) -> ModelSpec:
        """The author's words, with those of the config file over them."""
        own = self.of(name).parameters
        return dataclasses.replace(spec, parameters={**spec.parameters, **own}) if own else spec
