"""Model names: parsed once, at the edge, into a frozen ModelRef.

    reference   = [scheme "://"] [host [":" port] "/"] path [":" tag] ["@" digest]
    huggingface = ("hf://" | "hf.co/" | "huggingface.co/") org "/" repo ["@" revision] [":" selector]
    file        = "file://" absolute-path | "/" ... | "./" ... | "../" ... | "~" ...
    path        = component *("/" component)
    component   = word *(word | "." | "-")        ; word is an ASCII letter, a digit or "_"
    tag         = word *127(word | "." | "-")
    digest      = "sha256:" 64 lower-case hex digits

Everything that Ollama accepts is accepted (`[host/][namespace/]model[:tag]`); paths deeper than that, tags of
up to 128 characters (the OCI distribution specification's limit) and digests are ours on top. Whether the
first component is a host follows Docker's rule (it has a dot or a port, or is `localhost`), and Ollama's for
three components or more (the first is the host whatever it looks like).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import BadContent, InvalidReference

OLLAMA_HOST = "registry.ollama.ai"
OLLAMA_NAMESPACE = "library"
HUGGINGFACE_HOST = "hf.co"
DEFAULT_TAG = "latest"

_HUGGINGFACE_HOSTS = frozenset({"hf.co", "www.hf.co", "huggingface.co", "www.huggingface.co"})
_OLLAMA_HOSTS = frozenset({OLLAMA_HOST, "ollama.com", "www.ollama.com"})
_SCHEMES = frozenset({"hf", "ollama", "oci", "file", "http", "https"})

_HOST = re.compile(r"\w[\w.:-]{0,349}", re.ASCII)
_COMPONENT = re.compile(r"\w[\w.-]{0,254}", re.ASCII)
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_SELECTOR = re.compile(r"\w[\w.+=,-]*(/\w[\w.+=,-]*)*", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

_MAX_LENGTH = 1024
_MAX_COMPONENTS = 32


class Source(enum.Enum):
    """Where a name points."""

    BARE = "bare"  # the store decides, then the library
    OLLAMA = "ollama"
    HUGGINGFACE = "huggingface"
    OCI = "oci"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A parsed model name.

    `host` is None for bare names and files; `path` is the repository (or the path of a file, as written);
    `tag` is the tag, or the selector of a Hugging Face reference (a quantization or a file name), None when
    none was written; `revision` is Hugging Face's branch, tag or commit; `plain_http` says that the user
    wrote `http://`.
    """

    source: Source
    path: str
    host: str | None = None
    tag: str | None = None
    revision: str | None = None
    digest: Digest | None = None
    plain_http: bool = False

    @property
    def full_name(self) -> str:
        """The name as the store lists it: never a default host, always a tag, no digest.

        Raises InvalidReference for a file, which has no name of its own.
        """
        if self.source is Source.FILE:
            raise InvalidReference(
                f"{self.path!r} is a file, not a model's name.",
                source=self.path,
                span=(0, len(self.path)),
                hint="Make a model of it with: slmctl create NAME --from FILE",
            )
        host = f"{self.host}/" if self.host and self.source is not Source.OLLAMA else ""
        path = self.path.removeprefix(f"{OLLAMA_NAMESPACE}/") if self.source is Source.OLLAMA else self.path
        return f"{host}{path}:{self.tag or DEFAULT_TAG}"

    @property
    def short_name(self) -> str:
        """The full name without a tag that says nothing; for messages."""
        return short_name(self.full_name)

    def __str__(self) -> str:
        """Text that parses to this value again."""
        if self.source is Source.FILE:
            return self.path
        prefix = {
            Source.BARE: "",
            Source.OLLAMA: "ollama://",
            Source.HUGGINGFACE: "hf://",
            Source.OCI: f"{'http' if self.plain_http else 'oci'}://{self.host}/",
        }[self.source]
        revision = f"@{self.revision}" if self.revision else ""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{prefix}{self.path}{revision}{tag}{digest}"


