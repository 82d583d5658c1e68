"""Logging in to registries, and out again."""

from __future__ import annotations

from dataclasses import dataclass, replace

from registry.errors import Unauthorized, UsageError
from registry.names import OLLAMA_HOST, ModelRef, Source
from registry.remotes.credentials import Credential, is_docker_hub, matching_keys, read_auth_file
from registry.remotes.credentials_file import log_in as keep
from registry.remotes.credentials_file import log_out as forget
from registry.remotes.realms import origin_of
from registry.remotes.urls import BadUrl
from slmctl.app.network import Network
from slmctl.app.registries import (
    api_host,
    keyring,
    login_file,
    place_of_host,
    registries,
    save_token_servers,
    saved_token_servers,
)

_NO_LOGIN = {
    "hf.co": "Put a token from https://huggingface.co/settings/tokens into HF_TOKEN.",
    "huggingface.co": "Put a token from https://huggingface.co/settings/tokens into HF_TOKEN.",
    OLLAMA_HOST: "Its public models need no login; what Ollama itself has pulled: slmctl adopt",
    "ollama.com": "Its public models need no login; what Ollama itself has pulled: slmctl adopt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedIn:
    """`place` is the file or the helper that keeps the password, `plain` says that it lies there readable;
    `checked` that the registry asked for it and took it."""

    host: str
    username: str
    place: str
    plain: bool
    checked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedOut:
    """`removed` are the places that had a password, `left` files of other tools that still have one."""

    host: str
    removed: tuple[str, ...]
    left: tuple[str, ...]


def log_in(
    network: Network, server: str, *, username: str, password: str, token_server: str | None = None
) -> LoggedIn:
    """Try name and password on the registry `server`, then keep them where Docker or podman does.

    `token_server` is an address that may have the password too, by the user's word; it is kept as well.
    Raises UsageError, Unauthorized, Unreachable, NotFound, OperationFailed.
    """
    from registry.remotes.login import try_login

    host = checked_host(server)
    if not username or ":" in username or _has_controls(username):
        raise UsageError("A user name is not empty, and has no colon in it.", hint="Give it with --username.")
    if not password:
        raise UsageError("The password is empty.", hint=None)
    settings = network.settings
    saved = saved_token_servers(settings.token_servers_file)
    if token_server is not None:
        saved[host] = tuple(dict.fromkeys((*saved.get(host, ()), _origin(token_server))))
    plain = server.lower().startswith("http://")
    network.named(api_host(host), plain_http=plain)
    made = registries(network, saved=saved)
    ref = ModelRef(source=Source.OCI, host=api_host(host), path="login/login", plain_http=plain)
    repository = replace(made.repository(ref), path="", shown=host)
    credential = Credential(username=username, password=password)
    authorizer = made.authorizer(repository, credential=credential)
    try:
        tried = try_login(network.http, repository, authorizer)
    except Unauthorized as error:
        if (
            error.hint is not None
            and error.hint.startswith("Log in with: slmctl login")
            and "--" not in error.hint
        ):
            error.hint = "Check the name and the password; many registries take an access token in its place."
        raise
    kept = keep(keyring(settings), login_file(settings), host, username=username, password=password)
    if token_server is not None:
        save_token_servers(settings.token_servers_file, saved)
    return LoggedIn(host=host, username=username, place=kept.place, plain=kept.plain, checked=tried.checked)


def log_out(network: Network, server: str) -> LoggedOut:
    """Forget the password for the registry `server`, and its token servers. Asks nobody.

    Raises UsageError, OperationFailed.
    """
    host = checked_host(server)
    settings = network.settings
    keys = keyring(settings)
    own = login_file(settings)
    removed = forget(keys, own, host)
    saved = saved_token_servers(settings.token_servers_file)
    if saved.pop(host, None) is not None:
        save_token_servers(settings.token_servers_file, saved)
    left = []
    for file in keys.files:
        auths = read_auth_file(file).get("auths") if file != own else None
        if isinstance(auths, dict) and any(auths[key] for key in matching_keys(auths, host)):
            left.append(str(file))
    return LoggedOut(host=host, removed=tuple(removed), left=tuple(left))


def checked_host(server: str) -> str:
    """The registry's host as logins are kept for it. Raises UsageError."""
    try:
        host = place_of_host(server)
    except BadUrl as error:
        raise UsageError(
            f"{server!r:.80} is not the address of a registry: {error}.",
            hint="It is a host, with its port if it has one of its own: ghcr.io, localhost:5000.",
        ) from None
    if hint := _NO_LOGIN.get(host.removeprefix("www.")):
        raise UsageError(f"{host} has no login with a password.", hint=hint)
    return "docker.io" if is_docker_hub(host) else host


def _origin(server: str) -> str:
    try:
        return origin_of(server if "://" in server else f"https://{server}")
    except BadUrl as error:
        raise UsageError(
            f"{server!r:.80} is not the address of a token server: {error}.", hint="Write https://HOST."
        ) from None


def _has_controls(text: str) -> bool:
    return any(ord(char) < 32 or ord(char) == 127 for char in text)
