"""What an engine is not given, whoever asks: numbers that bring one down, or make it say nonsense.

Engines take some of them without a word: token ids that do not exist are passed over, two thousand million
alternatives are written down as far as the vocabulary goes, an empty stop text ends every answer at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from modelfiles.spec import PARAMETERS, Kind, ParameterValue
from registry.errors import UsageError

MOST_ALTERNATIVES = 20
MOST_BIASED = 1024
MOST_BIAS = 100.0
MOST_STOPS = 64
MOST_STOP_CHARACTERS = 1024
MOST_TOOLS = 256
MOST_TOOL_CHARACTERS = 1 << 20
MOST_SEED = 2**63 - 1

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 1000.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "repeat_penalty": (0.0, 1000.0),
    "presence_penalty": (-1000.0, 1000.0),
    "frequency_penalty": (-1000.0, 1000.0),
    "top_k": (-1, 2**31 - 1),
    "num_predict": (-2, 2**31 - 1),
    "num_keep": (-1, 2**31 - 1),
    "repeat_last_n": (-1, 2**31 - 1),
    "seed": (-(2**63), MOST_SEED),
}


def check_parameters(parameters: Mapping[str, ParameterValue], context: int) -> None:
    """Raise UsageError for a parameter that is no number, or out of its range."""
    for name, value in parameters.items():
        if name == "stop":
            _check_stops(value)
            continue
        limits = _RANGES.get(name)
        if limits is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"The parameter {name} is no finite number.")
        if PARAMETERS[name] is not Kind.FLOAT and not isinstance(value, int):
            raise UsageError(f"The parameter {name} takes {PARAMETERS[name].value}.")
        low, high = limits
        if name in ("num_keep", "repeat_last_n"):
            high = context
        if not low <= value <= high:
            raise UsageError(f"The parameter {name} must lie between {low:.15g} and {high:.15g}.")


def check_top_logprobs(most: int | None) -> None:
    if most is not None and not 0 <= most <= MOST_ALTERNATIVES:
        raise UsageError(f"top_logprobs must be between 0 and {MOST_ALTERNATIVES}")


def check_bias(bias: Mapping[int, float], vocabulary: int | None) -> None:
    """Raise UsageError for token ids that there are not, and for what is no number from -100 to 100."""
    if len(bias) > MOST_BIASED:
        raise UsageError(f"logit_bias has more than {MOST_BIASED} tokens.")
    check_tokens(tuple(bias), vocabulary)
    if not all(math.isfinite(value) and abs(value) <= MOST_BIAS for value in bias.values()):
        raise UsageError("logit_bias takes numbers from -100 to 100.")


def check_tokens(tokens: Sequence[int], vocabulary: int | None) -> None:
    """Raise UsageError for an id outside of the vocabulary."""
    most = vocabulary if vocabulary is not None else 2**31
    if tokens and not 0 <= min(tokens) <= max(tokens) < most:
        raise UsageError(f"A token id lies outside of the model's vocabulary, 0 to {most - 1}.")


def check_tools(tools: Sequence[Mapping[str, object]]) -> None:
    """Raise UsageError for tools that are none, too many, or twice the same."""
    if len(tools) > MOST_TOOLS:
        raise UsageError(f"There are more than {MOST_TOOLS} tools.")
    names = []
    for number, tool in enumerate(tools):
        function = tool.get("function")
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(name, str) or not name or len(name) > 256:
            raise UsageError(f"The tool number {number} has no function with a name.")
        names.append(name)
    if len(set(names)) < len(names):
        raise UsageError("Two tools have the same name.")
    try:
        size = len(json.dumps(tools, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise UsageError("The tools are no JSON that can be read.") from None
    if size > MOST_TOOL_CHARACTERS:
        raise UsageError(f"The tools have more than {MOST_TOOL_CHARACTERS >> 20} MiB.")


def check_calls(messages: Sequence[Mapping[str, object]]) -> None:
    """Raise UsageError for a call in an answer of before whose arguments are no object.

    Templates and engines read them, and fail on anything else.
    """
    for number, message in enumerate(messages):
        calls = message.get("tool_calls")
        for call in calls if isinstance(calls, Sequence) and not isinstance(calls, str) else ():
            function = call.get("function") if isinstance(call, Mapping) else None
            arguments = function.get("arguments") if isinstance(function, Mapping) else None
            if isinstance(arguments, str):
                try:
                    arguments = json.loads(arguments)
                except (ValueError, RecursionError):
                    arguments = None
            if not isinstance(arguments, Mapping):
                raise UsageError(
                    f"Message number {number} calls a tool with arguments that are no JSON object."
                )


def _check_stops(stops: ParameterValue) -> None:
    if not isinstance(stops, tuple) or not all(isinstance(each, str) for each in stops):
        raise UsageError("The parameter stop takes texts.")
    if len(stops) > MOST_STOPS:
        raise UsageError(f"There are more than {MOST_STOPS} stop texts.")
    if not all(0 < len(each) <= MOST_STOP_CHARACTERS for each in stops):
        raise UsageError(f"A stop text has 1 to {MOST_STOP_CHARACTERS} characters.")
