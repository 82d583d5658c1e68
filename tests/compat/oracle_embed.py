"""Embeddings as sentence-transformers makes them: Transformers, the mean over the tokens. Runs in the oracle's
environment.

    python -m tests.compat.oracle_embed FOLDER

reads a list of texts as JSON from stdin and writes a list of vectors.
"""

from __future__ import annotations

import json
import sys

import torch
import transformers


def main() -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
    model = transformers.AutoModel.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    vectors = []
    for text in json.load(sys.stdin):
        given = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            vectors.append(model(**given).last_hidden_state[0].mean(dim=0).tolist())
    json.dump(vectors, sys.stdout)


if __name__ == "__main__":
    main()
