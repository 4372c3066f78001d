"""Shares as people read them: '5.0 %', one spelling everywhere."""

from __future__ import annotations


def percent(share: float, digits: int = 1, sign: str = "") -> str:
    """A fraction as per cent: 0.05 is '5.0 %'. digits: after the point; sign: '+' for one before gains, too."""
    return f"{share:{sign}.{digits}%}".replace("%", " %")
