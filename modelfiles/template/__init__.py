"""Chat templates: what a model sees of a conversation."""
