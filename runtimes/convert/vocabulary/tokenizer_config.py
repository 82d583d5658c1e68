"""tokenizer_config.json: what Transformers keeps of a tokenizer beside what it is made of.

Source: `PreTrainedTokenizerBase.save_pretrained` of Transformers. A special token is a text, or the
settings of an AddedToken; `added_tokens_decoder` was written by versions 4.34 to 4.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.errors import MalformedFile
from registry.formats.quote import quoted
from runtimes.convert.vocabulary.tokenizer_json import AddedToken, added_token

NAME = "tokenizer_config.json"
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""What Transformers has a special token for."""

_HINT = "Download the model again from where its makers publish it."


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """`roles` says which token plays which role, `adds` whether a role's token is put around a text.

    `present` is False where there is no such file. `template` is the raw `chat_template`.
    """

    present: bool
    roles: Mapping[str, str]
    adds: Mapping[str, bool]
    also_special: tuple[str, ...]
    added: tuple[AddedToken, ...]
    add_prefix_space: bool | None
    lowercase: bool
    template: object

    @classmethod
    def of(cls, fields: Mapping[str, object], *, present: bool) -> TokenizerConfig:
        """The parsed file. Raises MalformedFile for added tokens that are none; what else is of a wrong type
        counts as not there."""
        names = {role: _content(fields.get(f"{role}_token")) for role in (*ROLES, "eot", "eom")}
        flags = {role: fields.get(f"add_{role}_token") for role in ROLES}
        others = fields.get("additional_special_tokens") or fields.get("extra_special_tokens")
        prefix = fields.get("add_prefix_space")
        return cls(
            present=present,
            roles=MappingProxyType({role: name for role, name in names.items() if name is not None}),
            adds=MappingProxyType({role: add for role, add in flags.items() if isinstance(add, bool)}),
            also_special=_contents(others),
            added=_decoder(fields.get("added_tokens_decoder")),
            add_prefix_space=prefix if isinstance(prefix, bool) else None,
            lowercase=fields.get("do_lower_case") is not False,
            template=fields.get("chat_template"),
        )


def _content(value: object) -> str | None:
    """The token itself, of either way to write it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _contents(value: object) -> tuple[str, ...]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return tuple(text for text in map(_content, items) if text is not None)


def _decoder(value: object) -> tuple[AddedToken, ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise MalformedFile(
            f"The added_tokens_decoder of {NAME} is {quoted(value)} and no object.", hint=_HINT
        )
    return tuple(
        added_token(
            int(number) if number.isascii() and number.isdigit() and len(number) < 10 else None, item, NAME
        )
        for number, item in value.items()
    )
