"""The dialects of artifacts that others write and read: which manifest is of which, and what it says.

With `package`, `packaging` and `variants` these are the only modules outside `registry` that give media types
and annotations a meaning.
"""
