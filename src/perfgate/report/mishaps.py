"""Rounds, and cases in them, that do not count: each with why, and by kind of fault with what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.fault_kinds import ADVICE, ProcessFault
from perfgate.record import Run
from perfgate.uncounted import Uncounted, uncounted

MOST_LISTED = 100  # entries of the table
_MOST_NAMED = 5  # engines of one kind


@dataclass(frozen=True, slots=True)
class KindTold:
    """A kind of fault: its word, what it is and how often it came to whom, and what to do next."""

    kind: str
    said: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Mishaps:
    """All of a run. listed: at most MOST_LISTED of them; left_out: how many more there are."""

    kinds: tuple[KindTold, ...]
    listed: tuple[Uncounted, ...]
    left_out: int


def mishaps(run: Run) -> Mishaps | None:
    """None where every round counts."""
    found = list(uncounted(run))
    if not found:
        return None
    kinds = {one.kind: [other for other in found if other.kind is one.kind] for one in found if one.kind}
    ordered = sorted(kinds.items(), key=lambda each: -len(each[1]))
    told = tuple(_told(kind, ones) for kind, ones in ordered if kind is not None)
    return Mishaps(told, tuple(found[:MOST_LISTED]), max(len(found) - MOST_LISTED, 0))


def _told(kind: ProcessFault, ones: Sequence[Uncounted]) -> KindTold:
    engines = list(dict.fromkeys(one.engine for one in ones))
    more = f" and {len(engines) - _MOST_NAMED} more" if len(engines) > _MOST_NAMED else ""
    named = ", ".join(engines[:_MOST_NAMED]) + more
    advice = ADVICE[kind]
    times = "once" if len(ones) == 1 else f"{len(ones):,} times"
    return KindTold(kind, f"{advice.words}, {times}: {named}", advice.next_step)
