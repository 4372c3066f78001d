"""What a tuning comes to, as records: steps with their verdicts, and the engine that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from perfgate.record import Environment
from perfgate.tune_goal import Goal

TUNED_SCHEMA = 1


class Outcome(StrEnum):
    """What became of a step."""

    KEPT = "kept"
    LEFT = "stepped back from"  # kept at first: memory ran out at the next size
    NOT_BETTER = "not better"
    WORSE = "worse elsewhere"
    LOSES = "loses quality"
    UNDECIDED = "undecided"
    OUT_OF_MEMORY = "out of memory"
    FAILED = "failed"
    NOT_HERE = "does not apply"
    UNTRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Figure:
    """A relative change, new over old - 1 (0.1 is 10 % more), with its 99 % interval where noise has one."""

    change: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class TunedStep:
    """One step. beside: the engine that it was measured beside; changes: keys of its spec.

    before, after: the goal's metric, in its canonical unit; gain: its change. loss: of perplexity, from the start.
    rounds: pairs that counted; seconds: spent on it, building included.
    """

    name: str
    words: str
    outcome: Outcome
    reason: str
    beside: str = ""
    changes: Mapping[str, Any] | None = None
    before: float | None = None
    after: float | None = None
    gain: Figure | None = None
    loss: Figure | None = None
    rounds: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """All steps in order. start, tuned: the keys of both engines that are not the defaults.

    whole: the tuned engine beside the start, where more than one step was kept and the budget reached.
    max_loss: loss of perplexity that is allowed from the start. stopped: by which signal, where one came.
    """

    suite: str
    engine: str
    goal: Goal
    metric: str
    workload: str
    max_loss: float
    budget_s: float
    spent_s: float
    started: str
    environment: Environment
    steps: tuple[TunedStep, ...]
    start: Mapping[str, Any]
    tuned: Mapping[str, Any]
    whole: TunedStep | None = None
    stopped: str = ""
    schema: int = TUNED_SCHEMA

    @property
    def kept(self) -> tuple[TunedStep, ...]:
        return tuple(one for one in self.steps if one.outcome is Outcome.KEPT)

    @property
    def untried(self) -> tuple[TunedStep, ...]:
        every = (*self.steps, *((self.whole,) if self.whole else ()))
        return tuple(one for one in every if one.outcome is Outcome.UNTRIED)

    @property
    def is_in_vain(self) -> bool:
        """Whether there was something to try, and nothing of it was measured."""
        tried = [one for one in self.steps if one.outcome is not Outcome.NOT_HERE]
        return bool(tried) and not any(one.gain for one in tried)
