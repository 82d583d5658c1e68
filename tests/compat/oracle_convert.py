"""llama.cpp's own convert_hf_to_gguf.py, and convert_lora_to_gguf.py, on many models in one process. Runs in the
oracle's environment.

    python -m tests.compat.oracle_convert

reads lines of JSON from stdin: {"model": folder, "out": file, "type": "f16", "pre": "smollm" or null, "base": folder
of an adapter's model or null}. The converter knows a byte-level BPE tokenizer by a hash of what it makes of one text,
so of vocabularies too: `pre` is the answer for those that nobody published. For each line one is written:
{"knew": the name that it knew by itself or null, "error": null}.
"""

from __future__ import annotations

import contextlib
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import convert_hf_to_gguf
from conversion.base import TextModel

_ADAPTERS = Path(convert_hf_to_gguf.__file__).parent / "convert_lora_to_gguf.py"
_known = TextModel.get_vocab_base_pre


def run(job: dict[str, Any]) -> None:
    sys.argv = ["convert", job["model"], "--outtype", job["type"], "--outfile", job["out"]]
    if job["base"] is None:
        convert_hf_to_gguf.main()
    else:
        sys.argv += ["--base", job["base"]]
        runpy.run_path(str(_ADAPTERS), run_name="__main__")


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        knew: list[str] = []

        def answer(self: Any, tokenizer: Any, job: dict[str, Any] = job, knew: list[str] = knew) -> str:
            try:
                knew.append(_known(self, tokenizer))
            except NotImplementedError:
                if job["pre"] is None:
                    raise
                return str(job["pre"])
            return knew[-1]

        TextModel.get_vocab_base_pre = answer
        error = None
        with contextlib.redirect_stdout(sys.stderr):
            try:
                run(job)
            except (Exception, SystemExit):  # noqa: BLE001  # whatever it is, the test tells it
                error = traceback.format_exc()
        sys.stdout.write(json.dumps({"knew": knew[-1] if knew else None, "error": error}) + "\n")


if __name__ == "__main__":
    main()
