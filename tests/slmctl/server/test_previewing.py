"""A chat template that a conversation leads into a loop costs its own worker, and nobody else's patience."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from registry.errors import MalformedFile
from runtimes import protocol
from runtimes.errors import EngineRefused
from runtimes.template_limits import TemplateLimits
from slmctl.app.asks import ChatAsk
from slmctl.server.previewing import check_prompt
from slmctl.server.scheduler import Served
from tests.gguf_copies import write_copy
from tests.processes import wait_until_gone
from tests.slmctl.cli.program import Program
from tests.slmctl.server.asking import Asker, end_of

SOON = TemplateLimits(computing_seconds=math.inf, deadline_seconds=0.5)
LOOPS = """\
{%- for message in messages %}{{ message.content }}{% endfor %}
{%- if messages | length == 12 %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}{% endif %}
{%- if messages | length == 13 %}{{ raise_exception('three are too many') }}{% endif %}
"""


def messages(count: int) -> list[dict[str, object]]:
    return [{"role": "user", "content": "Hi"}] * count


def test_it_is_stopped_and_the_model_comes_back(slmctl: Program, tmp_path: Path) -> None:
    model = tmp_path / "loops.gguf"
    write_copy(model, chat_template=LOOPS)
    assert slmctl("create", "loops", "--from", str(model)).code == 0
    asker = Asker(slmctl)
    try:
        ask = ChatAsk(messages=messages(1), parameters={"num_predict": 2})
        assert end_of(asker.chat("loops", ask)).generated_tokens
        [pid] = asker.pids().values()
        assert pid is not None

        async def refuse(served: Served) -> None:
            await check_prompt(served.engine, protocol.chat_request(messages(13)), SOON)

        with pytest.raises(EngineRefused, match="refuses this conversation: three are too many"):
            asker.with_model("loops", refuse)
        os.kill(pid, 0)  # which is no reason to end it

        async def loop(served: Served) -> None:
            await check_prompt(served.engine, protocol.chat_request(messages(12)), SOON)

        with pytest.raises(MalformedFile, match="chat template"):
            asker.with_model("loops", loop)
        assert wait_until_gone(pid, 10.0)
        assert end_of(asker.chat("loops", ask)).generated_tokens
        assert [*asker.pids().values()] != [pid]
    finally:
        asker.close()
