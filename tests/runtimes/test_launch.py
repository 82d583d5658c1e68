from __future__ import annotations

import sys
from pathlib import Path

import pytest

from runtimes.environment import worker_environment
from runtimes.launch import fd_path, worker_argv


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("PATH", True),
        ("HOME", True),
        ("LANG", True),
        ("LC_ALL", True),
        ("TZ", True),
        ("TMPDIR", True),
        ("LD_LIBRARY_PATH", True),
        ("DYLD_LIBRARY_PATH", True),
        ("CUDA_VISIBLE_DEVICES", True),
        ("NVIDIA_VISIBLE_DEVICES", True),
        ("HIP_VISIBLE_DEVICES", True),
        ("ROCR_VISIBLE_DEVICES", True),
        ("GGML_CUDA_ENABLE_UNIFIED_MEMORY", True),
        ("OMP_NUM_THREADS", True),
        ("VK_ICD_FILENAMES", True),
        ("LD_PRELOAD", False),
        ("LLAMA_ARG_CTX_SIZE", False),
        ("LLAMA_API_KEY", False),
        ("HF_TOKEN", False),
        ("HF_HOME", False),
        ("PYTHONPATH", False),
        ("PYTHONHOME", False),
        ("PYTHONSTARTUP", False),
        ("HTTP_PROXY", False),
        ("https_proxy", False),
        ("SLMCTL_HOME", False),
        ("AWS_SECRET_ACCESS_KEY", False),
        ("path", False),
    ],
)
def test_environment(name: str, kept: bool) -> None:
    assert worker_environment({name: "value"}) == ({name: "value"} if kept else {})


def test_argv_runs_a_program_of_ours_by_path() -> None:
    python, safe_path, program = worker_argv("llamacpp")
    assert python == sys.executable
    assert safe_path == "-P"
    assert Path(program).is_file()
    assert worker_argv("llamacpp", python="/other/python")[0] == "/other/python"


def test_a_descriptor_has_a_path() -> None:
    with Path(__file__).open("rb") as file:
        assert Path(fd_path(file.fileno())).read_bytes() == Path(__file__).read_bytes()
