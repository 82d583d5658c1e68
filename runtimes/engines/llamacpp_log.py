"""Which of llama.cpp's lines may be written to a file once it has prompts.

It quotes what it was asked, and what it said, in its complaints: an answer that its parser does not
understand ("unparsed ... output"), what a chat template raises ("got exception"), the tokens where a prompt
leaves a cached one ("old: ... new: ..."). So no list of bad lines would do: whole lines are kept where all of
their text is known here and only numbers vary; of the others, where they come from and how bad they are.
"""

from __future__ import annotations

import re

# the engine's own format strings, with # for a number
_SHAPES = """
selected slot by LRU, t_last = #
selected slot by LCP similarity, f_sim_best = # (> # thold), f_keep = #
processing task, is_child = #
new prompt, n_ctx_slot = #, n_keep = #, task.n_tokens = #
cached n_tokens = #, memory_seq_rm [#, end)
prompt processing, n_tokens = #, progress = #, t = # s / # tokens per second
n_gen = #, tg = # t/s, tg_3s = # t/s
prompt eval time = # ms / # tokens (# ms per token, # tokens per second)
eval time = # ms / # tokens (# ms per token, # tokens per second)
total time = # ms / # tokens
graphs reused = #
draft acceptance = # (# accepted / # generated), mean len = #
stop processing: n_tokens = #, truncated = #
stopped by limit, n_gen = #, n_predict = #
cancel task, id_task = #
all slots are idle
n_past = #, slot.prompt.tokens.size() = #, seq_id = #, pos_min = #
n_past was set to #
clearing prompt with # tokens
created context checkpoint # of # (pos_min = #, pos_max = #, n_tokens = #, size = # MiB)
restored context checkpoint (pos_min = #, pos_max = #, n_tokens = #, n_past = #, size = # MiB)
slot context shift, n_keep = #, n_left = #, n_discard = #
- cache state: # prompts, # MiB (limits: # MiB, # tokens, # est)
task id = #, error: request (# tokens) exceeds the available context size (# tokens), try increasing it
failed to restore state with size #
model loaded
initializing, n_slots = #, n_ctx_slot = #, kv_unified = 'false'
--cache-idle-slots requires --cache-ram, disabling
"""

_NUMBER = r"\s*-?\d+(?:\.\d+)?"

_ANY_SHAPE = "|".join(re.escape(shape).replace(r"\#", _NUMBER) for shape in _SHAPES.strip().splitlines())

_KNOWN = re.compile(rf"(?:id\s+\d+ \| task -?\d+ \| )?\s*(?:{_ANY_SHAPE})\s*")

_HEAD = re.compile(r"(\d+\.\d\d\.\d{3}\.\d{3} [EWID] (?:srv|slot|que|res|cmn) +[\w()]{1,14}): (.*)")

# how it dies: the place in its source, and what there was too little of
_CRASH = re.compile(
    r"(?:[\w./+-]*/)?(?P<place>(?:ggml|gguf|llama|common|server|clip|mtmd)[\w.-]*"
    r"\.(?:c|cc|cpp|cu|cuh|h|m):\d+): (?P<what>GGML_ASSERT|fatal error)\b"
    r"|(?P<thrown>terminate called after throwing an instance of 'std::[a-z_]+')"
    r"|\s*what\(\):\s+(?P<memory>std::bad_alloc)"
    r"|(?P<gpu>CUDA error: out of memory)"
)


def loggable(line: str) -> str | None:
    """As `Engine.loggable`."""
    if head := _HEAD.fullmatch(line):
        return line if _KNOWN.fullmatch(head[2]) else f"{head[1]}: [left out]"
    if crash := _CRASH.match(line):
        return ": ".join(said for said in crash.groups() if said)
    return None
