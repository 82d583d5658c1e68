"""llama.cpp's own convert_hf_to_gguf.py on many models in one process. Runs in the oracle's environment.

    python -m tests.compat.oracle_convert

reads lines of JSON from stdin: {"model": folder, "out": file, "type": "f16", "pre": "smollm" or null,
"more": further options}. The converter
knows a byte-level BPE tokenizer by a hash of what it makes of one text, so of vocabularies too: `pre` is the answer
for those that nobody published. For each line one is written: {"knew": the name, by itself or null, "error": null}.
"""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from typing import Any

import convert_hf_to_gguf as program
from conversion.base import TextModel


def main() -> None:
    theirs = TextModel.get_vocab_base_pre
    for line in sys.stdin:
        job = json.loads(line)
        knew: list[str] = []

        def answer(self: Any, tokenizer: Any, job: dict[str, Any] = job, knew: list[str] = knew) -> str:
            try:
                knew.append(theirs(self, tokenizer))
            except NotImplementedError:
                if job["pre"] is None:
                    raise
                return str(job["pre"])
            return knew[-1]

        TextModel.get_vocab_base_pre = answer
        sys.argv = ["convert", job["model"], "--outtype", job["type"], "--outfile", job["out"], *job["more"]]
        error = None
        with contextlib.redirect_stdout(sys.stderr):
            try:
                program.main()
            except (Exception, SystemExit):  # noqa: BLE001  # whatever it is, the test tells it
                error = traceback.format_exc()
        sys.stdout.write(json.dumps({"knew": knew[-1] if knew else None, "error": error}) + "\n")


if __name__ == "__main__":
    main()
