from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perfgate.report.room import fitted

SIZES = {"rich": 10, "plain": 4, "bare": 1}


def draw(number: int, level: str) -> str:
    return chr(ord("a") + number) * SIZES[level]


def sizes(order: list[int], room: int) -> list[int]:
    return [len(text) for text in fitted(draw, order, list(SIZES), room, len)]


def test_with_room_for_all_everything_is_rich() -> None:
    assert sizes([0, 1, 2], 30) == [10, 10, 10]


def test_the_first_is_rich_before_others_but_none_is_bare_for_it() -> None:
    assert sizes([0, 1, 2], 20) == [10, 4, 4]


def test_without_room_everything_is_bare() -> None:
    assert sizes([0, 1, 2], 0) == [1, 1, 1]


def test_parts_come_in_the_order_asked() -> None:
    assert [text[0] for text in fitted(draw, [2, 0, 1], list(SIZES), 99, len)] == ["c", "a", "b"]


@given(st.integers(0, 20), st.integers(0, 300))
def test_the_room_is_kept_where_bare_parts_fit(parts: int, room: int) -> None:
    made = sizes(list(range(parts)), room)

    assert len(made) == parts
    assert sum(made) <= max(room, parts)
    assert made == sorted(made, reverse=True)
