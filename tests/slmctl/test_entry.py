from __future__ import annotations

from slmctl.entry import is_interrupt


def test_an_interrupt_is_found_behind_what_python_makes_of_it() -> None:
    """As in a class body whose descriptor is told its name (RuntimeError, up to Python 3.11)."""

    def raised() -> BaseException:
        try:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as interrupt:
                raise RuntimeError("Error calling __set_name__") from interrupt
        except RuntimeError as error:
            return error

    assert is_interrupt(raised())
    assert is_interrupt(KeyboardInterrupt())
    assert not is_interrupt(RuntimeError("a bug"))