def parse(text: str) -> ModelRef:
    """Read a model name; raises InvalidReference with the offending span."""
    if not text:
        raise _invalid(
            text, (0, 0), "A model name is empty", "Names look like qwen3, qwen3:4b or hf.co/org/repo:Q4_K_M."
        )
    if len(text) > _MAX_LENGTH:
        raise _invalid(text, (_MAX_LENGTH, len(text)), f"The name is longer than {_MAX_LENGTH} characters")
    if _is_path(text):
        return _file(text, text, 0)
    scheme, start = None, 0
    if match := _SCHEME.match(text):
        scheme, start = match[1].lower(), match.end()
        if scheme not in _SCHEMES:
            raise _invalid(
                text, match.span(1), f"slmctl knows no scheme {match[1]!r}",
                "Use hf://, ollama://, oci://, http://, https:// or file://.",
            )  # fmt: skip
    if scheme == "file":
        return _file(text, text[start:], start)
    return _Parser(text, start).reference(scheme)


def parse_name(text: str) -> ModelRef:
    """Read the name of a model in a store: like `parse`, but a file is refused."""
    ref = parse(text)
    if ref.source is Source.FILE:
        _ = ref.full_name  # raises, with the sentence
    return ref


def parse_new_name(text: str) -> ModelRef:
    """Read the name that a model is to get: like `parse_name`, but without a digest."""
    ref = parse_name(text)
    if ref.digest is not None:
        at = text.rindex("@")
        raise _invalid(
            text,
            (at, len(text)),
            "A new name cannot be pinned to a digest",
            "Leave out the @sha256:... part.",
        )
    return ref


def short_name(full_name: str) -> str:
    """A full name without a tag that says nothing."""
    return full_name.removesuffix(f":{DEFAULT_TAG}")


def _is_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in {".", ".."}


def _file(text: str, path: str, start: int) -> ModelRef:
    if not path:
        raise _invalid(text, (start, start), "The file's path is empty")
    if "\0" in path:
        position = start + path.index("\0")
        raise _invalid(text, (position, position + 1), "A file's path cannot hold a NUL character")
    return ModelRef(source=Source.FILE, path=path if _is_path(path) else f"./{path}")


def _invalid(text: str, span: tuple[int, int], reason: str, hint: str | None = None) -> InvalidReference:
    shown = f"{text[:80]!r}{'...' if len(text) > 80 else ''}"
    sentence = (
        f"{reason}." if text == "" else f"{shown} is not a model name: {reason[0].lower()}{reason[1:]}."
    )
    return InvalidReference(sentence, source=text, span=span, hint=hint)


