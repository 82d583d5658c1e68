"""From a name to its remote: which address a registry has, and what lets us in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from registry.errors import Unreachable, UsageError
from registry.names import ModelRef
from registry.remotes.addresses import Scope, scope_of_host
from registry.remotes.auth import Authorizer
from registry.remotes.connection import Connection
from registry.remotes.credentials import Credential, Keyring
from registry.remotes.http import HttpClient
from registry.remotes.mirrors import Disagreement, MirroredRemote
from registry.remotes.mishaps import NotReached
from registry.remotes.oci import OciRemote
from registry.remotes.ollama import OllamaRemote, ollama_repository
from registry.remotes.realms import Trust
from registry.remotes.repository import Repository, checked_path, repository_of
from registry.remotes.retry import OnWait, Patience, silent
from registry.remotes.urls import BadUrl, parse


def quietly(_: Disagreement) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """Makes remotes of names.

    `trust` is what the user said about token servers; `mirrors` are places (`host`, `host:port/path`, an
    address) by the host whose repositories they have too; `on_wait` is told of each wait.
    """

    http: HttpClient
    keyring: Keyring
    trust: Trust = field(default_factory=dict)
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)
    on_wait: OnWait = silent

    def oci(self, ref: ModelRef, *, credential: Credential | None = None) -> OciRemote:
        """The remote of a name in an OCI registry. Raises InvalidReference; for a registry on this machine
        also Unreachable, as it has to be asked whether it speaks TLS."""
        return OciRemote(self.connection(self.repository(ref), credential=credential))

    def mirrored(
        self, ref: ModelRef, on_disagreement: Callable[[Disagreement], None] = quietly
    ) -> OciRemote | MirroredRemote:
        """The remote to pull from: the name's repository, with its mirrors before it where it has any.

        Raises as `oci`, and UsageError for a mirror that is none.
        """
        origin = self.oci(ref)
        places = self.mirrors.get(origin.repository.host) or self.mirrors.get(ref.host or "") or ()
        if not places:
            return origin
        mirrors = [OciRemote(self.connection(self._mirror(place, origin.repository))) for place in places]
        return MirroredRemote(mirrors, origin, on_disagreement)

    def ollama(self, ref: ModelRef) -> OllamaRemote:
        """The remote of a name in Ollama's registry, which knows no passwords. Raises InvalidReference."""
        nothing = Keyring((), search_path="", helper_environment={})
        repository = ollama_repository(ref)
        authorizer = Authorizer(self.http, nothing, repository, trust={})
        return OllamaRemote(Connection(self.http, repository, authorizer, self.patience, self.on_wait))

    def repository(self, ref: ModelRef) -> Repository:
        """Where a name's repository is. Raises as `oci`."""
        repository = repository_of(ref, plain_http=ref.plain_http)
        if ref.plain_http or not self._speaks_plain_http(repository):
            return repository
        return repository_of(ref, plain_http=True)

    def authorizer(self, repository: Repository, *, credential: Credential | None = None) -> Authorizer:
        """What lets us into a repository; with `credential` instead of what is kept."""
        return Authorizer(self.http, self.keyring, repository, trust=self.trust, credential=credential)

    def connection(self, repository: Repository, *, credential: Credential | None = None) -> Connection:
        authorizer = self.authorizer(repository, credential=credential)
        return Connection(self.http, repository, authorizer, self.patience, self.on_wait)

    def _mirror(self, place: str, of: Repository) -> Repository:
        """Where a mirror has a repository: its path stands behind the mirror's own."""
        try:
            url = parse(place if "://" in place else f"https://{place}")
        except BadUrl as error:
            raise UsageError(
                f"The mirror {place!r:.80} is none: {error}.", hint="Correct the setting mirrors."
            ) from None
        path = checked_path(f"{url.target.strip('/')}/{of.path}".lstrip("/"), place)
        mirror = Repository(scheme=url.scheme, host=url.place, path=path, shown=f"{url.place}/{path}")
        try:
            plain = "://" not in place and self._speaks_plain_http(mirror)
        except NotReached:
            plain = False  # it is asked, and does not answer, when its turn comes
        return replace(mirror, scheme="http") if plain else mirror

    def _speaks_plain_http(self, repository: Repository) -> bool:
        """Whether to speak plain HTTP to a registry that was not named with a scheme: where that was
        permitted, and on this machine where it answers so."""
        if repository.host in self.http.settings.plain_http:
            return True
        if scope_of_host(parse(f"{repository.origin}/").host) is not Scope.LOOPBACK:
            return False
        try:
            with self.http.send("GET", f"http://{repository.host}/v2/", follow=False, within=5.0) as answer:
                return answer.status != 400  # which servers of TLS say to a request that is none
        except NotReached:
            raise
        except Unreachable:
            return False
