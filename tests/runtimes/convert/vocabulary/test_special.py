"""Special tokens, chat templates and generation defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from registry.errors import MalformedFile
from runtimes.convert.files import SourceFiles
from runtimes.convert.generation import sampling_keys
from tests.runtimes.convert.vocabulary.folders import added, keys_of, llama_config, write_json

TEXTS = ["<s>", "</s>", "<pad>", "<eot>", "[CLS]", "[SEP]", "a", "b"]
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def template(*single: str, pair: tuple[str, ...] = ()) -> dict[str, Any]:
    """A post-processor; A and B stand for the texts, everything else for a special token."""

    def items(names: tuple[str, ...]) -> list[dict[str, Any]]:
        kinds = {True: "Sequence", False: "SpecialToken"}
        return [{kinds[name in ("A", "B")]: {"id": name, "type_id": 0}} for name in names]

    return {"type": "TemplateProcessing", "single": items(single), "pair": items(pair), "special_tokens": {}}


def folder_with(
    folder: Path, post_processor: object, settings: dict[str, Any] | None, **config: object
) -> dict[str, Any]:
    """The keys about special tokens, by the end of their names."""
    special = TEXTS[:6]
    tokenizer = {
        "added_tokens": [added(number, text) for number, text in enumerate(special)],
        "pre_tokenizer": GPT2,
        "post_processor": post_processor,
        "model": {"type": "BPE", "vocab": {text: number for number, text in enumerate(TEXTS)}, "merges": []},
    }
    write_json(folder, "tokenizer.json", tokenizer)
    if settings is not None:
        write_json(folder, "tokenizer_config.json", settings)
    keys = keys_of(folder, llama_config(len(TEXTS), **config))
    ends = ("_token_id", "add_bos_token", "add_eos_token", "add_sep_token")
    return {
        name.removeprefix("tokenizer.ggml."): value for name, value in keys.items() if name.endswith(ends)
    }


def test_roles_are_found_by_their_text_then_by_the_config(tmp_path: Path) -> None:
    settings = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": "</s>", "unk_token": "nowhere"}
    made = folder_with(tmp_path, None, settings, bos_token_id=7, pad_token_id=2, eos_token_id=[1, 3])
    assert made == {"bos_token_id": 0, "eos_token_id": 1, "padding_token_id": 2}


@pytest.mark.parametrize("number", [-1, 8, 2**40, True, "1", None])
def test_numbers_that_are_no_token_are_left_out(number: object, tmp_path: Path) -> None:
    assert folder_with(tmp_path, None, None, pad_token_id=number) == {}


def test_without_tokenizer_config_only_numbers_of_the_config_count(tmp_path: Path) -> None:
    made = folder_with(tmp_path, template("<s>", "A"), None, bos_token_id=0)
    assert made == {"bos_token_id": 0, "add_bos_token": True}


def test_a_template_wins_over_what_the_settings_say(tmp_path: Path) -> None:
    settings = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False, "add_eos_token": True}
    processor = {
        "type": "Sequence",
        "processors": [GPT2, template("<s>", "A", pair=("<s>", "A", "<s>", "B"))],
    }
    made = folder_with(tmp_path, processor, settings)
    adds = {"add_bos_token": True, "add_eos_token": False, "add_sep_token": False}
    assert made == {"bos_token_id": 0, "eos_token_id": 1, **adds}


def test_what_is_put_behind_a_text_is_its_end(tmp_path: Path) -> None:
    """As in Qwen3's embedding models, where <|im_end|> only ends a turn."""
    made = folder_with(tmp_path, template("A", "<pad>"), {"eos_token": "<eot>"})
    assert made == {"eos_token_id": 2, "eot_token_id": 3, "add_eos_token": True}


def test_bert(tmp_path: Path) -> None:
    settings = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "<pad>"}
    processor = template("[CLS]", "A", "[SEP]", pair=("[CLS]", "A", "[SEP]", "B", "[SEP]"))
    made = folder_with(tmp_path, processor, settings)
    ids = {"bos_token_id": 4, "eos_token_id": 5, "seperator_token_id": 5, "padding_token_id": 2}
    assert made == {**ids, "add_bos_token": True, "add_eos_token": True, "add_sep_token": False}


