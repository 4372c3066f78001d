"""Which parts of a page are drawn in full, in the room that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

L = TypeVar("L")


def fitted(
    draw: Callable[[int, L], str], order: Sequence[int], levels: Sequence[L], room: int, size: Callable[[str], int]
) -> list[str]:
    """Every part, in `order`, at a level that fits: all get a level before any gets a richer one, the first come first.

    levels: from the richest to the leanest, which is drawn in any case. room: in the unit of `size`.
    """
    made = [draw(number, levels[-1]) for number in order]
    left = room - sum(map(size, made))
    for level in reversed(levels[:-1]):
        for place, number in enumerate(order):
            richer = draw(number, level)
            left -= size(richer) - size(made[place])
            if left < 0:
                return made
            made[place] = richer
    return made
