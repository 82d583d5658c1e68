"""Layers that are tars of files, compressed or not: streams, with bounds on all that they could do."""
