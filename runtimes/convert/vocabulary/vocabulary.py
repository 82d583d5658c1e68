"""The tokenizer of a model in Hugging Face's form, as keys of a GGUF header."""

from __future__ import annotations

from collections.abc import Mapping

from gguf import Keys

from registry.errors import DoesNotFit, MalformedFile, NotFound
from registry.formats.quote import quoted
from runtimes.convert.files import SourceFiles
from runtimes.convert.keys import flag, whole
from runtimes.convert.values import Key
from runtimes.convert.vocabulary.byte_pair import byte_pair_keys
from runtimes.convert.vocabulary.files import TokenizerFiles, declared_vocabulary
from runtimes.convert.vocabulary.sentence_pieces import sentence_piece_keys
from runtimes.convert.vocabulary.special import normalizer_keys, special_keys
from runtimes.convert.vocabulary.templates import template_keys
from runtimes.convert.vocabulary.tokenizer_json import MAX_TOKENS
from runtimes.convert.vocabulary.word_piece import word_piece_keys

_LLAMA = frozenset({"llama", "mistral"})
_GRANITE_VOCABULARY = 49152
_CODE_LLAMA_VOCABULARY = 32016
_CODE_LLAMA_EOT = 32010


def vocabulary(files: SourceFiles, config: Mapping[str, object]) -> tuple[Key, ...]:
    """The keys `tokenizer.*` of a model, each once; `config` is its config.json.

    Raises NotFound where there is no tokenizer, MalformedFile for one that is none or does not fit the model,
    DoesNotFit for one that llama.cpp has no equal of, OperationFailed where a file cannot be read.
    """
    found = TokenizerFiles.of(files)
    count = declared_vocabulary(config)
    keys = _model_keys(files, found, config, count)
    tokens = next(key.value for key in keys if key.name == Keys.Tokenizer.LIST)
    assert isinstance(tokens, list)
    keys += special_keys(found, config, len(tokens))
    keys += template_keys(files, found.config.template)
    keys += normalizer_keys(found)
    return tuple(_of_llama(keys, found, len(tokens)) if _is_llama(config) else keys)


def _is_llama(config: Mapping[str, object]) -> bool:
    kind = config.get("model_type")
    return isinstance(kind, str) and kind in _LLAMA


def _model_keys(
    files: SourceFiles, found: TokenizerFiles, config: Mapping[str, object], count: int | None
) -> list[Key]:
    if found.pieces is not None:
        return sentence_piece_keys(found, count, of_phi=config.get("model_type") == "phi3")
    if found.tokenizer is None:
        raise NotFound(
            f"{files.shown} has no tokenizer: neither tokenizer.json nor a tokenizer.model of SentencePiece.",
            hint="Download the model again from where its makers publish it.",
        )
    if found.tokenizer.model == "WordPiece":
        return [_kinds_of_text(config), *word_piece_keys(found.tokenizer, found.config, count)]
    if found.tokenizer.model != "BPE":
        raise DoesNotFit(
            f"The model's tokenizer is of kind {quoted(found.tokenizer.model)}, which is not converted; "
            "BPE, SentencePiece and WordPiece are.",
            hint="Look for a GGUF of this model, made by somebody who knows its tokenizer.",
        )
    if found.tokenizer.byte_fallback:
        return sentence_piece_keys(found, count)
    return byte_pair_keys(found.tokenizer, found.config, count)


def _kinds_of_text(config: Mapping[str, object]) -> Key:
    """How many kinds of text BERT tells from each other: the first and the second of two."""
    value = config.get("type_vocab_size", 1)
    if type(value) is not int or not 1 <= value <= MAX_TOKENS:
        raise MalformedFile(f"The config.json has {quoted(value)} as type_vocab_size.")
    return whole(Keys.Tokenizer.TOKEN_TYPE_COUNT, value)


def _of_llama(keys: list[Key], found: TokenizerFiles, count: int) -> list[Key]:
    """What llama.cpp's converter settles for models of Llama's form alone."""
    settled: list[Key] = []
    if found.config.add_prefix_space is not None:
        settled.append(flag(Keys.Tokenizer.ADD_PREFIX, found.config.add_prefix_space))
    if count == _CODE_LLAMA_VOCABULARY:
        settled.append(whole(Keys.Tokenizer.EOT_ID, _CODE_LLAMA_EOT))
    if count == _GRANITE_VOCABULARY:  # SmolLM2 has as many tokens and means the same
        settled.append(flag(Keys.Tokenizer.ADD_BOS, value=False))
    names = {key.name for key in settled}
    return [*(key for key in keys if key.name not in names), *settled]
