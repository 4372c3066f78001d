"""Numbers kept small: eight bytes each, where a tuple of Python's floats takes 32."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, Self, overload


class Stored(Protocol):
    """Numbers that lie somewhere else while nobody reads them."""

    def __len__(self) -> int: ...
    def read(self) -> array[float]: ...


class Floats(Sequence[float]):
    """An immutable sequence of numbers; rounds hold one for each token and request, and a gate holds all rounds.

    Stored ones are read anew each time that they are asked for: take them as a whole rather than one by one.
    """

    __slots__ = ("_held",)

    def __init__(self, values: Iterable[float] = ()) -> None:
        """Take the numbers over; ints become floats.

        Raises:
            TypeError: one is no number.
            OverflowError: one is too large.
        """
        self._held: array[float] | Stored = array("d", values)

    @classmethod
    def stored(cls, where: Stored) -> Self:
        """Numbers that stay where they are."""
        made = cls()
        made._held = where
        return made

    @property
    def _packed(self) -> array[float]:
        return self._held if isinstance(self._held, array) else self._held.read()

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Floats: ...
    def __getitem__(self, at: int | slice) -> float | Floats:
        return Floats(self._packed[at]) if isinstance(at, slice) else self._packed[at]

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[float]:
        return iter(self._packed)

    def __eq__(self, other: object) -> bool:
        return self._packed == other._packed if isinstance(other, Floats) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._packed))

    def __repr__(self) -> str:
        return f"Floats({self._packed.tolist()})"

    def __reduce__(self) -> tuple[type[Floats], tuple[array[float]]]:
        return Floats, (self._packed,)  # copies do not depend on where these lie

    def __bytes__(self) -> bytes:
        return self._packed.tobytes()

    def as_list(self) -> list[float]:
        return self._packed.tolist()


def floats_of(value: object) -> Floats:
    """A list as JSON has it.

    Raises:
        TypeError: it is no list of numbers.
        ValueError: a number is too large.
    """
    if not isinstance(value, list) or not {int, float} >= set(map(type, value)):
        raise TypeError("Expected `array` of `float`")
    try:
        return Floats(value)
    except OverflowError as exc:
        raise ValueError(str(exc)) from exc
