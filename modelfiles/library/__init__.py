"""The library: models that people ask for by name, one folder per family and one in it per size.

A folder like `qwen3/4b` has a Modelfile (its FROM lines are alternatives: the same model in several formats
and quantizations), an about.toml, and facts.json, the shape of the model. What all sizes have in common, and
which of them the bare family means, stands in the family's family.toml. `entry` says what must be in them.
"""
