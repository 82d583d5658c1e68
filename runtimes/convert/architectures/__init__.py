"""The architectures that can be converted; each module has one family of them."""

from __future__ import annotations

from runtimes.convert.architectures.bert import Bert
from runtimes.convert.architectures.bitnet import BitNet
from runtimes.convert.architectures.family import Family
from runtimes.convert.architectures.gemma3 import Gemma3
from runtimes.convert.architectures.llama import Llama
from runtimes.convert.architectures.phi3 import Phi3
from runtimes.convert.architectures.qwen import Qwen2, Qwen3

FAMILIES: tuple[Family, ...] = (Llama(), Qwen2(), Qwen3(), Phi3(), Gemma3(), BitNet(), Bert())
