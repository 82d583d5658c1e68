"""Real registries for tests: Debian's docker-registry, plain, with passwords, with a token server, behind nginx."""
