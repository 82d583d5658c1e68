"""The crash harness: what the store is worth when a command dies, when the power fails, when the disk refuses.

commands.py     the commands under test, and the world that each of them starts from: adding one is adding a row
tracing.py      runs a command under strace, reads its calls, and makes one of them fatal or fail
pulls.py        the commands that pull, from the registry of upstream.py
table.py        all rows together
oracle.py       what must hold in a store, written without any of the store's own code
disk.py         a model disk: which trees can be there after a power failure, given what was flushed
killing.py      T1: SIGKILL at every call that touches the store; then a second run
losing.py       T2: everything that was not flushed is lost, at every point of a recorded run
refusing.py     T3: every call that touches the store fails, or writes less than it was asked to
doubles.py      programs that have a defect on purpose: the harness must find each
__main__.py     all of it, with a table: `make crash`
"""
