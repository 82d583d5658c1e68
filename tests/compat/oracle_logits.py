"""Logits as Transformers computes them. Runs in the oracle's environment.

    python -m tests.compat.oracle_logits TOKENS

reads {"folder of a model": "file to write"} as JSON from stdin, and writes for each model the logits of so many
tokens, in F32, as numpy keeps arrays.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch
import transformers


def main() -> None:
    count = int(sys.argv[1])
    for folder, out in json.load(sys.stdin).items():
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            logits = model(torch.arange(3, 3 + count)[None]).logits[0]
        np.save(out, logits.float().numpy())


if __name__ == "__main__":
    main()
