"""WordPiece (BERT's) as `tokenizer.ggml.model` = bert."""

from __future__ import annotations

from gguf import Keys, TokenType

from registry.errors import DoesNotFit
from runtimes.convert.keys import text
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.byte_pair import filled
from runtimes.convert.vocabulary.tokenizer_config import TokenizerConfig
from runtimes.convert.vocabulary.tokenizer_json import TokenizerJson
from runtimes.convert.vocabulary.tokens import SPACE, Token, token_keys

_PRE = "jina-v2-en"  # what llama.cpp's converter writes for BERT's own vocabulary; its engine reads none here
_CONTINUED = "##"


def word_piece_keys(tokenizer: TokenizerJson, config: TokenizerConfig, count: int | None) -> list[Key]:
    """The keys, without special tokens. llama.cpp marks the start of a word where BERT marks what continues
    one.

    Raises MalformedFile, and DoesNotFit for a pipeline that is not BERT's.
    """
    normalizer = [step.kind for step in tokenizer.normalizer]
    cut = [step.kind for step in tokenizer.pre_tokenizer]
    if normalizer not in (["BertNormalizer"], []) or cut != ["BertPreTokenizer"]:
        raise DoesNotFit(
            "The model's WordPiece tokenizer cuts texts in another way than BERT's, which llama.cpp has."
        )
    tokens = [_marked(token) for token in filled(tokenizer, config, count).filled()]
    return [text(Keys.Tokenizer.MODEL, "bert"), text(Keys.Tokenizer.PRE, _PRE), *token_keys(tokens)]


def _marked(token: Token) -> Token:
    if token.kind is TokenType.CONTROL:
        return token
    if token.text.startswith(_CONTINUED):
        return token._replace(text=token.text[len(_CONTINUED) :])
    return token._replace(text=SPACE + token.text)
