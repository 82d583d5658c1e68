"""hello with other metadata: the model that comes with slmctl, in a GGUF file of somebody else's making."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gguf

from slmctl.app.shipped import FOLDER

HELLO = FOLDER / "hello" / "hello.gguf"
BOS, EOS = 0, 2  # the numbers of its tokens that begin and end a text
_TOKENS = "tokenizer.ggml.tokens"
_TEMPLATE = "tokenizer.chat_template"
_ADD_BOS = "tokenizer.ggml.add_bos_token"


def write_hello(
    path: Path,
    *,
    chat_template: str | None,
    tokens: Mapping[int, str] | None = None,
    add_bos: bool = False,
) -> None:
    """Write hello to `path` with that chat template, or with none, and other texts for some of its tokens.

    `add_bos` has the tokenizer begin each text with the token for it.
    """
    reader = gguf.GGUFReader(HELLO)
    writer = gguf.GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (gguf.Keys.General.ARCHITECTURE, _TEMPLATE):
            continue
        value = field.contents()
        if field.name == _TOKENS:
            value = [(tokens or {}).get(number, text) for number, text in enumerate(value)]
        elif field.name == _ADD_BOS:
            value = add_bos
        kind = field.types[0]
        writer.add_key_value(field.name, value, kind, field.types[-1] if len(field.types) > 1 else None)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
