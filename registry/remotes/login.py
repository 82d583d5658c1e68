"""Trying a name and a password on a registry, before they are kept."""

from __future__ import annotations

from dataclasses import dataclass

from registry.errors import NotFound, Unauthorized
from registry.remotes.answers import refusal
from registry.remotes.auth import Authorizer
from registry.remotes.http import HttpClient
from registry.remotes.realms import origin_of
from registry.remotes.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """`checked` says whether the registry asked for the password, so that it was tried."""

    checked: bool


def try_login(http: HttpClient, repository: Repository, authorizer: Authorizer) -> Tried:
    """Ask the registry of `repository` for its API, with the credential that the authorizer was given.

    Raises Unauthorized where it is refused, or where the registry's token server did not get it; NotFound
    where no registry answers; Unreachable.
    """
    url = f"{repository.origin}/v2/"
    with http.send("GET", url) as answer:
        if answer.status != 401:
            if answer.status == 200:
                return Tried(checked=False)
            if answer.status == 404:
                raise NotFound(
                    f"At {repository.shown} there is no registry.", hint="Check the host and the port."
                )
            raise refusal(answer, "its API", repository.shown)
        authorization = authorizer.renewed(answer, (), None)
        if (server := authorizer.held_back) is not None:
            origin = origin_of(server)
            raise Unauthorized(
                f"{repository.shown} has its tokens made by {origin}, another server, so that the"
                " password was"
                " not sent.",
                hint=f"If that server belongs to the registry, say so: slmctl login {repository.shown}"
                f" --token-server {origin}",
            )
    with http.send("GET", url, authorization=authorization) as answer:
        if answer.status == 401:
            raise authorizer.denied(answer)
        if answer.status not in {200, 403, 404}:  # some let nobody see the API itself
            raise refusal(answer, "its API", repository.shown)
    return Tried(checked=True)
