"""`perfgate_xfail`: a failure that is expected, with its reason, until a day; from then on the test fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest

LONGEST_DAYS = 180  # as of waivers: what is expected longer is the level, and belongs into the baseline
_FORM = "@pytest.mark.perfgate_xfail(reason='...', expires='2027-01-31')"


@dataclass(frozen=True, slots=True)
class Expected:
    """An expected failure. case: glob of the ids of the cases that it is for."""

    reason: str
    expires: date
    case: str = "*"

    def is_expired(self, today: date) -> bool:
        return today >= self.expires

    @property
    def words(self) -> str:
        return f"{self.reason} (until {self.expires})"


def expect_failures(items: Sequence[pytest.Item]) -> None:
    """Let every marked test be expected to fail as long as that holds.

    Raises:
        UsageError: every marker that cannot be meant, at once.
    """
    faults: dict[str, None] = {}
    for item in items:
        for marker in item.iter_markers("perfgate_xfail"):
            try:
                expected = read(marker)
            except ValueError as exc:
                faults[f"{item.nodeid.partition('[')[0]}: {exc}"] = None
                continue
            if _is_for(expected, item) and not expected.is_expired(_today()):
                item.add_marker(pytest.mark.xfail(reason=expected.words, strict=False))
    if faults:
        raise pytest.UsageError("\n  ".join(["perfgate_xfail:", *faults]))


@contextmanager
def fails_if_expired(item: pytest.Item) -> Iterator[None]:
    """Fail the test in the body if what is expected of it has expired: also if it passes, so that nothing is left."""
    expired = [one for one in map(read, item.iter_markers("perfgate_xfail")) if one.is_expired(_today())]
    mine = [one for one in expired if _is_for(one, item)]
    if not mine:
        yield
        return
    lines = [f"perfgate_xfail expired on {one.expires}: {one.reason}" for one in mine]
    try:
        yield
    except pytest.skip.Exception:
        raise
    except BaseException:
        item.add_report_section("call", "perfgate", "\n".join(lines))
        raise
    pytest.fail("\n".join([*lines, "the test passes: remove the marker"]), pytrace=False)


def read(marker: pytest.Mark) -> Expected:
    """What a marker says.

    Raises:
        ValueError: something is missing or cannot be.
    """
    given: dict[str, Any] = {**dict(zip(("reason", "expires", "case"), marker.args, strict=False)), **marker.kwargs}
    if unknown := sorted(given.keys() - {"reason", "expires", "case"}):
        raise ValueError(f"has no {', '.join(unknown)}; expected {_FORM}")
    reason, case = str(given.get("reason", "")).strip(), str(given.get("case", "*"))
    if not reason or "expires" not in given:
        raise ValueError(f"needs a reason and a day; expected {_FORM}")
    return Expected(reason, _day(given["expires"]), case)


def _day(given: object) -> date:
    last = _today() + timedelta(days=LONGEST_DAYS)
    try:
        found = given if isinstance(given, date) else date.fromisoformat(str(given))
    except ValueError:
        raise ValueError(f"expires={given!r}: expected a date such as {last}") from None
    if found > last:
        raise ValueError(f"expires={found} is more than {LONGEST_DAYS} days ahead; at most {last}")
    return found


def _is_for(expected: Expected, item: pytest.Item) -> bool:
    """A test without a case is meant by '*' only."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    case = params.get("perfgate_case")
    return fnmatchcase(case.id if case is not None else "", expected.case)


def _today() -> date:
    return datetime.now(UTC).date()
