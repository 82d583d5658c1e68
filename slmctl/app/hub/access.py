"""How the hub is asked: the endpoint and the token that the settings name."""

from __future__ import annotations

import os

from registry.errors import OperationFailed
from registry.names import ModelRef
from registry.remotes.hub_refusals import HubAccess
from registry.remotes.huggingface import HuggingFaceRemote
from registry.remotes.retry import OnWait, Patience, silent
from slmctl.app.network import Network

_MAX_TOKEN_BYTES = 4096


def hub_remote(
    network: Network, ref: ModelRef, *, patience: Patience | None = None, on_wait: OnWait = silent
) -> HuggingFaceRemote:
    """The remote of a Hugging Face reference. Raises OperationFailed when the token's file cannot be read."""
    return HuggingFaceRemote(network.http, hub_access(network), ref.path, patience=patience, on_wait=on_wait)


def hub_access(network: Network) -> HubAccess:
    """Where the hub is and who asks: HF_TOKEN, else the file that `hf auth login` writes."""
    settings = network.settings
    token, token_from = settings.hf_token, "HF_TOKEN"
    if token is None:
        token, token_from = _token_in(settings.hf_token_file), str(settings.hf_token_file)
    return HubAccess(
        endpoint=settings.hf_endpoint,
        token=token,
        token_from=token_from if token else "",
        offline=network.hub_offline,
    )


def _token_in(path: os.PathLike[str]) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            text = (stream.read(_MAX_TOKEN_BYTES) or b"").decode("ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is no text"
        raise OperationFailed(
            f"The token for the Hugging Face Hub in {os.fspath(path)} cannot be read ({reason}).",
            hint="Set HF_TOKEN, or move the file away.",
        ) from None
    return text if text and text.isprintable() and " " not in text else None
