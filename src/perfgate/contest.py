"""Two engines side by side: both prepared, pairs of rounds until everything is decided, or rounds or time run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series, documents_of
from perfgate.builder import BuildJob, prepare
from perfgate.case import Case, EngineSpec, ServingWork
from perfgate.comparison import Comparison
from perfgate.contenders import Contender, Duel
from perfgate.device import Device, find_device
from perfgate.engines.cache import Found
from perfgate.engines.carrying import why_skipped
from perfgate.environments import canonical_name
from perfgate.errors import EngineError, UsageError
from perfgate.fault_kinds import next_step
from perfgate.gate import Teller, environment_of
from perfgate.gpu.rounds import with_few_traces
from perfgate.leases import WAIT_S, Wait, leased, name_of, places
from perfgate.measure import Bench, Hardware, Turnout, count, fails_for_good, first_rounds, further_rounds
from perfgate.metrics import CATALOGUE, Kind
from perfgate.plan import FIRST_GUESS_S, settled
from perfgate.plant import Plant
from perfgate.record import CaseInfo, Environment, Round, Run, Side, now
from perfgate.stopping import Stop
from perfgate.terms import Gate


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known by the rounds so far. beside: what the judge knows of A beside its rounds."""

    run: Run
    beside: Baseline
    judged: Comparison


@dataclass(frozen=True, slots=True)
class Referee:
    """Who judges a contest, and whether further rounds of an engine would tell what is still asked."""

    judge: Callable[[Run, Baseline], Comparison]
    is_open: Callable[[Standing, str], bool]


@dataclass(frozen=True, slots=True)
class Kept:
    """Rounds of an interrupted contest of the same two engines, and who keeps each turnout with its seconds."""

    rounds: tuple[Round, ...]
    keep: Callable[[Sequence[Round], float], None]