def test_one_text_behind_another(tmp_path: Path) -> None:
    processor = template("<s>", "A", pair=("<s>", "A", "</s>", "</s>", "B"))
    made = folder_with(tmp_path, processor, {"bos_token": "<s>", "eos_token": "</s>"})
    assert made["add_sep_token"] is True
    assert made["seperator_token_id"] == 1


@pytest.mark.parametrize(
    "processor",
    [
        {"type": "TemplateProcessing"},
        {"type": "TemplateProcessing", "single": 3, "pair": [None]},
        {"type": "TemplateProcessing", "single": [1, {"SpecialToken": []}], "pair": [{}, {}, {}]},
        {"type": "RobertaProcessing", "cls": [], "sep": 4},
        {"type": "Something"},
    ],
)
def test_strange_post_processors_do_no_harm(processor: object, tmp_path: Path) -> None:
    assert folder_with(tmp_path, processor, {"bos_token": "<s>"})["bos_token_id"] == 0


@pytest.mark.parametrize(
    "processor", [[], "x", {"no": "type"}, {"type": "Sequence"}, {"type": "Sequence", "processors": [1]}]
)
def test_what_is_no_pipeline_is_a_sentence(processor: object, tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match="post_processor"):
        folder_with(tmp_path, processor, None)


def test_smollm_begins_without_a_token(tmp_path: Path) -> None:
    """Of its 49,152 tokens the first would be put in front of every text."""
    settings = {"bos_token": "<s>", "add_bos_token": True}
    folder_with(tmp_path, None, settings)
    keys = keys_of(tmp_path, llama_config(49152))
    assert keys["tokenizer.ggml.add_bos_token"] is False
    assert keys_of(tmp_path, llama_config(49152, model_type="qwen2"))["tokenizer.ggml.add_bos_token"] is True


def templates(folder: Path) -> dict[str, Any]:
    folder_with(folder, None, None)
    return {
        name: value for name, value in keys_of(folder, llama_config(8)).items() if "chat_template" in name
    }


def test_a_template_in_the_settings(tmp_path: Path) -> None:
    folder_with(tmp_path, None, {"chat_template": "{{ x }}"})
    keys = keys_of(tmp_path, llama_config(8))
    assert keys["tokenizer.chat_template"] == "{{ x }}"


def test_several_templates_in_the_settings(tmp_path: Path) -> None:
    listed = [{"name": "tool-use", "template": "T"}, {"name": "default", "template": "D"}, {"name": 3}, "x"]
    folder_with(tmp_path, None, {"chat_template": listed})
    keys = keys_of(tmp_path, llama_config(8))
    assert keys["tokenizer.chat_template.tool_use"] == "T"
    assert keys["tokenizer.chat_templates"] == ["tool_use"]
    assert keys["tokenizer.chat_template"] == "D"


def test_a_file_wins(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("F\u00fcr {{ x }}\n", encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("R")
    folder_with(tmp_path, None, {"chat_template": "old"})
    keys = keys_of(tmp_path, llama_config(8))
    assert keys["tokenizer.chat_template"] == "F\u00fcr {{ x }}\n"
    assert keys["tokenizer.chat_template.rag"] == "R"


def test_no_template_is_no_key(tmp_path: Path) -> None:
    assert templates(tmp_path) == {}


def test_half_a_character_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "\\ud800"}')
    with pytest.raises(MalformedFile, match="half a character"):
        templates(tmp_path)


def sampling(folder: Path, text: str) -> dict[str, object]:
    (folder / "generation_config.json").write_text(text)
    return {
        key.name.removeprefix("general.sampling."): key.value
        for key in sampling_keys(SourceFiles.of_folder(folder))
    }


def test_generation_defaults(tmp_path: Path) -> None:
    text = '{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05, "do_sample": true}'
    assert sampling(tmp_path, text) == {"top_k": 20, "top_p": 0.95, "temp": 0.6, "penalty_repeat": 1.05}


@pytest.mark.parametrize(
    "text",
    ['{"top_k": 1.5, "top_p": "x", "temperature": true}', '{"top_k": 1e99, "min_p": NaN}', "[]", "{", ""],
)
def test_strange_generation_defaults_are_left_out(text: str, tmp_path: Path) -> None:
    assert sampling(tmp_path, text) == {}
