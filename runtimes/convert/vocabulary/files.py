"""What a model's files say about its tokenizer, parsed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import MalformedFile
from registry.formats.quote import quoted
from runtimes.convert.files import SourceFiles
from runtimes.convert.vocabulary.sentencepiece_model import SentencePieceModel, looks_like_one
from runtimes.convert.vocabulary.tokenizer_config import TokenizerConfig
from runtimes.convert.vocabulary.tokenizer_json import AddedToken, TokenizerJson, added_token

_MODEL = "tokenizer.model"
_TOKENIZER = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
_ADDED = "added_tokens.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """`pieces` is the vocabulary in tokenizer.model, `added` what added_tokens.json has beside it."""

    config: TokenizerConfig
    tokenizer: TokenizerJson | None
    pieces: SentencePieceModel | None
    added: tuple[AddedToken, ...]

    @classmethod
    def of(cls, files: SourceFiles) -> TokenizerFiles:
        """Raises MalformedFile and OperationFailed, as reading them does."""
        model = files.data(_MODEL) if _MODEL in files else b""
        return cls(
            config=TokenizerConfig.of(files.optional_json(_CONFIG), present=_CONFIG in files),
            tokenizer=TokenizerJson.of(files.json(_TOKENIZER)) if _TOKENIZER in files else None,
            # Llama 3's tokenizer.model is of another format, tiktoken's: tokenizer.json says the same
            pieces=SentencePieceModel.of(model) if looks_like_one(model) else None,
            added=_added(files.optional_json(_ADDED)),
        )


def _added(fields: Mapping[str, object]) -> tuple[AddedToken, ...]:
    return tuple(
        added_token(number, {"content": text, "special": False}, _ADDED) for text, number in fields.items()
    )


def declared_vocabulary(config: Mapping[str, object]) -> int | None:
    """The `vocab_size` of a config.json: the rows of the model's embedding. Raises MalformedFile."""
    inner = config.get("text_config")
    fields = {**config, **inner} if isinstance(inner, dict) else config
    value = fields.get("vocab_size")
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise MalformedFile(f"The config.json has {quoted(value)} as vocab_size.")
    return value
