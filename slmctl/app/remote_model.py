"""A model that the server has loaded, as `slmctl run` works with it."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from modelfiles.spec import ModelSpec, ParameterValue
from runtimes.protocol import Event, Think
from slmctl.app.load import Loaded
from slmctl.app.questions import Messages
from slmctl.app.server_client import ServerClient, ServerGone
from slmctl.app.server_wire import ServedModel, seconds_to_json


class RemoteModel:
    """A model that the server has loaded; stands where a `LoadedModel` does, see there."""

    def __init__(
        self,
        client: ServerClient,
        about: Loaded,
        model: ServedModel,
        spec: ModelSpec,
        *,
        keep_seconds: float | None,
    ) -> None:
        self.about = about
        self.spec = spec
        self.chat_template = spec.template or model.chat_template
        self.has_chat_template = model.has_chat_template or spec.template is not None
        self.ended = False
        """Whether the server is gone, and the model with it."""
        self._client = client
        self._keep_seconds = keep_seconds

    def keep_no_longer(self) -> None:
        """The server keeps what it was told to keep."""

    def answer(
        self,
        messages: Messages,
        parameters: Mapping[str, ParameterValue],
        *,
        think: Think | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> Generator[Event]:
        return self._asked(parameters, {"messages": list(messages), "think": think, "json_schema": schema})

    def complete(
        self,
        text: str,
        parameters: Mapping[str, ParameterValue],
        *,
        schema: Mapping[str, object] | None = None,
    ) -> Generator[Event]:
        return self._asked(parameters, {"prompt": text, "json_schema": schema})

    def _asked(
        self, parameters: Mapping[str, ParameterValue], fields: Mapping[str, object]
    ) -> Generator[Event]:
        asked = {
            "name": self.about.name,
            "parameters": dict(parameters),
            "keep_seconds": seconds_to_json(self._keep_seconds),
            **fields,
        }
        try:
            yield from self._client.answer(asked)
        except ServerGone:
            self.ended = True
            raise
