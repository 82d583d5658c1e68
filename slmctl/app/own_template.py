"""The chat template, in Jinja, that a package has as a file of its own.

Docker Model Runner keeps it in a layer, and folders for Transformers in `chat_template.jinja`. What the
author of a Modelfile said comes before it, the template in the weights behind it.
"""

from __future__ import annotations

from registry.errors import MalformedFile
from registry.store.reader import StoreReader
from slmctl.app.formats import engine_template
from slmctl.app.package import Variant

MAX_TEMPLATE_BYTES = 1 << 20


def packaged_template(store: StoreReader, variant: Variant) -> str | None:
    """The text of the file; None where there is none, or the author's words come before it.

    Raises MalformedFile, NotFound and other BadContent.
    """
    file = variant.chat_template
    if file is None or engine_template(variant.spec) is not None:
        return None
    try:
        return store.read_blob(file.descriptor, MAX_TEMPLATE_BYTES).decode()
    except UnicodeDecodeError:
        raise MalformedFile(f"The chat template {file.path} is not UTF-8.") from None
