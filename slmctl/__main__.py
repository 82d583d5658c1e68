"""`python -m slmctl`."""

from slmctl.entry import main

main()
