"""Images beside what else an ask can say, and prompts that llama.cpp dies of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.errors import UsageError
from slmctl.app.asks import ChatAsk
from slmctl.server.scheduler import Served
from slmctl.server.seeing import mark_of
from tests.slmctl.cli.program import Program
from tests.slmctl.server.asking import Asker, end_of, text_of
from tests.slmctl.server.models import SEER
from tests.slmctl.server.test_images import BLUE, RED
from tools.random_model import write_random_model
from tools.random_projector import write_random_projector

SCHEMA = {
    "type": "object",
    "properties": {"x": {"type": "boolean"}},
    "required": ["x"],
    "additionalProperties": False,
}
BARE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture(scope="module")
def asker(stocked: Program) -> Iterator[Asker]:
    asker = Asker(stocked, parallel=2)
    yield asker
    asker.close()


def looking(*parts: str | dict[str, object]) -> list[dict[str, object]]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts],
        }
    ]


def image(data: str) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def test_an_image_counts_beside_a_schema(asker: Asker) -> None:
    """The prompt of both has the same tokens, so the image was seen as one."""
    parameters = {"num_predict": 60}
    free = asker.chat(SEER, ChatAsk(messages=looking("look", image(RED)), parameters=parameters))
    ask = ChatAsk(messages=looking("look", image(RED)), schema=SCHEMA, parameters=parameters)
    shaped = asker.chat(SEER, ask)
    assert type(json.loads(text_of(shaped))["x"]) is bool
    assert end_of(shaped).prompt_tokens == end_of(free).prompt_tokens


def test_several_images(asker: Asker) -> None:
    ask = ChatAsk(messages=looking(image(RED), "and", image(BLUE)), parameters={"num_predict": 4})
    assert end_of(asker.chat(SEER, ask)).generated_tokens == 4


def test_a_template_of_gos_sees_too(asker: Asker) -> None:
    """As models from Ollama's library do: what is said depends on the image."""
    template = "{{ range .Messages }}{{ .Content }} {{ end }} now answer"
    parameters = {"num_predict": 12, "temperature": 0.0}

    def said(*parts: str | dict[str, object]) -> str:
        ask = ChatAsk(messages=looking(*parts), template=template, parameters=parameters)
        return text_of(asker.chat(SEER, ask))

    assert said("look", image(RED)) == said("look", image(RED))
    assert len({said("look", image(RED)), said("look", image(BLUE)), said("look")}) == 3
    assert said("look", image(RED), image(BLUE))


def test_a_template_that_leaves_an_image_out_is_told(asker: Asker) -> None:
    with pytest.raises(UsageError, match="leaves an image out"):
        asker.chat(SEER, ChatAsk(messages=looking("look", image(RED)), template="{{ .System }} answer"))


def test_the_engines_own_mark_is_no_text(asker: Asker) -> None:
    async def mark(served: Served) -> str:
        return await mark_of(served.engine)

    ask = ChatAsk(
        messages=looking("look " + asker.with_model(SEER, mark), image(RED)),
        template="{{ range .Messages }}{{ .Content }}{{ end }}!",
    )
    with pytest.raises(UsageError, match="mark"):
        asker.chat(SEER, ask)


def test_a_prompt_never_ends_in_an_image(slmctl: Program, tmp_path: Path) -> None:
    """llama.cpp's process dies of such a prompt."""
    weights, projector = tmp_path / "seer.gguf", tmp_path / "mmproj.gguf"
    write_random_model(weights, chat_template=BARE)
    write_random_projector(projector)
    modelfile = tmp_path / "Modelfile"
    modelfile.write_text(f"FROM {weights}\nFROM {projector}\n", encoding="utf-8")
    done = slmctl("create", "blunt", "-f", str(modelfile))
    assert done.code == 0, done.err
    asker = Asker(slmctl)
    try:
        with pytest.raises(UsageError, match="ends the prompt with the image"):
            asker.chat("blunt", ChatAsk(messages=looking("look", image(RED))))
        before = asker.pids()
        ask = ChatAsk(messages=looking(image(RED), "what is it?"), parameters={"num_predict": 2})
        assert end_of(asker.chat("blunt", ask)).generated_tokens
        assert asker.pids() == before
    finally:
        asker.close()
