"""Prompt templates: text and a conversation in, the prompt's text out."""
