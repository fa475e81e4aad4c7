"""Numbers as pages write them: so many digits, and the sign where it is the point."""

from __future__ import annotations

import math


def signed(value: float, digits: int = 3) -> str:
    """So many significant digits and the sign, always; a minus as wide as the plus.

    Example:
        >>> signed(0.01234), signed(-3.0), signed(0.0), signed(-1.5e-6)
        ('+0.0123', '−3.00', '0', '−1.50e-06')
    """
    if not value:
        return "0"
    return ("+" if value > 0 else "−") + unsigned(abs(value), digits)


def unsigned(value: float, digits: int = 2) -> str:
    """So many significant digits, zeros at the end included.

    Example:
        >>> unsigned(0.006), unsigned(12.3), unsigned(123.4), unsigned(0.0), unsigned(0.0996)
        ('0.0060', '12', '123', '0', '0.10')
    """
    if not value:
        return "0"
    # Rounded first: 0.0996 to two digits is 0.10, and has one place less than 0.0996.
    rounded = float(f"{value:.{digits - 1}e}")
    power = math.floor(math.log10(abs(rounded)))
    if not -5 < power < 6:
        return f"{value:.{digits - 1}e}"
    return f"{rounded if power < digits else value:.{max(digits - 1 - power, 0)}f}"
