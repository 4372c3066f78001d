"""The keys of one imported object: each read by its type, each fault told, those never read listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfgate.importing.faults import Faults

_LARGEST = 1e15  # more than any count, time in ns or rate of a benchmark


class Fields:
    """Reads an object key by key. What is absent or null is None; what is wrong is None after its fault is told.

    where: file and line. path: keys that lead here, 'performance.'.
    """

    def __init__(self, where: str, plain: Mapping[str, Any], faults: Faults, path: str = "") -> None:
        self.where, self._plain, self._faults, self._path = where, plain, faults, path
        self._read: set[str] = set()
        self._inner: list[Fields] = []

    def fault(self, key: str, found: str, expected: str) -> None:
        self._faults.add(f"{self.where} {self._path}{key}", found, expected)

    def number(self, key: str, *, is_needed: bool = False) -> float | None:
        """A finite number of 0 or more."""
        value = self._get(key)
        if value is None:
            if is_needed:
                self.fault(key, "nothing", "a number")
            return None
        if _is_number(value):
            return float(value)
        self.fault(key, shown(value), "a finite number of 0 or more")
        return None

    def whole(self, key: str, *, is_needed: bool = False) -> int | None:
        """A whole number of 0 or more."""
        value = self.number(key, is_needed=is_needed)
        if value is not None and value != int(value):
            self.fault(key, f"{value:g}", "a whole number of 0 or more")
            return None
        return None if value is None else int(value)

    def text(self, key: str) -> str | None:
        value = self._get(key)
        if value is None or isinstance(value, str):
            return value
        self.fault(key, shown(value), "a text")
        return None

    def plain(self, key: str, *, may_be_inf: bool = False) -> str | int | float | bool | None:
        """A value that is only compared with others: a text, a finite number or a flag.

        may_be_inf: infinity is a value too, and 'inf', as clients write it either way.
        """
        value = self._get(key)
        if may_be_inf and value == float("inf"):
            return "inf"
        if value is None or isinstance(value, str | bool):
            return value
        if isinstance(value, int | float) and abs(value) <= _LARGEST:
            return value
        self.fault(key, shown(value), "a text, a finite number or a flag")
        return None

    def inner(self, key: str, *, is_needed: bool = False) -> Fields | None:
        """An object below this one."""
        value = self._get(key)
        if isinstance(value, dict):
            fields = Fields(self.where, value, self._faults, f"{self._path}{key}.")
            self._inner.append(fields)
            return fields
        if value is not None or is_needed:
            self.fault(key, shown(value), "an object")
        return None

    def listed(self, key: str) -> list[Any] | None:
        value = self._get(key)
        if value is None or isinstance(value, list):
            return value
        self.fault(key, shown(value), "a list")
        return None

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """A list of finite numbers of 0 or more; the first that is not is told with its place."""
        value = self.listed(key)
        return None if value is None else self._numbers(key, value)

    def pooled(self, key: str) -> tuple[float, ...] | None:
        """A list of such lists as one, in order."""
        value = self.listed(key)
        if value is None:
            return None
        out: list[float] = []
        for place, one in enumerate(value):
            if not isinstance(one, list):
                self.fault(f"{key}[{place}]", shown(one), "a list of numbers")
                return None
            mine = self._numbers(f"{key}[{place}]", one)
            if mine is None:
                return None
            out += mine
        return tuple(out)

    def _numbers(self, key: str, values: list[Any]) -> tuple[float, ...] | None:
        for place, one in enumerate(values):
            if not _is_number(one):
                self.fault(f"{key}[{place}]", shown(one), "a finite number of 0 or more")
                return None
        return tuple(map(float, values))

    @property
    def ignored(self) -> tuple[str, ...]:
        """Keys that nothing asked for, here and below."""
        mine = [f"{self._path}{key}" for key in self._plain if key not in self._read]
        return (*mine, *(key for inner in self._inner for key in inner.ignored))

    def _get(self, key: str) -> Any:
        self._read.add(key)
        return self._plain.get(key)


def _is_number(value: object) -> bool:
    """Whether this is a number that can be a figure; a flag is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def shown(value: object) -> str:
    """A value in a line for people, without what it holds."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            return repr(value[:60])
        case int() if abs(value) > _LARGEST:
            return "a whole number of too many digits"
        case _:
            return str(value)
