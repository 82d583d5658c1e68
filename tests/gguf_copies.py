"""Small models with other metadata: hello, which comes with slmctl, and others in files of somebody else's making."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf

from slmctl.app.ships import FOLDER
from tests.modelfiles.template.golden import tokens

HELLO = FOLDER / "hello" / "hello.gguf"
_BOS, _EOS = 0, 2  # the numbers of its tokens that begin and end a text
_TOKENS = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"
_ADD_BOS = "tokenizer.ggml.add_bos_token"


def tokens_of_format(name: str) -> dict[int, str]:
    """The texts that hello's tokens which begin and end a text have in a chat format, where it names them."""
    return {number: text for number, text in zip((_BOS, _EOS), tokens(name), strict=True) if text is not None}


def write_copy(
    path: Path,
    *,
    chat_template: str | None,
    of: Path = HELLO,
    texts: Mapping[int, str] | None = None,
    add_bos: bool | None = None,
) -> None:
    """Write a model to `path` with that chat template, or with none, and other `texts` for its tokens.

    `add_bos` says whether the tokenizer begins each text with the token for it; None leaves that as it is.
    """
    reader = gguf.GGUFReader(of)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (gguf.Keys.General.ARCHITECTURE, _TEMPLATE):
            continue
        if field.name == _ADD_BOS and add_bos is not None:
            continue
        value = field.contents()
        if field.name == _TOKENS:
            value = [(texts or {}).get(number, text) for number, text in enumerate(value)]
        kind = field.types[0]
        writer.add_key_value(field.name, value, kind, field.types[-1] if len(field.types) > 1 else None)
    if add_bos is not None:
        writer.add_add_bos_token(add_bos)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
