"""slmctl: package and runtime manager for small language models."""

__version__ = "0.1.0"
