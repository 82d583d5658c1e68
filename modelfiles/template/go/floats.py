"""Floating-point numbers as Go prints them (package strconv: FormatFloat, all numbers of 64 bits).

Python and Go agree on the digits: the shortest that read back as the same number, or correctly rounded ones.
They differ in when an exponent is used and in hexadecimal.
"""

from __future__ import annotations

import math


def format_float(value: float, verb: str, precision: int | None) -> str:
    """`value` for one of the verbs e E f g G b x X, with its minus where it has one.

    `precision` None means as many digits as are needed.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "-Inf" if value < 0 else "+Inf"
    if verb == "b":
        return _binary(value)
    if verb in "xX":
        text = _hexadecimal(value, precision)
        return text.upper() if verb == "X" else text
    if precision is not None:
        return f"{value:.{precision}{verb}}"
    digits, exponent = shortest(value)
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if verb in "eE" or (verb in "gG" and not -4 <= exponent < 6):
        return sign + _with_exponent(digits, exponent, "E" if verb in "EG" else "e")
    return sign + _plain(digits, exponent)


def shortest(value: float) -> tuple[str, int]:
    """The shortest digits, without zeros at the end, and the power of ten of the first one."""
    mantissa, _, power = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) + len(whole) - 1 - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    return (digits, exponent) if digits else ("0", 0)


def _with_exponent(digits: str, exponent: int, letter: str) -> str:
    point = "." if len(digits) > 1 else ""
    return f"{digits[0]}{point}{digits[1:]}{letter}{exponent:+03d}"


def _plain(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    return f"{whole}.{digits[exponent + 1 :]}" if len(digits) > exponent + 1 else whole


def _binary(value: float) -> str:
    """Mantissa and power of two in decimal: 4503599627370496p-52."""
    mantissa, exponent = math.frexp(abs(value))
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    power = max(exponent - 53, -1074)
    return f"{sign}{int(math.ldexp(mantissa, exponent - power))}p{power:+d}"


def _hexadecimal(value: float, precision: int | None) -> str:
    """0x1.8p+01: one bit, the rest of the mantissa in hexadecimal, the power of two."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        fraction = "." + "0" * precision if precision else ""
        return f"{sign}0x0{fraction}p+00"
    mantissa, exponent = math.frexp(abs(value))
    bits, exponent = int(math.ldexp(mantissa, 53)), exponent - 1  # one bit before the point, 52 after it
    if precision is None:
        fraction = f"{bits & (2**52 - 1):013x}".rstrip("0")
    else:
        if precision < 13:
            cut = 52 - 4 * precision
            lower, half = bits & ((1 << cut) - 1), 1 << (cut - 1)
            bits >>= cut
            bits += lower > half or (lower == half and bits & 1)
            bits <<= cut
            if bits >> 53:
                bits, exponent = bits >> 1, exponent + 1
        fraction = f"{bits & (2**52 - 1):013x}"[:precision].ljust(precision, "0")
    point = "." if fraction else ""
    return f"{sign}0x1{point}{fraction}p{exponent:+03d}"
