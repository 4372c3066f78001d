"""Shares and changes as people read them: '5.0 %', '24.8 % worse', one spelling everywhere."""

from __future__ import annotations

MOST_TIMES = 10  # as large: beyond that, per cents are not read


def percent(share: float, digits: int = 1, sign: str = "") -> str:
    """A fraction as per cent: 0.05 is '5.0 %'. digits: after the point; sign: '+' for one before gains, too."""
    return f"{share:{sign}.{digits}%}".replace("%", " %")


def changed_by(change: float, sign: str = "") -> str:
    """A relative change: 0.248 is '24.8 %', 12.0 is '> 10x'. sign: '+' for one before worsenings, too."""
    if abs(change) > MOST_TIMES - 1:
        return f"> {MOST_TIMES}x" if change > 0 else f"< -{MOST_TIMES}x"
    rounded = round(change * 100, 1) + 0.0  # adding 0.0 turns -0.0 into 0.0
    return f"{rounded:{sign},.1f} %"


def worsening(change: float) -> str:
    """A change toward worse in words: 0.248 is '24.8 % worse', -0.031 is '3.1 % better'."""
    size = changed_by(abs(change))
    if size == changed_by(0.0):
        return "no change"
    return f"{size} {'worse' if change > 0 else 'better'}"
