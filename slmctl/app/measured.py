"""What was measured of a variant: its perplexity on a text, and how far it is from another build.

A measurement is an OCI artifact that refers to the variant's manifest: one layer, a JSON document
(docs/schemas/quality-1.json) without a time, a path or a name of a file. It stays with the variant and goes
with it. One that cannot be read counts for nothing, and is none of the model's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry import mediatypes
from registry.digest import Digest
from registry.errors import BadContent, MalformedFile, NotFound, OperationFailed
from registry.manifest import EMPTY, Descriptor, Manifest, artifact_about, canonical_json, load_json_object
from registry.store.index import NameTable, Referrer
from registry.store.reader import StoreReader

if TYPE_CHECKING:
    from slmctl.app.package import Package, Variant
    from slmctl.app.packaging import BlobWriter

SCHEMA = "slmctl.quality/1"
UNQUANTIZED = frozenset({"F32", "F16", "BF16"})
ENOUGH_TOKENS = 1000
"""Tokens of which a divergence counts in a plan: eight windows of 512 have twice as many (fit.md 3.4)."""

_MOST_BYTES = 64 << 10
_MOST_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A mean and its standard error."""

    value: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The build that it was held against: its manifest, its variant's id and its quantization, its own
    perplexity, the divergence from it in nats per token, and the share of tokens with the same likeliest."""

    digest: Digest
    variant: str
    quantization: str | None
    perplexity: Number
    divergence: Number
    same_top: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measurement. `text` is the digest of the text's bytes, `context` the length of a window in tokens,
    `tokens` those that were counted; `engine` is the build that computed."""

    text: Digest
    text_bytes: int
    context: int
    windows: int
    tokens: int
    perplexity: Number
    engine: str
    against: Against | None = None

    @property
    def divergence(self) -> float | None:
        """From the unquantized model, in nats per token; None where it was held against nothing of that
        kind, or too little was read."""
        if self.against is None or self.tokens < ENOUGH_TOKENS:
            return None
        unquantized = (self.against.quantization or "").upper() in UNQUANTIZED
        return self.against.divergence.value if unquantized else None

    def to_json(self) -> dict[str, object]:
        """The document."""
        against = self.against
        return {
            "schema": SCHEMA,
            "text": {"digest": str(self.text), "bytes": self.text_bytes},
            "context": self.context,
            "windows": self.windows,
            "tokens": self.tokens,
            "perplexity": _written(self.perplexity),
            "engine": self.engine,
            "against": None
            if against is None
            else {
                "digest": str(against.digest),
                "variant": against.variant,
                "quantization": against.quantization,
                "perplexity": _written(against.perplexity),
                "divergence": _written(against.divergence),
                "same_top": _written(against.same_top),
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Measured:
        """Read a document from anywhere. Raises MalformedFile."""
        if value.get("schema") != SCHEMA:
            raise MalformedFile("The measurement is of a kind that is not known here.")
        text = _object(value, "text")
        against = value.get("against")
        return cls(
            text=Digest.parse(text.get("digest")),
            text_bytes=_count(text, "bytes"),
            context=_count(value, "context"),
            windows=_count(value, "windows"),
            tokens=_count(value, "tokens"),
            perplexity=_number(value, "perplexity", low=1.0),
            engine=_text(value, "engine"),
            against=_against(_object(value, "against")) if against is not None else None,
        )


def measurements(reader: StoreReader, digest: Digest, names: NameTable | None = None) -> tuple[Measured, ...]:
    """What was measured of the variant whose manifest this is, the most telling first."""
    found = (each for _, each in _stored(reader, digest, names if names is not None else reader.names()))
    return tuple(sorted(found, key=_rank))


Measurements = Mapping[str, tuple[Measured, ...]]
"""Of each variant, by id, what was measured of it."""


def measured_quality(reader: StoreReader, package: Package) -> Measurements:
    """Of each variant, by id, what was measured of it, the most telling first; those without are left out."""
    names = reader.names()
    if not names.referrers:
        return {}
    found = {each.id: measurements(reader, each.digest, names) for each in package.variants}
    return {name: measured for name, measured in found.items() if measured}


def divergence_of(measured: Iterable[Measured]) -> float | None:
    """The divergence that a plan counts with: that of most tokens."""
    return next(
        (each.divergence for each in sorted(measured, key=_rank) if each.divergence is not None), None
    )


def write(session: BlobWriter, subject: Descriptor, variant: Variant, measured: Measured) -> Referrer:
    """Put a measurement's blobs into a store; what is to be entered beside the names."""
    document = canonical_json(measured.to_json())
    session.put(EMPTY)
    layer = Descriptor(media_type=mediatypes.QUALITY, digest=session.put(document), size=len(document))
    manifest = artifact_about(
        subject,
        layer,
        artifact_type=mediatypes.QUALITY,
        annotations={mediatypes.SLMCTL_VARIANT: variant.id},
    )
    descriptor = Descriptor(
        media_type=manifest.media_type,
        digest=session.put(manifest.raw),
        size=len(manifest.raw),
        artifact_type=manifest.artifact_type,
    )
    return Referrer(subject=subject.digest, descriptor=descriptor)


def superseded(reader: StoreReader, digest: Digest, new: Measured) -> list[Digest]:
    """The earlier measurements that a new one says more than, or says anew: of the same text in windows of
    the same length, and against the same build or none."""
    base = _base(new)
    return [
        referrer.descriptor.digest
        for referrer, old in _stored(reader, digest, reader.names())
        if _is_alike(old, new) and _base(old) in (None, base)
    ]


def is_outdone(reader: StoreReader, digest: Digest, new: Measured) -> bool:
    """Whether an earlier measurement answers the same of more tokens: a quick look takes no place of it."""
    return any(
        _is_alike(old, new) and _base(old) == _base(new) and old.tokens > new.tokens
        for old in measurements(reader, digest)
    )


def _is_alike(old: Measured, new: Measured) -> bool:
    return (old.text, old.context) == (new.text, new.context)


def _base(measured: Measured) -> Digest | None:
    return measured.against.digest if measured.against is not None else None


def _stored(reader: StoreReader, digest: Digest, names: NameTable) -> Iterator[tuple[Referrer, Measured]]:
    for referrer in names.referrers:
        if referrer.subject != digest or referrer.descriptor.artifact_type != mediatypes.QUALITY:
            continue
        with suppress(BadContent, NotFound, OperationFailed):
            manifest = reader.manifest(referrer.descriptor)
            if not isinstance(manifest, Manifest) or manifest.subject is None or not manifest.layers:
                continue
            if manifest.subject.digest == digest:
                raw = reader.read_blob(manifest.layers[0], _MOST_BYTES)
                yield referrer, Measured.from_json(load_json_object(raw, "The measurement"))


def _rank(measured: Measured) -> tuple[bool, bool, int, str]:
    digest = str(measured.against.digest) if measured.against else ""
    return measured.divergence is None, measured.against is None, -measured.tokens, f"{measured.text}{digest}"


def _against(value: Mapping[str, object]) -> Against:
    quantization = value.get("quantization")
    return Against(
        digest=Digest.parse(value.get("digest")),
        variant=_text(value, "variant"),
        quantization=_text(value, "quantization") if quantization is not None else None,
        perplexity=_number(value, "perplexity", low=1.0),
        divergence=_number(value, "divergence"),
        same_top=_number(value, "same_top", high=1.0),
    )


def _written(number: Number) -> dict[str, float]:
    """With as many digits as mean something: nobody's document differs by the last bit of a sum."""
    return {
        "value": float(f"{number.value:.{_MOST_DIGITS}g}"),
        "error": float(f"{number.error:.{_MOST_DIGITS}g}"),
    }


def _object(value: Mapping[str, object], key: str) -> Mapping[str, object]:
    inner = value.get(key)
    if not isinstance(inner, dict):
        raise MalformedFile(f"The measurement's {key} is no object.")
    return inner


def _count(value: Mapping[str, object], key: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 63:
        raise MalformedFile(f"The measurement's {key} is no number of things.")
    return number


def _text(value: Mapping[str, object], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= 200:
        raise MalformedFile(f"The measurement's {key} is no text.")
    return text


def _number(value: Mapping[str, object], key: str, *, low: float = 0.0, high: float = 1e300) -> Number:
    inner = _object(value, key)
    numbers = [inner.get("value"), inner.get("error")]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) for each in numbers):
        raise MalformedFile(f"The measurement's {key} is no number.")
    mean, error = (float(each) for each in numbers if isinstance(each, int | float))
    if not low <= mean <= high or not 0 <= error <= 1e300:  # which no NaN is
        raise MalformedFile(f"The measurement's {key} cannot be {mean:g}.")
    return Number(value=mean, error=error)
