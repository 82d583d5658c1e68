"""Write hello's golden answers anew: the same questions, answered greedily by the shipped model.

python -m tools.hello.golden        rewrites tests/golden/hello.json
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tools.hello.evaluate import ask, client_for

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "hello.json"
MODEL = ROOT / "slmctl" / "shipped" / "hello" / "hello.gguf"


def main() -> int:
    questions = list(json.loads(GOLDEN.read_text(encoding="utf-8")))
    folder = tempfile.TemporaryDirectory(prefix="slm")
    with folder as name, client_for(MODEL, Path(name)) as client:
        answers = {question: ask(client, question) for question in questions}
    GOLDEN.write_text(json.dumps(answers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
