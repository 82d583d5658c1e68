"""The engine splits every text into the same tokens as the tokenizer that hello was trained with."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from slmctl.app.ships import FOLDER
from tools.hello.corpus import load
from tools.hello.evaluate import client_for

LINES = 1000
_PIECES = (
    *"aZ09 .,;:!?'\"()[]{}<>|/\\-_+=*&^%$#@~`",
    *("  ", "   ", "\t", "\n", "\n\n", " \n", "\r\n", "\u00a0", "\u2003", "\u200b", "\ufeff"),
    *("'s", "'ll", "'RE", "don't", "123", "4.5", "Q4_0", "slmctl", "naïve", "straße", "Ελλάδα", "日本語"),
    *(
        "한국어",
        "عربى",
        "हिन्दी",
        "ไทย",
        "👍",
        "👩‍👩‍👧",
        "🇩🇪",
        "e\u0301",
        "\u0301",
        "ﬁ",
        "½",
        "²",
        "Ⅷ",
        "٣",
        "\U0001d54f",
        "\x01",
        "\x7f",
    ),
)


def lines() -> list[str]:
    """Half of them questions of the corpus, half of them of whatever else a text may have; never empty."""
    chance = random.Random(20)
    corpus = load()
    asked = [
        *corpus.unknown_held_out,
        *(text for fact in corpus.facts for text in (*fact.held_out, fact.answer)),
    ]
    strange = ["".join(chance.choices(_PIECES, k=chance.randint(1, 30))) for _ in range(LINES // 2)]
    return [*chance.sample(asked, LINES // 2), *strange]


def test_the_engine_tokenizes_as_hellos_tokenizer_does() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "hello" / "tokenizer.json"))
    with (
        tempfile.TemporaryDirectory(prefix="slm") as folder,
        client_for(FOLDER / "hello" / "hello.gguf", Path(folder)) as client,
    ):
        different = [
            (line, ours, theirs)
            for line in lines()
            if (ours := list(client.tokenize(line))) != (theirs := tokenizer.encode(line).ids)
        ]
    assert len(lines()) == LINES
    assert different == []
