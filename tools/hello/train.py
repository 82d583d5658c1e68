"""Train hello. Seeded, resumable, on the CPU.

    python -m tools.hello.train WORK [--minutes 60] [--steps 20000] [--seed 1]

WORK keeps the checkpoint; the same command goes on where it stopped. When the steps are done, WORK/hf holds
the model as a Hugging Face folder (F16 safetensors, tokenizer, chat template).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from tools.hello import tokenizer as tokens
from tools.hello.corpus import Corpus, load, problems
from tools.hello.dialogues import Dialogues

CONTEXT = 1024
BATCH_TOKENS = 4096
ROWS_SORTED = 1024
LEARNING_RATE = 2.5e-3
WARMUP_STEPS = 200
QUESTION_WEIGHT = 0.1
"""What the tokens of questions count beside the answers': enough to learn the words, not to guess them."""


def config(vocabulary: int) -> LlamaConfig:
    """hello's shape: K-quants need rows of 256, ONNX Runtime head sizes of 16."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=CONTEXT,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
        torch_dtype="float32",
    )


Batch = tuple[torch.Tensor, torch.Tensor]


def batches(source: Dialogues, tokenizer: Tokenizer, chance: random.Random) -> Iterator[Batch]:
    """Endless batches of conversations of like length, so that little is computed for padding."""
    while True:
        rows = [tokens.encode(tokenizer, source.next()) for _ in range(ROWS_SORTED)]
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[bool]]]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row[0]) > BATCH_TOKENS and groups[-1]:
                groups.append([])
            groups[-1].append(row)
        chance.shuffle(groups)
        yield from map(tensors, groups)


def tensors(rows: Sequence[tuple[list[int], list[bool]]]) -> Batch:
    """Ids and loss weights of some conversations, each (rows, longest)."""
    longest = min(CONTEXT, max(len(ids) for ids, _ in rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    weight = torch.zeros((len(rows), longest))
    for row, (row_ids, said) in enumerate(rows):
        length = min(len(row_ids), longest)
        ids[row, :length] = torch.tensor(row_ids[:length])
        weight[row, :length] = torch.tensor([1.0 if own else QUESTION_WEIGHT for own in said[:length]])
    return ids, weight


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    # rows end in padding and attention looks back only, so no token needs the mask
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    logits = model.lm_head(hidden.flatten(0, 1)).float()
    losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten(), reduction="none")
    return (losses * weight[:, 1:].flatten()).sum() / weight[:, 1:].sum()


def rate(step: int, steps: int) -> float:
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / WARMUP_STEPS
    done = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return LEARNING_RATE * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def train(corpus: Corpus, work: Path, *, steps: int, minutes: float, seed: int) -> bool:
    """Go on training until the steps are done or the time is over; whether they are done."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = tokens.train(corpus)
    model = LlamaForCausalLM(config(tokenizer.get_vocab_size()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.1)
    step = 0
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = int(state["step"])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, step {step}", flush=True)
    deadline = time.monotonic() + minutes * 60
    average = None
    while step < steps and time.monotonic() < deadline:
        # a source of its own for each stretch, so that a resumed run sees new conversations
        stretch = seed * 1_000_003 + step
        source = batches(Dialogues(corpus, stretch), tokenizer, random.Random(stretch))
        for _ in range(200):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, *next(source))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            average = float(loss) if average is None else 0.98 * average + 0.02 * float(loss)
        left = deadline - time.monotonic()
        print(f"step {step} loss {average:.4f} rate {rate(step, steps):.5f} {left:.0f}s left", flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(state, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)
    save(model, tokenizer, work / "hf")
    return step >= steps


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """The Hugging Face folder: F16 weights, tokenizer with its chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder, safe_serialization=True)
    tokens.save(tokenizer, folder)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens.END_OF_TEXT,
        "eos_token": tokens.END,
        "pad_token": tokens.END_OF_TEXT,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": tokens.CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Train hello.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    corpus = load()
    if found := list(problems(corpus)):
        print("\n".join(found))
        return 1
    torch.set_num_threads(os.cpu_count() or 1)
    done = train(corpus, given.work, steps=given.steps, minutes=given.minutes, seed=given.seed)
    return 0 if done else 2


if __name__ == "__main__":
    raise SystemExit(main())
