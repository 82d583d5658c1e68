"""One suite for every remote: what `registry.remotes.base` promises, held by each place and by the fakes."""
