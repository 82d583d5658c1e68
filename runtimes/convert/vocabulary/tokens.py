"""A vocabulary as llama.cpp keeps it: every number has a text, a kind and a score.

Source: gguf.md (`tokenizer.ggml.*`) and `llama_vocab::impl::load` of llama.cpp, which ends the process
where two tokens have the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gguf import Keys, TokenType

from registry.errors import MalformedFile
from registry.formats.quote import quoted
from runtimes.convert.keys import reals, texts, wholes
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.tokenizer_json import MAX_TOKENS, AddedToken

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a blank."""

ADDED_SCORE = -1000.0
UNUSED_SCORE = -10000.0
_HINT = "Download the model again from where its makers publish it."


class Token(NamedTuple):
    text: str
    kind: TokenType
    score: float = 0.0


class Tokens:
    """A vocabulary that is filled number by number; the holes are tokens that nobody uses."""

    def __init__(self, count: int) -> None:
        """Raises MalformedFile for a count that no vocabulary has."""
        if not 1 <= count <= MAX_TOKENS:
            raise MalformedFile(f"The model has a vocabulary of {count} tokens.", hint=_HINT)
        self._tokens: list[Token | None] = [None] * count

    def __len__(self) -> int:
        return len(self._tokens)

    def put(self, number: int, token: Token) -> None:
        """Give a number its token; one beyond the vocabulary has no row in the model and is left out."""
        if number < len(self._tokens):
            self._tokens[number] = token

    def at(self, number: int) -> Token | None:
        return self._tokens[number] if number < len(self._tokens) else None

    def add(self, added: Iterable[AddedToken]) -> None:
        """Tokens that are found in a text as they are."""
        for token in added:
            control = token.special or looks_special(token.text)
            text = token.text if control else token.text.replace(SPACE, " ")
            kind = TokenType.CONTROL if control else TokenType.USER_DEFINED
            self.put(token.number, Token(text, kind, ADDED_SCORE))

    def filled(self) -> tuple[Token, ...]:
        return tuple(
            Token(f"[PAD{number}]", TokenType.UNUSED, UNUSED_SCORE) if token is None else token
            for number, token in enumerate(self._tokens)
        )


def looks_special(text: str) -> bool:
    """Whether a token is one of those that some models forget to call special: `<|im_end|>`, `<unused7>`."""
    return (
        text in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (text.startswith("<|") and text.endswith("|>"))
        or (text.startswith("<\N{FULLWIDTH VERTICAL LINE}") and text.endswith("\N{FULLWIDTH VERTICAL LINE}>"))
        or (text.startswith("<unused") and text.endswith(">"))
    )


def token_keys(tokens: Sequence[Token], *, scored: bool = False) -> list[Key]:
    """The lists. Raises MalformedFile where two tokens have the same text, or one is no text."""
    names = [token.text for token in tokens]
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise MalformedFile(f"Two tokens of the vocabulary are {quoted(twice)}.", hint=_HINT)
    require_text("".join(names), "The vocabulary")
    keys = [texts(Keys.Tokenizer.LIST, names)]
    if scored:
        keys.append(reals(Keys.Tokenizer.SCORES, [token.score for token in tokens]))
    keys.append(wholes(Keys.Tokenizer.TOKEN_TYPE, [int(token.kind) for token in tokens]))
    return keys


def require_text(value: str, what: str) -> None:
    """Raises MalformedFile for half a character, which JSON can write and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedFile(f"{what} has half a character (a surrogate) in it.", hint=_HINT) from None
