"""Repositories of files on the Hugging Face Hub, seen as models: variants, facts, and builds of them."""
