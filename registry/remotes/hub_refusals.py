"""What the Hugging Face Hub means when it refuses: the sentence, and what to do.

Source: huggingface_hub's utils/_http.py (`hf_raise_for_status`): X-Error-Code is RepoNotFound, GatedRepo,
RevisionNotFound or EntryNotFound; without a token, a repository that does not exist and one that is private
both answer 401, so that nobody learns which it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from registry.errors import NotFound, OperationFailed, SlmctlError, Unauthorized
from registry.formats.quote import quoted
from registry.remotes.base import TryAgain
from registry.remotes.http import Answer

HUB = "https://huggingface.co"
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LIMIT = re.compile(r";\s*r=0\s*;\s*t=([0-9]{1,9})", re.ASCII)
_DISABLED = "access to this resource is disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAccess:
    """Where the hub is and who asks.

    `token_from` says where the token was found (`HF_TOKEN`, a file's path); `offline` why the hub may not be
    asked, in words that follow "because".
    """

    endpoint: str = HUB
    token: str | None = field(default=None, repr=False)
    token_from: str = ""
    offline: str | None = None

    @property
    def authorization(self) -> str | None:
        """The header's value for the endpoint's origin, and for no other."""
        return f"Bearer {self.token}" if self.token else None


def refusal(answer: Answer, *, repository: str, what: str, access: HubAccess) -> SlmctlError:
    """The error for an answer that is no success. `what` was asked for (`the file x`, `the revision y`)."""
    shown, url = f"hf.co/{repository}", f"{access.endpoint}/{repository}"
    code, said = answer.headers.get("x-error-code", ""), answer.headers.get("x-error-message", "")
    words = f": {quoted(said, 200)}" if said else ""
    if answer.status in _TRANSIENT:
        return TryAgain(
            f"The hub cannot give {what} of {shown} now (it answered {answer.status}){words}.",
            hint="Try again in a while.",
            after=_after(answer),
        )
    if code == "GatedRepo":
        return _gated(answer.status, shown, url, access)
    if _DISABLED in said.lower():
        return Unauthorized(f"The hub has disabled {shown}.", hint=f"{url} may say why.")
    if code == "EntryNotFound":
        return NotFound(f"The repository {shown} does not have {what}.", hint=f"Look at {url}/tree/main.")
    if code == "RevisionNotFound":
        return NotFound(
            f"The repository {shown} does not have {what}.", hint=f"See the branches and tags at {url}."
        )
    if answer.status == 401 and access.token and "invalid" in said.lower():
        return Unauthorized(
            f"The hub does not know the token in {access.token_from}.",
            hint=f"Make a new one at {access.endpoint}/settings/tokens, or unset it for what is public.",
        )
    if code == "RepoNotFound" or answer.status in {401, 404}:
        return _not_found(shown, access)
    if answer.status == 403:
        return Unauthorized(
            f"The hub refuses {what} of {shown} (it answered 403){words}.",
            hint=f"See {url}; a fine-grained token needs the right to read this repository."
            if access.token
            else f"See {url}; if it is yours, set HF_TOKEN.",
        )
    return OperationFailed(f"The hub answered {answer.status} when asked for {what} of {shown}{words}.")


def _after(answer: Answer) -> float | None:
    """How many seconds the hub asks to wait: Retry-After, or what is left of the time that its limits count
    (`RateLimit: "api";r=0;t=42`, draft-ietf-httpapi-ratelimit-headers)."""
    asked = answer.retry_after()
    if asked is None and answer.status == 429:
        limit = _LIMIT.search(answer.headers.get("ratelimit", ""))
        asked = float(limit[1]) if limit else None
    return asked


def _gated(status: int, shown: str, url: str, access: HubAccess) -> SlmctlError:
    what = f"The repository {shown} is gated: its publisher asks who uses it to accept conditions"
    if access.token is None:
        return Unauthorized(
            f"{what}.",
            hint=f"Accept them at {url}, make a token at {access.endpoint}/settings/tokens and set HF_TOKEN.",
        )
    return Unauthorized(
        f"{what}, and the account of the token in {access.token_from} has not been let in.",
        hint=f"Accept them at {url} and wait for the publisher where he decides himself;"
        " a fine-grained token also needs the right to read gated repositories.",
    )


def _not_found(shown: str, access: HubAccess) -> SlmctlError:
    if access.token is None:
        return NotFound(
            f"The hub has no public repository {shown}.",
            hint=f"Check the name; for a private one, set HF_TOKEN ({access.endpoint}/settings/tokens).",
        )
    return NotFound(
        f"The hub has no repository {shown} that the token in {access.token_from} may see.",
        hint="Check the name, and whose token it is.",
    )
