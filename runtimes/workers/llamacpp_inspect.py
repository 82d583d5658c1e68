"""The child process that asks xllamacpp what its build of llama.cpp can do: one line of JSON on stdout.

Run by path with `python -P`; imports the engine and the standard library only. A CPU that the build was not
made for ends it with SIGILL, which is an answer too. llama.cpp's own lines go to standard error.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    answer = os.dup(1)
    os.dup2(2, 1)  # what C code prints is no part of the answer
    import xllamacpp

    devices = [
        {
            "name": str(device.get("name", "")),
            "description": str(device.get("description", "")),
            "free": int(device.get("memory_free", 0)),
            "total": int(device.get("memory_total", 0)),
            "kind": int(device.get("type", 0)),
            "address": str(device.get("device_id") or ""),
        }
        for device in xllamacpp.get_device_info()
    ]
    document = {"system_info": xllamacpp.get_system_info(), "devices": devices}
    os.write(answer, json.dumps(document).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)  # some drivers hang, or crash, while they are taken down


if __name__ == "__main__":
    main()
