"""A running server, and what happens to it: workers and servers killed, disks filled, clients that go away.

`make test` has short samples, `make faults` the full lengths.
"""
