"""From a name to the remote that has it, with what the user's settings say about the network."""

from __future__ import annotations

from registry.errors import UsageError
from registry.names import ModelRef, Source
from registry.remotes.base import PushRemote, Remote
from slmctl.app.events import Note, OnEvent
from slmctl.app.network import Network


class Places:
    """All places that models are pulled from and pushed to, for one command. Thread-safe."""

    def __init__(self, network: Network, on_event: OnEvent) -> None:
        self.network = network
        self._on_event = on_event

    def remote_of(self, ref: ModelRef) -> Remote:
        """The remote of a name. Raises UsageError, InvalidReference, Unreachable."""
        if ref.source is Source.HUGGINGFACE:
            from slmctl.app.hub.access import hub_remote
            from slmctl.app.registries import telling

            return hub_remote(self.network, ref, on_wait=telling(self._note))
        from slmctl.app.registries import ollama_remote, pull_remote  # requests takes long to import

        if ref.source is Source.OLLAMA:
            return ollama_remote(self.network, ref, self._note)
        if ref.source is Source.OCI:
            return pull_remote(self.network, ref, self._note)
        if ref.source is Source.FILE:
            from registry.remotes.local import open_local
            from slmctl.app.bundles import split_path

            return open_local(split_path(ref.path)[0])
        raise UsageError(f"{str(ref)!r:.120} names no place to pull from.", hint="Name a registry.")

    def push_remote_of(self, ref: ModelRef) -> PushRemote:
        """The remote that a name is pushed to. Raises as `remote_of`, and UsageError for a place that takes
        nothing."""
        if ref.source is not Source.OCI:
            raise UsageError(f"slmctl does not push to {ref}.", hint="Name an OCI registry: HOST/PATH:TAG.")
        from slmctl.app.registries import push_remote

        return push_remote(self.network, ref, self._note)

    def _note(self, text: str) -> None:
        self._on_event(Note(text=text))
