"""What a tuning has finished, as its journal keeps it, and whether a further step can be decided in what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from perfgate.plan import FIRST_GUESS_S
from perfgate.record import Round
from perfgate.terminal import clock


class Stage(StrEnum):
    """What was finished."""

    BUILD = "build"  # of both engines; a round then says why there is none
    ROUNDS = "rounds"


@dataclass(frozen=True, slots=True)
class Kept:
    """Something finished of the candidate of that key, and how long it took."""

    key: str
    stage: Stage
    seconds: float
    rounds: tuple[Round, ...] = ()

    @property
    def is_turnout(self) -> bool:
        return self.stage is Stage.ROUNDS


def spent_s(kept: Sequence[Kept]) -> float:
    """Seconds of all that is finished, also before a kill."""
    return sum(one.seconds for one in kept)


def turnout_s(kept: Sequence[Kept]) -> float:
    """Seconds that a turnout lasts here: the mean of those so far, else a guess."""
    seen = [one.seconds for one in kept if one.is_turnout]
    return fmean(seen) if seen else FIRST_GUESS_S


def why_too_late(kept: Sequence[Kept], least: int, budget_s: float) -> str | None:
    """Why nothing further can be decided; None where it can. least: turnouts before the first look."""
    needed_s, left_s = _needed_s(kept, least), budget_s - spent_s(kept)
    if needed_s <= left_s:
        return None
    return f"deciding it takes about {clock(needed_s)} here, and {clock(max(left_s, 0.0))} of the budget is left"


def _needed_s(kept: Sequence[Kept], least: int) -> float:
    """Building, and as many turnouts as earlier steps took, but never fewer than are due at first."""
    built = [one.seconds for one in kept if not one.is_turnout]
    taken = Counter(one.key for one in kept if one.is_turnout)
    turnouts = max(least, median(taken.values()) if taken else 0)
    return (fmean(built) if built else FIRST_GUESS_S) + turnouts * turnout_s(kept)
