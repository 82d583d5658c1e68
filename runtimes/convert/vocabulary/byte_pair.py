"""Byte-level BPE (GPT-2's, Llama 3's, Qwen's) as `tokenizer.ggml.model` = gpt2."""

from __future__ import annotations

from gguf import Keys, TokenType

from registry.errors import MalformedFile
from registry.formats.quote import quoted
from runtimes.convert.keys import text, texts
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.pre_tokenizers import pre_tokenizer_name
from runtimes.convert.vocabulary.tokenizer_config import TokenizerConfig
from runtimes.convert.vocabulary.tokenizer_json import AddedToken, TokenizerJson
from runtimes.convert.vocabulary.tokens import Token, Tokens, require_text, token_keys

_BLANK = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"
"""How GPT-2 writes the byte of a blank."""

_HINT = "Download the model again from where its makers publish it."


def byte_pair_keys(tokenizer: TokenizerJson, config: TokenizerConfig, count: int | None) -> list[Key]:
    """The keys, without special tokens. `count` is the model's vocabulary, if it says. Raises
    MalformedFile, and DoesNotFit for a pipeline that llama.cpp does not have."""
    name = pre_tokenizer_name(tokenizer)
    tokens = filled(tokenizer, config, count).filled()
    # a blank separates the parts; GPT-2's way to write bytes has none in them
    merges = [f"{left.replace(' ', _BLANK)} {right.replace(' ', _BLANK)}" for left, right in tokenizer.merges]
    require_text("".join(merges), "A merge")
    lists = token_keys(tokens)
    if merges:
        lists.append(texts(Keys.Tokenizer.MERGES, merges))
    return [text(Keys.Tokenizer.MODEL, "gpt2"), text(Keys.Tokenizer.PRE, name), *lists]


def filled(tokenizer: TokenizerJson, config: TokenizerConfig, count: int | None) -> Tokens:
    """The vocabulary of a tokenizer.json with its added tokens. Raises MalformedFile where it does not fit
    into the model's."""
    added = {token.number: token for token in (*config.added, *tokenizer.added)}
    named = (*config.roles.values(), *config.also_special)
    for name in named:  # Transformers takes these for added ones though the file does not call them so
        number = tokenizer.vocabulary.get(name)
        if number is not None and number not in added:
            added[number] = AddedToken(number=number, text=name, special=True)
    highest = max([*tokenizer.vocabulary.values(), *added], default=-1)
    if count is not None and highest >= count:
        raise MalformedFile(
            f"The tokenizer has a token {highest}, and the model a vocabulary of {quoted(count)}.", hint=_HINT
        )
    tokens = Tokens(highest + 1 if count is None else count)
    for name, number in tokenizer.vocabulary.items():
        tokens.put(number, Token(name, TokenType.NORMAL))
    tokens.add(added.values())
    return tokens
