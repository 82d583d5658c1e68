"""A repository of a registry: what may be its name and its tags, and the addresses of what is in it.

    name = part *("/" part)          part = alnum *(separator alnum)        ; lower case
    tag  = (letter / digit / "_") *127(letter / digit / "_" / "." / "-")

OCI distribution specification 1.1, "Pulling manifests". Names are checked here before an address is built of
them, so that none can leave its place in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from registry.digest import Digest
from registry.errors import BadContent, InvalidReference, UsageError
from registry.names import DEFAULT_TAG, ModelRef
from registry.remotes.credentials import is_docker_hub
from registry.remotes.urls import BadUrl, parse

DOCKER_HUB_API = "registry-1.docker.io"

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_MAX_NAME_CHARACTERS = 255


def is_tag(text: object) -> bool:
    return isinstance(text, str) and _TAG.fullmatch(text) is not None


def checked_tag(text: str) -> str:
    """A tag as it is. Raises UsageError."""
    if not is_tag(text):
        raise UsageError(
            f"{text!r:.80} is not a tag.",
            hint="A tag has at most 128 letters, digits, dots, dashes and underscores; it begins with no dot"
            " and no dash.",
        )
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where a repository's API is. `host` is as `Url.place` writes it, with its port unless that is the
    scheme's own; `shown` is what messages call it."""

    scheme: str
    host: str
    path: str
    shown: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    def manifest(self, reference: str | Digest) -> str:
        """The address of a manifest, by its tag or its digest."""
        text = str(reference) if isinstance(reference, Digest) else checked_tag(reference)
        return f"{self.origin}/v2/{self.path}/manifests/{text}"

    def blob(self, digest: Digest) -> str:
        return f"{self.origin}/v2/{self.path}/blobs/{digest}"

    def uploads(self) -> str:
        return f"{self.origin}/v2/{self.path}/blobs/uploads/"

    def tags(self) -> str:
        return f"{self.origin}/v2/{self.path}/tags/list"

    def referrers(self, digest: Digest) -> str:
        return f"{self.origin}/v2/{self.path}/referrers/{digest}"


def repository_of(ref: ModelRef, *, plain_http: bool) -> Repository:
    """The repository that a name of an OCI registry means. Raises InvalidReference."""
    assert ref.host is not None
    path, host = ref.path, ref.host
    shown = f"{host}/{path}"
    if is_docker_hub(host):
        host = DOCKER_HUB_API
        path = path if "/" in path else f"library/{path}"
    scheme = "http" if plain_http else "https"
    try:
        url = parse(f"{scheme}://{host}/")
        if url.target != "/" or "#" in host:
            raise BadUrl("it has a path")
    except BadUrl as error:
        raise _invalid(ref, host, f"is not the address of a registry: {error}") from None
    checked_path(path, str(ref))
    return Repository(scheme=scheme, host=url.place, path=path, shown=shown)


def checked_path(path: str, source: str) -> str:
    """The path of a repository as it is; `source` is the whole name, for the error. Raises
    InvalidReference."""
    if len(path) <= _MAX_NAME_CHARACTERS and _NAME.fullmatch(path):
        return path
    at = max(source.find(path), 0)
    hint = "Its parts are lower-case letters and digits, with single dots, underscores or dashes in between."
    raise InvalidReference(
        f"{path!r:.80} is not the name of a repository in an OCI registry.",
        source=source,
        span=(at, at + len(path)),
        hint=f"Write it in lower case: {path.lower()}." if _NAME.fullmatch(path.lower()) else hint,
    )


def reference_of(ref: ModelRef) -> str | Digest:
    """What to ask for: the digest where the name is pinned, else its tag. Raises UsageError."""
    return ref.digest or checked_tag(ref.tag or DEFAULT_TAG)


def checked_tags(values: object, shown: str) -> list[str]:
    """Tags as a registry lists them. Raises BadContent where something in the list is none."""
    if values is None:
        return []
    if not isinstance(values, list):
        raise BadContent(f"{shown} gave a list of tags that is none.")
    for value in values:
        if not is_tag(value):
            raise BadContent(f"{shown} lists {value!r:.80}, which is not a tag.")
    return values


def _invalid(ref: ModelRef, part: str, reason: str) -> InvalidReference:
    source = str(ref)
    at = max(source.find(part), 0)
    return InvalidReference(f"{part!r:.80} {reason}.", source=source, span=(at, at + len(part)))
