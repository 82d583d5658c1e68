"""SentencePiece vocabularies (Llama 2's, Mistral's, Phi-3's, Gemma's) as `tokenizer.ggml.model` = llama.

They come as tokenizer.model, or only as tokenizer.json. There scores are gone; what is left of them is the
order of the merges, in which the highest comes first: SentencePiece gives the n-th piece that it learns the
score -n. llama.cpp merges by score as SentencePiece does, so only that order counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gguf import Keys, TokenType

from registry.errors import DoesNotFit
from runtimes.convert.keys import flag, text
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.files import TokenizerFiles
from runtimes.convert.vocabulary.sentencepiece_model import ModelType, PieceType, SentencePieceModel
from runtimes.convert.vocabulary.tokenizer_json import AddedToken, Step, TokenizerJson
from runtimes.convert.vocabulary.tokens import SPACE, Token, Tokens, token_keys

_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
_KINDS = {
    PieceType.NORMAL: TokenType.NORMAL,
    PieceType.UNKNOWN: TokenType.UNKNOWN,
    PieceType.CONTROL: TokenType.CONTROL,
    PieceType.USER_DEFINED: TokenType.NORMAL,  # as llama.cpp's converter: added tokens say which count
    PieceType.UNUSED: TokenType.UNUSED,
    PieceType.BYTE: TokenType.BYTE,
}
_STRANGE = "Look for a GGUF of this model: its makers or llama.cpp's converter may know how to write it."


def sentence_piece_keys(found: TokenizerFiles, count: int | None, *, of_phi: bool = False) -> list[Key]:
    """The keys, without special tokens. `count` is the model's vocabulary, if it says; `of_phi`: it is one of
    Phi's, whose tokenizer.json has the last word on every added token.

    Raises MalformedFile, and DoesNotFit for a vocabulary that llama.cpp would cut texts by in another way.
    """
    if found.pieces is not None:
        tokens, prefixed = _of_model(found, found.pieces, count, of_phi=of_phi), found.pieces.prefixed
    else:
        assert found.tokenizer is not None  # a tokenizer has one of the two
        tokens, prefixed = _of_json(found, found.tokenizer, count), _is_prefixed(found.tokenizer)
    lists = token_keys(tokens.filled(), scored=True)
    keys = [text(Keys.Tokenizer.MODEL, "llama"), text(Keys.Tokenizer.PRE, "default"), *lists]
    if not prefixed:
        keys.append(flag(Keys.Tokenizer.ADD_PREFIX, value=False))
    return keys


def _of_model(found: TokenizerFiles, model: SentencePieceModel, count: int | None, *, of_phi: bool) -> Tokens:
    if model.model_type is not ModelType.BPE:
        raise DoesNotFit(
            f"The model's tokenizer.model is of SentencePiece's kind {model.model_type.name.lower()}; "
            "llama.cpp knows only bpe for language models.",
            hint=_STRANGE,
        )
    tokens = Tokens(len(model.pieces) if count is None else count)
    for number, piece in enumerate(model.pieces):
        tokens.put(number, Token(piece.text, _KINDS[piece.kind], piece.score))
    for token in found.added:
        tokens.put(token.number, Token(token.text, TokenType.USER_DEFINED, -1000.0))
    tokens.add(found.config.added)
    if found.tokenizer is not None and (of_phi or not found.config.added):
        # since version 5 Transformers writes them there only
        tokens.add(token for token in found.tokenizer.added if of_phi or not _known(tokens, token))
    return tokens


def _known(tokens: Tokens, token: AddedToken) -> bool:
    """Whether tokenizer.model has the token already, as one that is no text."""
    had = tokens.at(token.number)
    return had is not None and had.text == token.text and had.kind in (TokenType.CONTROL, TokenType.UNKNOWN)


def _of_json(found: TokenizerFiles, tokenizer: TokenizerJson, count: int | None) -> Tokens:
    added = (*found.config.added, *tokenizer.added)
    highest = max([*tokenizer.vocabulary.values(), *(token.number for token in added)], default=-1)
    tokens = Tokens(highest + 1 if count is None else count)
    _require_all_merges(tokenizer)
    scores = _scores(tokenizer)
    for name, number in tokenizer.vocabulary.items():
        kind = TokenType.BYTE if _BYTE.fullmatch(name) else TokenType.NORMAL
        tokens.put(number, Token(name, kind, scores.get(name, 0.0)))
    tokens.add(added)
    unknown = tokenizer.vocabulary.get(tokenizer.unknown or "")
    if unknown is not None:
        tokens.put(unknown, Token(tokenizer.unknown or "", TokenType.UNKNOWN))
    return tokens


def _require_all_merges(tokenizer: TokenizerJson) -> None:
    """Raise DoesNotFit for pieces that are made in one way only, though two others would give them as well:
    those were learnt by the library `tokenizers`. SentencePiece, and llama.cpp, put together whatever gives
    a piece."""
    merges = set(tokenizer.merges)
    known = tokenizer.vocabulary
    ways = missing = 0
    for made in {left + right for left, right in merges}:
        for cut in range(1, len(made)):
            pair = (made[:cut], made[cut:])
            if pair[0] in known and pair[1] in known:
                ways += 1
                missing += pair not in merges
    if missing * 10 > ways:  # of a model of SentencePiece's none is missing
        raise DoesNotFit(
            "The model's tokenizer falls back to bytes as SentencePiece does but merges by rules of its own, "
            "which llama.cpp has not.",
            hint=_STRANGE,
        )


def _scores(tokenizer: TokenizerJson) -> dict[str, float]:
    """Minus the place of each piece that is made by merging, then of single characters as they are
    numbered."""
    made = dict.fromkeys(left + right for left, right in tokenizer.merges)
    added = {token.text for token in tokenizer.added}
    others = sorted((number, name) for name, number in tokenizer.vocabulary.items() if name not in made)
    learned = [name for _, name in others if name not in added and not _BYTE.fullmatch(name)]
    ranked: Iterable[str] = (*(name for name in made if name not in added), *learned)
    return {name: -float(rank) for rank, name in enumerate(ranked)}


def _is_prefixed(tokenizer: TokenizerJson) -> bool:
    """Whether a text gets a blank in front. Raises DoesNotFit for a pipeline that is not SentencePiece's."""
    prefixed, replaced = False, False
    for step in (*tokenizer.normalizer, *tokenizer.pre_tokenizer):
        if step.kind == "Prepend" and step.text("prepend") == SPACE:
            prefixed = True
        elif _replaces_blanks(step):
            replaced = True
        elif step.kind == "Metaspace" and step.text("replacement") == SPACE and not step.flag("split", True):
            replaced, prefixed = True, step.text("prepend_scheme") != "never"
        elif not (replaced and _cuts_at_blanks(step)):
            raise DoesNotFit(
                f"The model's tokenizer has a step {step.kind} that SentencePiece has not, "
                "so llama.cpp would cut texts in another way.",
                hint=_STRANGE,
            )
    return prefixed


def _replaces_blanks(step: Step) -> bool:
    return (
        step.kind == "Replace"
        and step.settings.get("pattern") == {"String": " "}
        and step.text("content") == SPACE
    )


def _cuts_at_blanks(step: Step) -> bool:
    """Gemma's: there are no blanks left when it comes."""
    return step.kind == "Split" and step.settings.get("pattern") == {"String": " "}
