"""The terms of a gate: what is judged, how strictly, with how much evidence, and what verdicts lead to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from perfgate.gpu.validity import GpuWish
from perfgate.heartbeat import STALL_S
from perfgate.metrics import Kind, Metric
from perfgate.percent import percent
from perfgate.quality_suite import Reference

THOROUGH = 0.6  # of a metric's margin and detect under --perfgate-thorough: 3 % instead of 5 %
THOROUGH_NOTE = f"thorough: detect and margin at {percent(THOROUGH, 0)}"


class Action(StrEnum):
    """What the gate does with a verdict that is neither ok nor a regression."""

    FAIL = "fail"
    WARN = "warn"
    RECORD = "record"  # no-baseline only: store these rounds as the local baseline


@dataclass(frozen=True, slots=True)
class Policy:
    """What `inconclusive`, `invalid` and `no-baseline` lead to."""

    inconclusive: Action
    invalid: Action
    no_baseline: Action


DEFAULT_POLICIES = {
    "ci": Policy(Action.FAIL, Action.FAIL, Action.FAIL),
    "local": Policy(Action.WARN, Action.WARN, Action.WARN),
}


@dataclass(frozen=True, slots=True)
class Noise:
    """What is assumed of a metric's noise while few rounds are known (standard deviations of log values).

    round_sd: between processes of one session; session_sd: between sessions (host state, day);
    pair_sd: of the difference between two rounds that run beside each other;
    two_modes: probability that an engine of which little is known runs in two modes, now in one, now in the other.
    """

    round_sd: float = 0.02
    session_sd: float = 0.02
    pair_sd: float = 0.03
    two_modes: float = 0.25


class Reaction(StrEnum):
    """What a signal of the watch does to a gate."""

    REPORT = "report"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Watch:
    """Which signals make a whole gate red (`perfgate.watch`)."""

    creep: Reaction = Reaction.REPORT
    suite_shift: Reaction = Reaction.REPORT


class Pairing(StrEnum):
    """How rounds of the baseline engine run beside the candidate's.

    Interleaved: both are loaded and take turns, which cancels interference but needs memory for two.
    Consecutive: one right after the other.
    """

    INTERLEAVED = "interleaved"
    CONSECUTIVE = "consecutive"


@dataclass(frozen=True, slots=True)
class Gate:
    """What is judged, how strictly, and with how much evidence.

    Rounds are a side's measuring processes per engine: at least `first`, at most `most`.
    cpus: cores that every round is pinned to; empty: not pinned. client_cpus: cores kept for the client of serving
    workloads; empty: it shares the round's. pin: both are chosen, near the GPU. gpu: its limits, and locked clocks.
    round_timeout_s: for measuring; a round that starts a server has `server_start_s` more.
    stall_s: after which a round or a build is ended that tells nothing and uses neither CPU, disk nor GPU.
    alpha: probability of any false alarm in the whole gate; beta: of calling a `detect`-sized
    worsening of one metric ok. rebuild_baseline: packages of a baseline's engine may be installed
    to run it again. references: from which texts the losses of others are measured, and what is allowed.
    """

    metrics: tuple[Metric, ...]
    noise: Noise = Noise()
    alpha: float = 0.005
    beta: float = 0.004
    first_rounds: int = 1
    most_rounds: int = 12
    budget_s: float = 600.0
    round_timeout_s: float = 300.0
    max_foreign_cpu: float = 0.5
    pairing: Pairing = Pairing.CONSECUTIVE
    rebuild_baseline: bool = False
    cpus: tuple[int, ...] = ()
    watch: Watch = Watch()
    server_start_s: float = 900.0
    stall_s: float = STALL_S
    client_cpus: tuple[int, ...] = ()
    pin: bool = False
    gpu: GpuWish = field(default_factory=GpuWish)
    references: tuple[Reference, ...] = ()

    def metric(self, name: str) -> Metric:
        return next(metric for metric in self.metrics if metric.name == name)

    def thorough(self) -> Gate:
        """The same gate for smaller changes of its noisy metrics, with twice the rounds allowed."""
        finer = tuple(
            metric.with_limits(metric.margin * THOROUGH, metric.detect * THOROUGH)
            if metric.kind is Kind.NOISY
            else metric
            for metric in self.metrics
        )
        return replace(self, metrics=finer, most_rounds=self.most_rounds * 2)
