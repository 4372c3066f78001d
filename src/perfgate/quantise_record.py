"""What quantising comes to, as records: attempts with their steps, losses and gains, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from perfgate.engines.calibration_texts import Calibration
from perfgate.record import Environment
from perfgate.verdict import Verdict

QUANTISED_SCHEMA = 1


class Outcome(StrEnum):
    """What is to be done with a quantised engine."""

    ACCEPT = "accept"
    ADJUST = "adjust"
    FAILED = "failed"  # nothing was measured that could be judged


@dataclass(frozen=True, slots=True)
class StepTime:
    """A finished step. is_kept: an earlier command did it, and its seconds are those of then."""

    name: str
    seconds: float
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class TextLoss:
    """Loss of perplexity on one text, relative to the reference: 0.01 is 1 %; interval 99 %."""

    text: str
    verdict: Verdict
    reason: str
    loss: float | None
    low: float | None
    high: float | None
    allowed: float
    documents: int
    more_documents: int | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """A metric of a workload beside the reference's, geometric means over rounds in canonical units.

    ratio: the engine's value over the reference's, with its 95 % interval where both have two rounds or more.
    """

    workload: str
    metric: str
    reference: float
    value: float
    ratio: float
    low: float | None = None
    high: float | None = None
    is_better: bool | None = None  # None: the interval does not tell


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A thing to try next. options: of the engine that it would be; empty where it is for the user to do."""

    what: str
    why: str
    options: Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way of quantising. options: precision and what of `quantisation` is not left to the backend."""

    name: str
    options: Mapping[str, str | int | float | bool]
    changed: str
    outcome: Outcome
    reason: str
    steps: tuple[StepTime, ...]
    calibration: Calibration | None
    engine_key: str
    losses: tuple[TextLoss, ...]
    gains: tuple[Gain, ...]
    following: tuple[Suggestion, ...]
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> TextLoss | None:
        """The text that is farthest beyond what is allowed, or nearest to it."""
        known = [one for one in self.losses if one.loss is not None]
        return max(known, key=lambda one: (one.loss or 0.0) - one.allowed, default=None)


@dataclass(frozen=True, slots=True)
class Quantised:
    """All attempts in order; the last one accepted, or else the one that lost least, is the result."""

    suite: str
    engine: str
    reference: str
    checkpoint: str
    checkpoint_digest: str
    checkpoint_bytes: int
    backend: str
    started: str
    seconds: float
    environment: Environment
    attempts: tuple[Attempt, ...]
    result: str
    outcome: Outcome
    schema: int = QUANTISED_SCHEMA

    @property
    def best(self) -> Attempt:
        return next(one for one in self.attempts if one.name == self.result)