class _Parser:
    """Cuts a name into its parts; keeps offsets so that errors can point."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.start = start

    def reference(self, scheme: str | None) -> ModelRef:
        end, digest = self._digest()
        first_slash = self.text.find("/", self.start, end)
        first = self.text[self.start : first_slash] if first_slash >= 0 else ""
        if scheme == "hf" or (scheme != "ollama" and first.lower() in _HUGGINGFACE_HOSTS):
            start = self.start if scheme == "hf" else first_slash + 1
            return self._huggingface(start, end, digest)
        end, tag = self._tag(self.start, end)
        parts = self._split(self.start, end)
        host = self._host(scheme, parts)
        path = "/".join(self._checked(part, "name", _COMPONENT) for part in parts)
        plain = scheme == "http"
        if scheme == "ollama" or (host is not None and host.lower() in _OLLAMA_HOSTS):
            return self._ollama(path, parts, tag, digest)
        if host is not None:
            return ModelRef(source=Source.OCI, host=host, path=path, tag=tag, digest=digest, plain_http=plain)
        if len(parts) == 1:
            return ModelRef(source=Source.BARE, path=path, tag=tag, digest=digest)
        return self._ollama(path, parts, tag, digest)

    def _ollama(
        self, path: str, parts: list[tuple[int, int]], tag: str | None, digest: Digest | None
    ) -> ModelRef:
        if len(parts) > 2:
            span = (parts[2][0] - 1, parts[-1][1])
            raise _invalid(self.text, span, "Ollama's registry has names of one or two parts only")
        if len(parts) == 1:
            path = f"{OLLAMA_NAMESPACE}/{path}"
        return ModelRef(source=Source.OLLAMA, host=OLLAMA_HOST, path=path, tag=tag, digest=digest)

    def _huggingface(self, start: int, end: int, digest: Digest | None) -> ModelRef:
        stop = min(
            p for p in (self.text.find("@", start, end), self.text.find(":", start, end), end) if p >= 0
        )
        parts = self._split(start, stop)
        path = "/".join(self._checked(part, "repository", _COMPONENT) for part in parts)
        if len(parts) != 2:
            raise _invalid(
                self.text, (start, stop), "A Hugging Face reference names an organisation and a repository",
                "Write hf://ORG/REPO, with :QUANTIZATION or :FILE behind it if you want one of several.",
            )  # fmt: skip
        revision = selector = None
        if stop < end and self.text[stop] == "@":
            colon = self.text.find(":", stop, end)
            colon = end if colon < 0 else colon
            revision = self._checked((stop + 1, colon), "revision", _REVISION)
            stop = colon
        if stop < end:
            selector = self._checked((stop + 1, end), "selector", _SELECTOR)
        return ModelRef(
            source=Source.HUGGINGFACE,
            host=HUGGINGFACE_HOST,
            path=path,
            tag=selector,
            revision=revision,
            digest=digest,
        )

    def _digest(self) -> tuple[int, Digest | None]:
        at = self.text.rfind("@", self.start)
        if at < 0 or not self.text.startswith("sha256:", at + 1):
            if at >= 0 and not self._is_huggingface():
                raise _invalid(
                    self.text, (at, len(self.text)), 'Behind "@" stands no sha256 digest',
                    "A pinned name ends in @sha256: and 64 hex digits.",
                )  # fmt: skip
            return len(self.text), None
        try:
            return at, Digest.parse(self.text[at + 1 :])
        except BadContent:
            raise _invalid(
                self.text, (at + 1, len(self.text)), "The digest is not sha256: and 64 lower-case hex digits"
            ) from None

    def _is_huggingface(self) -> bool:
        first = self.text[self.start :].split("/", 1)[0].lower()
        return self.text[: self.start].lower() == "hf://" or first in _HUGGINGFACE_HOSTS

    def _tag(self, start: int, end: int) -> tuple[int, str | None]:
        colon = self.text.rfind(":", start, end)
        if colon < self.text.rfind("/", start, end) or colon < 0:
            return end, None
        return colon, self._checked((colon + 1, end), "tag", _TAG)

    def _split(self, start: int, end: int) -> list[tuple[int, int]]:
        parts = []
        for piece in self.text[start:end].split("/"):
            parts.append((start, start + len(piece)))
            start += len(piece) + 1
        if len(parts) > _MAX_COMPONENTS:
            raise _invalid(self.text, parts[_MAX_COMPONENTS], f"It has more than {_MAX_COMPONENTS} parts")
        return parts

    def _host(self, scheme: str | None, parts: list[tuple[int, int]]) -> str | None:
        """Take the host off the front of `parts` if there is one."""
        if scheme == "ollama" or (len(parts) == 1 and scheme not in {"oci", "http", "https"}):
            return None
        first = self.text[slice(*parts[0])]
        named = "." in first or ":" in first or first.lower() == "localhost"
        if not (scheme or named or len(parts) > 2):
            return None
        if len(parts) == 1:
            raise _invalid(self.text, parts[0], "Behind the host a model's name is missing")
        return self._checked(parts.pop(0), "host", _HOST)

    def _checked(self, span: tuple[int, int], what: str, pattern: re.Pattern[str]) -> str:
        value = self.text[slice(*span)]
        if pattern.fullmatch(value):
            return value
        if not value:
            raise _invalid(self.text, span, f"The {what} is empty")
        if match := pattern.match(value):
            bad = span[0] + match.end()
            if self.text[bad] not in "._-:" and not (self.text[bad].isascii() and self.text[bad].isalnum()):
                reason = f"The {what} cannot hold {self.text[bad]!r}"
                raise _invalid(self.text, (bad, bad + 1), reason)
            raise _invalid(self.text, (bad, span[1]), f"The {what} is malformed or too long")
        raise _invalid(self.text, (span[0], span[0] + 1), f"The {what} cannot begin with {value[0]!r}")
