from __future__ import annotations

import pytest

from registry.errors import UsageError
from slmctl.app.ask_limits import check_calls


def calling(arguments: object) -> list[dict[str, object]]:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]


@pytest.mark.parametrize("arguments", ["{}", '{"a": [1]}', {}, {"a": 1}])
def test_arguments_are_an_object(arguments: object) -> None:
    check_calls(calling(arguments))


@pytest.mark.parametrize("arguments", ["", "=", "[]", "1", "null", "[" * 100_000, None, [], 1])
def test_other_arguments_never_reach_a_template(arguments: object) -> None:
    with pytest.raises(UsageError, match="calls a tool with arguments"):
        check_calls(calling(arguments))