class Contest:
    """A comparison at work: engines and rounds so far.

    gate: how rounds are carried out and how many there are at least and at most. folder: jobs and logs.
    kept: None where nothing outlives this process. stop: ends it early.
    """

    def __init__(
        self, a: Contender, b: Contender, duels: Sequence[Duel], gate: Gate, folder: Path, teller: Teller,
        referee: Referee, kept: Kept | None = None, stop: Stop | None = None,
    ) -> None:  # fmt: skip
        self.a, self.b, self.duels, self.teller = a, b, duels, teller
        self.device = find_device()
        self.folder = folder / name_of(self.device)
        self.cases = tuple(case for duel in duels for case in duel.cases)
        self.gate = settled(gate, self.device, serves=any(isinstance(case.work, ServingWork) for case in self.cases))
        self.engines: dict[tuple[str, Side], Found] = {}
        self.rounds: list[Round] = list(kept.rounds) if kept else []
        self.started = now()
        self.prepare_s = 0.0
        self._referee, self._kept, self._stop = referee, kept, stop or Stop()
        self._here = environment_of(self.device, {}, Plant(), self.gate.cpus)
        self._seconds: list[float] = []  # of each turnout
        self._hardware = Hardware(self.device.gpus)

    def run(self, budget_s: Callable[[], float]) -> Standing:
        """Prepare both sides and measure for so many seconds at most, asked once both are prepared.

        Raises:
            UsageError: a checkpoint cannot be used, or others measure on the device.
            EngineError: an engine of either side cannot be prepared.
            Stopped: a signal came; where both sides were prepared there is a `standing`.
        """
        wanted = places(self.device, (spec for duel in self.duels for spec in (duel.a, duel.b)))
        with ExitStack() as stack:
            with self._stop.interrupts():
                leases = stack.enter_context(leased(wanted, Wait(WAIT_S, self.teller.note)))
                self._hardware = self._hardware.under(leases)
                begin = time.perf_counter()
                try:
                    self._prepare()
                finally:
                    self.prepare_s = time.perf_counter() - begin  # without the wait for the device
            return self._measure(budget_s())

    @property
    def is_prepared(self) -> bool:
        """Whether both sides have all their engines."""
        return len(self.engines) == 2 * len(self.duels)

    # -------------------------------------------------------------- prepare

    def _prepare(self) -> None:
        """Both engines of every duel."""
        for done, duel in enumerate(self.duels):
            left_s = (len(self.duels) - done) * 2 * self.gate.first_rounds * FIRST_GUESS_S
            self.teller.step(f"preparing {duel.b.name}, A and B", done, len(self.duels), left_s)
            self.engines[duel.b.name, Side.BASELINE] = self._prepared(duel.a, duel.cases, self.a, "a")
            self.engines[duel.b.name, Side.CANDIDATE] = self._prepared(duel.b, duel.cases, self.b, "b")

    def _prepared(self, spec: EngineSpec, cases: Sequence[Case], side: Contender, name: str) -> Found:
        _refuse_unsupported(spec, cases, side, self.device)
        job = BuildJob(spec, self.device, side.cache, interpreter=side.interpreter, stall_s=self.gate.stall_s)
        found = prepare(job, self.folder / name, self._hardware.leases)
        _refuse_other_versions(found, side)
        return found

    # -------------------------------------------------------------- measure

    def _measure(self, budget_s: float) -> Standing:
        """Pairs of rounds until everything is decided, or rounds or time run out."""
        specs = {duel.b.name: duel.a for duel in self.duels}
        bench = Bench(
            self.folder / "rounds", self.gate, self.cases, self.engines, Plant(), specs,
            self._hardware,
        )  # fmt: skip
        begin = time.perf_counter()
        late = False
        while not late and (turnouts := self._turnouts()):
            for number, turnout in enumerate(turnouts):
                if fails_for_good(self.rounds, turnout[0].engine):
                    continue
                left_s = budget_s - (time.perf_counter() - begin)
                if late := left_s < self._round_s():
                    self.teller.note(f"the budget of {budget_s:.0f} s is spent; what is undecided stays so")
                    break
                self._carry_out(bench, turnout, len(turnouts) - number, left_s)
        return self.standing()

    def _turnouts(self) -> list[Turnout]:
        names = [duel.b.name for duel in self.duels]
        owed = first_rounds(self.rounds, names, self.gate.first_rounds, frozenset(names), self.gate)
        return owed or further_rounds(self.rounds, self._undecided(names), names, self.gate)

    def _undecided(self, names: Sequence[str]) -> list[str]:
        standing = self.standing()
        return [name for name in names if self._referee.is_open(standing, name)]

    def _carry_out(self, bench: Bench, turnout: Turnout, left: int, left_s: float) -> None:
        first, done = turnout[0], len(self._seconds)
        number = count(self.rounds, first.engine, first.side) + 1
        sides = " and ".join("A" if ask.side is Side.BASELINE else "B" for ask in turnout)
        expected_s = min(left * (self._round_s() or FIRST_GUESS_S), left_s)
        self.teller.step(f"measuring {first.engine}, round {number} ({sides})", done, done + left, expected_s)
        begin = time.perf_counter()
        with self._stop.interrupts():
            measured = bench.measure(turnout, self.rounds)
        self._seconds.append(time.perf_counter() - begin)
        if self._kept:
            self._kept.keep(measured, self._seconds[-1])
        self.rounds += measured
        for one in (one for one in measured if one.fault):
            self.teller.note(
                f"round {one.index} of {one.engine} does not count: {one.fault}{next_step(one.fault_kind)}"
            )

    def _round_s(self) -> float:
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0

    # ---------------------------------------------------------------- judge

    def _run(self) -> Run:
        prepared = tuple(found.info(name) for (name, side), found in self.engines.items() if side is Side.CANDIDATE)
        infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in self.cases)
        environment, names = self.environment(Side.CANDIDATE), sorted(duel.b.name for duel in self.duels)
        return Run(
            self.b.suite.name, self.started, environment, infos, prepared, with_few_traces(self.rounds), tuple(names)
        )  # fmt: skip

    def standing(self) -> Standing:
        """What is known by now, once both sides are prepared."""
        run, made = self._run(), self.environment(Side.BASELINE)
        keys = {name: found.entry.key for (name, side), found in self.engines.items() if side is Side.BASELINE}
        provenance = Provenance(
            self.started, "measured beside", made.product, made.versions, made.commit, settings=made.settings
        )
        beside = baseline_of(run, provenance, keys)
        return Standing(run, beside, self._referee.judge(run, beside))

    def environment(self, side: Side) -> Environment:
        """Where and with what a side is measured: the versions of its first engine, its commit."""
        commit = (self.a if side is Side.BASELINE else self.b).commit
        versions = {**self._here.versions, **self.versions(side)}
        return replace(self._here, versions=versions, commit=commit or self._here.commit)

    def versions(self, side: Side) -> Mapping[str, str]:
        """Those of a side's first engine."""
        return self.engines[self.duels[0].b.name, side].entry.versions


def baseline_of(run: Run, provenance: Provenance, keys: Mapping[str, str]) -> Baseline:
    """What the judge knows of A beside its rounds of now."""
    cases = {case.id: _stored(run, case, keys[case.engine]) for case in run.cases}
    return Baseline(run.suite, run.environment.device, provenance, cases)


def _stored(run: Run, case: CaseInfo, key: str) -> BaselineCase:
    exact = [metric for metric in CATALOGUE.values() if metric.kind is Kind.EXACT]
    values = {metric: tuple(run.values(case.id, metric.name, Side.BASELINE)) for metric in exact}
    series = {metric.name: Series(metric.unit, (mine,)) for metric, mine in values.items() if mine}
    return BaselineCase(case.hash, key, series, documents_of(run, case.id, Side.BASELINE))


def _refuse_unsupported(spec: EngineSpec, cases: Sequence[Case], side: Contender, device: Device) -> None:
    """Ask the backend, where its module is the one that would run; elsewhere preparing tells."""
    asked = (Case(spec, case.work) for case in cases)
    reasons = (why_skipped(case, device) for case in asked if side.is_here)
    if reason := next(filter(None, reasons), None):
        raise UsageError(f"'{side.wish.text}' cannot run here: {reason}")


def _refuse_other_versions(found: Found, side: Contender) -> None:
    """Never measure another version than the pinned one."""
    loaded = {canonical_name(name): version for name, version in found.entry.versions.items()}
    for name, version in side.wish.pins.items():
        if loaded.get(name, version) != version:
            raise EngineError(
                f"'{side.wish.text}': {name} {loaded[name]} was loaded; take its folder out of PYTHONPATH"
            )
