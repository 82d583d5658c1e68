"""Modelfile texts for properties: near misses of the grammar, and whole files that it takes."""

from __future__ import annotations

from hypothesis import strategies as st

from modelfiles.format import Line
from modelfiles.syntax import KEYWORDS
from modelfiles.words import ROLES

_FRAGMENTS = (
    *KEYWORDS,
    *("from", "system", "user", "assistant", "stop", "model", "x", "_", "-", "'", "\\", "\\n"),
    *(" ", " ", " ", "\t", "\n", "\n", "\n", "\r", "\r\n", '"', '"', '"""', '"""', "#", "# "),
    *(
        "\N{NO-BREAK SPACE}",
        "\N{ZERO WIDTH JOINER}",
        "\x07",
        "\u2028",
        "\x1c",
        "\x85",
        "é",
        "你",
        "\U0001f44b",
    ),
)
_LINES = st.sampled_from([f"{keyword} " for keyword in KEYWORDS] + ["MESSAGE user ", "PARAMETER stop "])

fragments = st.lists(st.sampled_from(_FRAGMENTS), max_size=40).map("".join)
"""Pieces of the grammar in any order, most of them refused."""

line_fragments = st.lists(
    st.builds(str.__add__, _LINES, st.lists(st.sampled_from(_FRAGMENTS), max_size=8).map("".join)), max_size=6
).map(lambda lines: "FROM m\n" + "\n".join(lines))
"""Instructions with pieces of the grammar for values, about half of them accepted."""

texts = st.one_of(
    fragments,
    line_fragments,
    fragments.map("FROM m\n".__add__),
    st.text(),
    st.text(max_size=60).map("FROM m\nSYSTEM ".__add__),
)

values = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text('a" \n\r\t#\\', max_size=12),
    st.lists(st.sampled_from(_FRAGMENTS), max_size=6).map("".join),
)

_parameter_names = st.text("abzAZ019_", max_size=8)
lines = st.one_of(
    st.builds(
        Line,
        st.sampled_from([each for each in KEYWORDS if each not in ("PARAMETER", "MESSAGE")]),
        st.none(),
        values,
    ),
    st.builds(Line, st.just("PARAMETER"), _parameter_names, values),
    st.builds(Line, st.just("MESSAGE"), st.sampled_from(ROLES), values),
)

comments = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(
    lambda text: "#" + text.rstrip(" \t")
)
