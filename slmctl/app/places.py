"""From a name to the remote that has it, with what the user's settings say about the network."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from registry.errors import UsageError
from registry.names import ModelRef, Source
from registry.remotes.base import BlobSource, PushRemote, Remote
from slmctl.app.network import Network

if TYPE_CHECKING:
    from registry.remotes.registries import Registries


class Places:
    """All places that models are pulled from and pushed to, for one command. Thread-safe."""

    def __init__(self, network: Network, environment: Mapping[str, str]) -> None:
        """`environment` is what credential helpers get."""
        self.network = network
        self._environment = environment

    def remote_of(self, ref: ModelRef) -> Remote:
        """The remote of a name. Raises UsageError, InvalidReference, Unreachable."""
        if ref.host is not None:
            self.network.named(ref.host, plain_http=ref.plain_http)
        if ref.source is Source.OCI:
            return self._registries.oci(ref)
        if ref.source is Source.OLLAMA:
            return self._registries.ollama(ref)
        if ref.source is Source.HUGGINGFACE:
            from registry.remotes.huggingface import HubRemote

            return HubRemote(ref)
        raise UsageError(f"{ref.path!r:.120} names no place to pull from.", hint="Name a registry.")

    def sources_of(self, ref: ModelRef, remote: Remote) -> tuple[BlobSource, ...]:
        """Where the blobs of a name are had, in order."""
        return (remote,)

    def push_remote_of(self, ref: ModelRef) -> PushRemote:
        """The remote that a name is pushed to. Raises as `remote_of`, and UsageError for a place that takes
        nothing."""
        if ref.source is not Source.OCI:
            raise UsageError(f"slmctl does not push to {ref}.", hint="Name an OCI registry: HOST/PATH:TAG.")
        assert ref.host is not None
        self.network.named(ref.host, plain_http=ref.plain_http)
        return self._registries.oci(ref)

    @functools.cached_property
    def _registries(self) -> Registries:
        from registry.remotes.credentials import Keyring
        from registry.remotes.registries import Registries

        settings = self.network.settings
        files = [settings.docker_config / "config.json", *settings.registry_auth_files]
        keyring = Keyring(
            files,
            search_path=self._environment.get("PATH", ""),
            helper_environment=self._environment,
        )
        return Registries(http=self.network.http, keyring=keyring)
