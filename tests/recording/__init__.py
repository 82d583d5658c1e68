"""A recording of every host that the test suite asked for: pytest's processes, and every slmctl and worker it starts.

hook.py     notes each connection and each name looked up, in a file per process
plugin.py   has pytest and all that runs from its environment do so, and judges the recording at the end
judging.py  what may be in it
"""
