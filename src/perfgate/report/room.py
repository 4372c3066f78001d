"""Which parts of a page are drawn in full, in the room that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

L = TypeVar("L")


def fitted(
    draw: Callable[[int, L], str], order: Sequence[int], levels: Sequence[L], room: int, size: Callable[[str], int]
) -> list[str]:
    """Every part, in `order`, each at the richest level that leaves room for what comes before it in `order`.

    levels: from the richest to the leanest, which is drawn in any case. room: in the unit of `size`. All parts get a
    level before any gets a richer one.
    """
    if sum(map(size, richest := [draw(number, levels[0]) for number in order])) <= room:
        return richest
    made = [draw(number, levels[-1]) for number in order]
    left = room - sum(map(size, made))
    for level in reversed(levels[:-1]):
        for place, number in enumerate(order):
            richer = draw(number, level)
            if size(richer) - size(made[place]) <= left:
                left -= size(richer) - size(made[place])
                made[place] = richer
    return made
