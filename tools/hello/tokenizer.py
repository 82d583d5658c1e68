"""hello's tokenizer: byte-level BPE with GPT-2's pre-tokenizer, trained on its own corpus.

GPT-2's pre-tokenizer is what llama.cpp calls `gpt-2`, so both split every text alike.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.hello.corpus import Corpus
from tools.hello.dialogues import REFUSALS, Dialogue

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (END_OF_TEXT, START, END)
VOCABULARY = 2048

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train(corpus: Corpus) -> Tokenizer:
    """The tokenizer for `corpus`; the same corpus gives the same one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [*REFUSALS, *corpus.unknown]
    for fact in corpus.facts:
        texts += [fact.answer] * 4
        texts += fact.questions
        texts += [question.lower() for question in fact.questions]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, dialogue: Dialogue) -> tuple[list[int], list[bool]]:
    """Token ids of a conversation, and which of them hello has to say itself."""
    ids: list[int] = []
    said: list[bool] = []

    def add(text: str, own: bool) -> None:
        piece = tokenizer.encode(text).ids
        ids.extend(piece)
        said.extend([own] * len(piece))

    if dialogue.system is not None:
        add(f"{START}system\n{dialogue.system}{END}\n", False)
    for turn in dialogue.turns:
        add(f"{START}user\n{turn.question}{END}\n{START}assistant\n", False)
        add(f"{turn.answer}{END}", True)
        add("\n", False)
    return ids, said


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json as Hugging Face keeps it."""
    tokenizer.save(str(folder / "tokenizer.json"))
