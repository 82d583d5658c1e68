"""The architectures that can be converted; each module has one family of them."""

from __future__ import annotations

from runtimes.convert.architectures.family import Family
from runtimes.convert.architectures.llama import Llama

FAMILIES: tuple[Family, ...] = (Llama(),)
