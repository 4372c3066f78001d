"""Cells of tables on techniques: figures, factors beside a reference, changes of quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perfgate.metrics import CATALOGUE, Better, Kind
from perfgate.report.figures import ABSENT, quantity
from perfgate.report.versus_words import bounds, ratio_digits
from perfgate.techniques import Figure, Measured


def figure(one: Measured | None, names: Sequence[str]) -> str:
    """A figure in the unit that fits it."""
    found = one.first(names) if one else None
    return quantity(found.value, CATALOGUE[found.metric].unit, brief=True) if found else ABSENT


def with_times(one: Measured | None, names: Sequence[str]) -> str:
    """The same with how many times as good as the reference it is: '3.1 ms (1.21x [1.02, 1.44])'."""
    found = one.first(names) if one else None
    return f"{figure(one, names)}{_times(found)}" if found else ABSENT


def _times(found: Figure) -> str:
    if found.times is None:
        return ""
    exact = CATALOGUE[found.metric].kind is Kind.EXACT
    interval = "" if exact else f" {bounds(found.times)}"
    return f" ({ratio_digits(found.times.value)}x{interval}{'*' if found.is_across else ''})"


def change(one: Measured | None, names: Sequence[str]) -> str:
    """How much worse than the reference, with its interval: '+4.00 % [+3.41, +4.52]'."""
    found = one.first(names) if one else None
    if found is None or found.times is None:
        return ABSENT
    worse = _worse(found)
    low, high = (ABSENT if end is None else f"{end * 100:+.2f}" for end in worse[1:])
    return f"{worse[0] * 100:+.2f} % [{low}, {high}]{'*' if found.is_across else ''}"


def _worse(found: Figure) -> tuple[float, float | None, float | None]:
    """Relative change toward worse of a metric of which less is better; its interval."""
    assert found.times is not None
    assert CATALOGUE[found.metric].better is Better.LOWER
    low, high = found.times.low, found.times.high
    return 1 / found.times.value - 1, 1 / high - 1 if high else None, 1 / low - 1 if low else None


def table(head: Sequence[str], rows: Iterable[Sequence[str]], of_text: Sequence[int] = (0,)) -> str:
    """A Markdown table; columns that are not of text hold figures."""
    marks = ["---" if at in of_text else "--:" for at in range(len(head))]
    return "\n".join([_line(head), _line(marks), *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
