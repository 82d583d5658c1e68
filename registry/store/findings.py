"""What `verify` may find, and how it is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.digest import Digest
from registry.store.hashing import Checked
from registry.store.needs import Need, Needs, User

BAD = frozenset({"damaged", "missing", "unreadable", "malformed"})
"""The kinds of findings that mean: something is lost. All others are only named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be. `kind` is one of

    damaged      the bytes are not the ones that the digest names, or what lies there is no file
    missing      a name needs it, and it is not here
    unreadable   the system refuses to read it
    malformed    a manifest whose bytes are right and make no sense, or contradict what it names
    contradiction  facts in a manifest that the file's own header contradicts; the header counts
    not_pulled   a variant of a sparse model
    temporary    left by a command that was killed
    unneeded     a whole blob that no name reaches
    foreign      not ours

    `path` is where it lies; `size` in bytes; `quarantined` where it was moved; `repaired` where from;
    `adopted_from` the tool whose file it is.
    """

    kind: str
    message: str
    digest: Digest | None = None
    path: Path | None = None
    size: int | None = None
    users: tuple[User, ...] = ()
    quarantined: Path | None = None
    repaired: str | None = None
    adopted_from: str | None = None

    @property
    def is_bad(self) -> bool:
        return self.kind in BAD and self.repaired is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `verify` found at `root`: how many names and blobs it looked at, how many bytes it hashed."""

    root: Path
    names: int
    blobs: int
    size: int
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return not any(finding.is_bad for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to look at: everything, or what the entries `names` reach; or what `digest` reaches.

    `made_here` are the sources of names that cannot be sparse. `threads` hash at once. With `repair`, what a
    bad medium does not give back is put aside as well: its bytes are fetched into its place.
    """

    names: Sequence[str] | None = None
    digest: Digest | None = None
    made_here: frozenset[str] = frozenset({"create"})
    threads: int = 1
    repair: bool = False

    @property
    def is_whole(self) -> bool:
        return self.names is None and self.digest is None


def absent_findings(checked: Mapping[Digest, Checked], needs: Needs) -> list[Finding]:
    """Needed blobs that nobody looked at: missing ones that came up late, and what was not pulled."""
    findings = []
    skipped: dict[User, int] = {}
    for need in needs.blobs.values():
        if need.digest in checked:
            continue
        if need.optional:
            for user in need.users:
                skipped[user] = skipped.get(user, 0) + max(need.sizes)
        else:
            findings.append(
                Finding(
                    kind="missing" if need.named else "foreign",
                    message="it is not in the store",
                    digest=need.digest,
                    size=max(need.sizes),
                    users=users_of(need),
                )
            )
    for user, size in sorted(skipped.items()):
        findings.append(Finding(kind="not_pulled", message="it was not pulled", size=size, users=(user,)))
    return findings


def users_of(need: Need | None) -> tuple[User, ...]:
    return tuple(sorted(need.users)) if need is not None else ()


_KINDS = (
    *("damaged", "missing", "unreadable", "malformed"),
    *("contradiction", "not_pulled", "temporary", "unneeded", "foreign"),
)


def order(finding: Finding) -> tuple[int, str, str]:
    return _KINDS.index(finding.kind), str(finding.digest or ""), str(finding.path or "")
