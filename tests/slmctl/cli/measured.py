"""slmctl in a child process that tells afterwards how much memory it had at most.

measured.py REPORT ARGUMENT...      writes the peak in bytes to the file REPORT
"""

from __future__ import annotations

import sys
from pathlib import Path

from slmctl.cli.main import run
from tests.registry.formats.measure import peak_bytes

if __name__ == "__main__":
    code = run(sys.argv[2:])
    Path(sys.argv[1]).write_text(str(peak_bytes()))
    sys.exit(code)
