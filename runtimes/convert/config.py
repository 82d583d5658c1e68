"""A model's config.json, read with the types that a conversion needs.

Source: the configuration classes of Transformers (`PretrainedConfig`, `RotaryEmbeddingConfigMixin`). Until
version 4 rotary settings stood in `rope_theta` and `rope_scaling`, since version 5 in `rope_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.errors import MalformedFile
from registry.formats.quote import quoted

MAX_LAYERS = 1024
MAX_HEAD_SIZE = 1 << 16
_MAX_WHOLE = 2**31 - 1
_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127
_BY_TRAINED_CONTEXT = frozenset({"llama3", "yarn", "longrope"})
_OF_THE_WHOLE = ("architectures", "auto_map", "quantization_config", "quantization")
_HINT = "Download the model again from where its makers publish it."


@dataclass(frozen=True, slots=True)
class Section:
    """An object of the config with its name in messages (`the config.json`, `its rope_parameters`)."""

    fields: Mapping[str, object]
    shown: str = "config.json"

    def whole(self, name: str, default: int | None = None) -> int:
        """A number from 1 on. Raises MalformedFile for anything else, and where it is missing without a
        default; null counts as missing."""
        value = self.fields.get(name)
        if value is None:
            if default is None:
                raise MalformedFile(f"The {self.shown} has no {name}.", hint=_HINT)
            return default
        if type(value) is not int or not 1 <= value <= _MAX_WHOLE:
            raise MalformedFile(f"The {self.shown} has {quoted(value)} as {name}.", hint=_HINT)
        return value

    def whole_or_none(self, name: str) -> int | None:
        """The same; None where it is missing, and for 0."""
        return self.whole(name) if self.fields.get(name) not in (None, 0) else None

    def real(self, name: str, default: float | None = None) -> float:
        """A finite number. Raises MalformedFile as `whole`."""
        value = self.real_or_none(name)
        if value is not None:
            return value
        if default is None:
            raise MalformedFile(f"The {self.shown} has no {name}.", hint=_HINT)
        return default

    def real_or_none(self, name: str) -> float | None:
        """The same; None where it is missing."""
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            raise MalformedFile(f"The {self.shown} has {quoted(value)} as {name}.", hint=_HINT)
        return float(value)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """A list of finite numbers; None where it is missing or empty. Raises MalformedFile."""
        value = self.fields.get(name)
        if value is None or value == []:
            return None
        if not isinstance(value, list) or not all(
            isinstance(item, int | float) and not isinstance(item, bool) and _finite(item) for item in value
        ):
            raise MalformedFile(f"The {name} of the {self.shown} is no list of numbers.", hint=_HINT)
        return tuple(float(item) for item in value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false. Raises MalformedFile for anything else but null."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise MalformedFile(f"The {self.shown} has {quoted(value)} as {name}.", hint=_HINT)
        return value

    def word(self, name: str, default: str = "") -> str:
        """A text. Raises MalformedFile for anything else but null."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise MalformedFile(f"The {self.shown} has {quoted(value)} as {name}.", hint=_HINT)
        return value

    def section(self, name: str) -> Section:
        """An object; an empty one where it is missing. Raises MalformedFile for anything else."""
        value = self.fields.get(name)
        if value is None:
            return Section(MappingProxyType({}), f"{name} of the {self.shown}")
        if not isinstance(value, dict):
            raise MalformedFile(f"The {self.shown} has {quoted(value)} as {name}.", hint=_HINT)
        return Section(MappingProxyType(value), f"{name} of the {self.shown}")


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary embedding: of the layers that see everything, and of those with a window where they differ."""

    base: float
    kind: str
    settings: Section
    windowed_base: float | None = None


class ModelConfig(Section):
    """The language model's part of a config.json."""

    __slots__ = ()

    @classmethod
    def of(cls, fields: Mapping[str, object]) -> ModelConfig:
        """What describes the language model: all of it, with `text_config` over it where there is one, but
        for what is said of the whole."""
        inner = Section(fields).section("text_config").fields
        whole = {name: fields[name] for name in _OF_THE_WHOLE if fields.get(name)}
        return cls(MappingProxyType({**fields, **inner, **whole}))

    @property
    def layers(self) -> int:
        """Raises MalformedFile as `whole`, and for more than any model has."""
        count = self.whole("num_hidden_layers")
        if count > MAX_LAYERS:
            raise MalformedFile(f"The config.json has {count} as num_hidden_layers.", hint=_HINT)
        return count

    @property
    def hidden(self) -> int:
        return self.whole("hidden_size")

    @property
    def heads(self) -> int:
        return self.whole("num_attention_heads")

    @property
    def kv_heads(self) -> int:
        return self.whole("num_key_value_heads", self.heads)

    @property
    def head_size(self) -> int:
        """`head_dim`, else an even share of the hidden size. Raises MalformedFile where that is no number,
        and for more than any model has: what is worked out for each number of a head takes memory."""
        if self.fields.get("head_dim") is not None:
            size = self.whole("head_dim")
        elif self.hidden % self.heads:
            raise MalformedFile(
                f"The config.json has {self.heads} heads for a hidden size of {self.hidden}.", hint=_HINT
            )
        else:
            size = self.hidden // self.heads
        if size > MAX_HEAD_SIZE:
            raise MalformedFile(f"The config.json has heads of {size} numbers.", hint=_HINT)
        return size

    def rope(self, default_base: float) -> Rope:
        """Rotary settings, of either version. `default_base` is the class's. Raises MalformedFile."""
        name = "rope_parameters" if self.fields.get("rope_parameters") is not None else "rope_scaling"
        both = self.section(name)
        windowed = both.section("sliding_attention")
        everywhere = both.section("full_attention") if "full_attention" in both.fields else both
        kind = (everywhere.word("rope_type") or everywhere.word("type") or "default").lower()
        fields = {**self._old_names(), **everywhere.fields}
        if kind in _BY_TRAINED_CONTEXT and "max_position_embeddings" in self.fields:
            fields.setdefault("original_max_position_embeddings", self.fields["max_position_embeddings"])
        settings = Section(fields, everywhere.shown)
        return Rope(
            base=settings.real("rope_theta", default_base),
            kind=kind,
            settings=settings,
            windowed_base=windowed.real_or_none("rope_theta") or self.real_or_none("rope_local_base_freq"),
        )

    def _old_names(self) -> dict[str, object]:
        """What stood beside `rope_scaling` and is in `rope_parameters` now."""
        names = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
        return {name: self.fields[name] for name in names if self.fields.get(name) is not None}


def _finite(value: float) -> bool:
    """Whether a float of 32 bits can hold it, which is what GGUF's are."""
    return -_LARGEST_FLOAT <= value <= _LARGEST_FLOAT
