"""Ollama's API: what its clients ask, answered as its server answers."""

from __future__ import annotations
