"""A page of terminal text: lines are wrapped, shortened and painted to fit it."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from perfgate.verdict import Verdict

NARROWEST = 40  # columns; on less, lines are as for this width

_GREEN, _YELLOW, _RED = "32", "33", "31;1"
_COLOURS = {
    Verdict.OK: _GREEN,
    Verdict.IMPROVED: _GREEN,
    Verdict.NO_BASELINE: _YELLOW,
    Verdict.INCONCLUSIVE: _YELLOW,
    Verdict.INVALID: _RED,
    Verdict.REGRESSED: _RED,
    Verdict.BROKEN: _RED,
}


@dataclass(frozen=True, slots=True)
class Page:
    """Width in columns, and whether ANSI colours are wanted."""

    width: int
    has_colour: bool

    def wrapped(self, text: str, first: str = "", later: str = "") -> list[str]:
        """The text in lines that break between words; only a word wider than the page is cut."""
        return textwrap.wrap(text, self.width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False)

    def painted(self, text: str, verdict: Verdict) -> str:
        """The text in a verdict's colour, where colours are wanted."""
        return f"\x1b[{_COLOURS[verdict]}m{text}\x1b[0m" if self.has_colour else text


def shortened(text: str, size: int) -> str:
    """The text, or its head and tail with '..' between."""
    if len(text) <= size:
        return text
    tail = (size - 2) // 2
    return f"{text[: size - 2 - tail]}..{text[len(text) - tail :]}"
