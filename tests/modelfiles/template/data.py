"""The values that the templates of these tests read."""

from __future__ import annotations

from typing import Any

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather <now> & here",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "unit": {"type": ["string", "null"], "enum": ["C", "F", 1], "description": "of degrees"},
                "city": {"type": "string", "description": "where"},
                "days": {"anyOf": [{"type": "integer"}, {"type": "array"}]},
            },
        },
    },
}

PLAIN: dict[str, Any] = {
    "s": "hello",
    "empty": "",
    "unicode": "h\u00e9llo \u2713 \U0001f600",
    "markup": "<a href=\"x\">'&'\x00\x85=\u2028</a>",
    "lines": 'a\n\tb\\ "q" `r`\r\n',
    "n": {"$int": 42},
    "neg": {"$int": -7},
    "zero": {"$int": 0},
    "f": 1.5,
    "tiny": 1.25e-7,
    "huge": 1e21,
    "million": 1000000,
    "yes": True,
    "no": False,
    "null": None,
    "list": [1, "a", None, True, [2, 3]],
    "words": ["x", "yy", "", "z"],
    "ints": [{"$int": 1}, {"$int": 2}, {"$int": 3}],
    "none": [],
    "map": {"b": 1, "a": "x", "nil": None, "sub": {"k": "v", "deep": {"er": [1]}}},
    "nothing": {},
}

RECORDS: dict[str, Any] = {
    **PLAIN,
    "messages": {
        "$messages": [
            {"Role": "system", "Content": "Be <brief>."},
            {"Role": "user", "Content": "Weather?"},
            {
                "Role": "assistant",
                "Thinking": "hm",
                "ToolCalls": [
                    {
                        "ID": "c1",
                        "Function": {"Index": 0, "Name": "weather", "Arguments": {"city": "Ulm", "days": 2}},
                    }
                ],
            },
            {"Role": "tool", "Content": "sunny", "ToolName": "weather", "ToolCallID": "c1"},
        ]
    },
    "tools": {"$tools": [WEATHER_TOOL]},
}
