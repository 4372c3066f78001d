"""A against B on demand: two engines, package versions or commits, measured side by side and judged.

A stands where a gate has its baseline engine, B where it has its candidate. There is no stored
baseline: verdicts on noisy metrics rest on the rounds of now alone; documents' scores and figures
without noise (bytes, tokens) are compared with A's.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series, documents_of
from perfgate.builder import BuildJob, prepare
from perfgate.case import Case, EngineSpec, ServingWork, canonical
from perfgate.comparison import Comparison, compare
from perfgate.contenders import Contender, Duel
from perfgate.device import Device, find_device
from perfgate.engines.cache import Found
from perfgate.engines.carrying import why_skipped
from perfgate.environments import canonical_name
from perfgate.errors import EngineError, UsageError
from perfgate.fault_kinds import next_step
from perfgate.gate import Teller, environment_of
from perfgate.gpu.rounds import with_few_traces
from perfgate.gpu_memory import gpu_use
from perfgate.leases import WAIT_S, Wait, leased, places
from perfgate.measure import Bench, Turnout, count, fails_for_good, first_rounds, further_rounds
from perfgate.metrics import CATALOGUE, Kind
from perfgate.pinning import check_cpus
from perfgate.plan import FIRST_GUESS_S, settled
from perfgate.plant import Plant
from perfgate.record import CaseInfo, Environment, Round, Run, Side, now
from perfgate.state_folder import check_state
from perfgate.stopping import ANEW, Stop, Stopped
from perfgate.suite import Action, Gate, Policy, Suite
from perfgate.verdict import Verdict

LEAST_ROUNDS = 3  # a side: fewer say little of the noise between processes
_POLICY = "ab"
_ONCE = "build_s"  # an engine is built once, not once a round: it has no noise to judge by


def run_ab(
    a: Contender, b: Contender, duels: Sequence[Duel], gate: Gate, state: Path, teller: Teller,
    stop: Stop | None = None,
) -> tuple[Run, Comparison]:  # fmt: skip
    """Prepare both sides, measure in pairs until everything is decided or rounds or time run out, and judge.

    stop: ends the measuring early; what was measured is judged.

    Raises:
        UsageError: a checkpoint cannot be used.
        EngineError: an engine of either side cannot be prepared.
        Stopped: before both sides were prepared.
    """
    check_state(state)
    contest = _Contest(a, b, duels, gate, state, teller, stop or Stop())
    wanted = places(contest.device, (spec for duel in duels for spec in (duel.a, duel.b)))
    with ExitStack() as stack:
        with contest.stop.interrupts():
            leases = stack.enter_context(leased(wanted, Wait(WAIT_S, teller.note)))
            contest.prepare()
        return contest.measure(leases)


def is_bad(judged: Comparison) -> bool:
    """Whether B is a regression, some case was not compared at all, or measuring was stopped."""
    compared = (Verdict.OK, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    return bool(judged.stopped) or any(
        case.verdict is Verdict.REGRESSED or not any(one.verdict in compared for one in case.metrics)
        for case in judged.cases
    )


def ab_gate(gate: Gate, rounds: int | None, budget_s: float | None) -> Gate:
    """A suite's gate without stored rounds; exactly `rounds` a side where given.

    Raises:
        UsageError: too few rounds, or cores to pin to that are not here.
    """
    check_cpus("gate.cpus", gate.cpus)
    if rounds is not None and rounds < LEAST_ROUNDS:
        raise UsageError(f"--rounds: found {rounds}, expected at least {LEAST_ROUNDS}")
    first, most = (rounds, rounds) if rounds else (max(gate.first_rounds, LEAST_ROUNDS), gate.most_rounds)
    return replace(
        gate,
        metrics=tuple(metric for metric in gate.metrics if metric.name != _ONCE),
        first_rounds=first,
        most_rounds=max(first, most),
        budget_s=budget_s or gate.budget_s,
        references=(),  # A is what B is compared with
    )


class _Contest:
    """A comparison at work: engines and rounds so far."""

    def __init__(
        self, a: Contender, b: Contender, duels: Sequence[Duel], gate: Gate, state: Path, teller: Teller, stop: Stop
    ) -> None:
        self.a, self.b, self.duels, self.teller, self.stop = a, b, duels, teller, stop
        self.folder = state / "ab"
        self.device = find_device()
        self.cases = tuple(case for duel in duels for case in duel.cases)
        self.gate = settled(gate, self.device, serves=any(isinstance(case.work, ServingWork) for case in self.cases))
        self.engines: dict[tuple[str, Side], Found] = {}
        self.rounds: list[Round] = []
        self._here = environment_of(self.device, {}, Plant(), self.gate.cpus)
        self.started = now()
        self._begin = time.perf_counter()
        self._seconds: list[float] = []  # of each turnout
        self._gpus = gpu_use()  # before anything of ours ran

    # -------------------------------------------------------------- prepare

    def prepare(self) -> None:
        """Both engines of every duel."""
        for done, duel in enumerate(self.duels):
            left_s = (len(self.duels) - done) * 2 * self.gate.first_rounds * FIRST_GUESS_S
            self.teller.step(f"preparing {duel.b.name}, A and B", done, len(self.duels), left_s)
            self.engines[duel.b.name, Side.BASELINE] = self._prepared(duel.a, duel.cases, self.a, "a")
            self.engines[duel.b.name, Side.CANDIDATE] = self._prepared(duel.b, duel.cases, self.b, "b")

    def _prepared(self, spec: EngineSpec, cases: Sequence[Case], side: Contender, name: str) -> Found:
        _refuse_unsupported(spec, cases, side, self.device)
        job = BuildJob(spec, self.device, side.cache, interpreter=side.interpreter, stall_s=self.gate.stall_s)
        found = prepare(job, self.folder / name)
        _refuse_other_versions(found, side)
        return found

    # -------------------------------------------------------------- measure

    def measure(self, leases: tuple[int, ...]) -> tuple[Run, Comparison]:
        """Pairs of rounds until everything is decided, or rounds or time run out."""
        specs = {duel.b.name: duel.a for duel in self.duels}
        bench = Bench(
            self.folder / "rounds", self.gate, self.cases, self.engines, Plant(), specs,
            gpus=self._gpus, seen_gpus=self.device.gpus, leases=leases,
        )  # fmt: skip
        try:
            self._measure_all(bench)
        except Stopped:
            stopped = self.stop.why(len(self.rounds), ANEW)
            self.teller.note(stopped)
            return self._run(), self._judged().ended_early(stopped)
        return self._run(), self._judged()

    def _measure_all(self, bench: Bench) -> None:
        begin = time.perf_counter()
        while turnouts := self._turnouts():
            for number, turnout in enumerate(turnouts):
                if fails_for_good(self.rounds, turnout[0].engine):
                    continue
                left_s = self.gate.budget_s - (time.perf_counter() - begin)
                if left_s < self._round_s():
                    self.teller.note(f"the budget of {self.gate.budget_s:.0f} s is spent; what is undecided stays so")
                    return
                self._carry_out(bench, turnout, len(turnouts) - number, left_s)

    def _turnouts(self) -> list[Turnout]:
        names = [duel.b.name for duel in self.duels]
        owed = first_rounds(self.rounds, names, self.gate.first_rounds, frozenset(names), self.gate)
        return owed or further_rounds(self.rounds, self._undecided(names), names, self.gate)

    def _undecided(self, names: Sequence[str]) -> list[str]:
        open_ones = {one.case for one in self._judged().metrics if one.wants_rounds}
        return [name for name in names if any(c.id in open_ones for c in self.cases if c.engine.name == name)]

    def _carry_out(self, bench: Bench, turnout: Turnout, left: int, left_s: float) -> None:
        first, done = turnout[0], len(self._seconds)
        number = count(self.rounds, first.engine, first.side) + 1
        sides = " and ".join("A" if ask.side is Side.BASELINE else "B" for ask in turnout)
        expected_s = min(left * (self._round_s() or FIRST_GUESS_S), left_s)
        self.teller.step(f"measuring {first.engine}, round {number} ({sides})", done, done + left, expected_s)
        begin = time.perf_counter()
        with self.stop.interrupts():
            made = bench.measure(turnout, self.rounds)
        for one in made:
            self.rounds.append(one)
            if one.fault:
                self.teller.note(
                    f"round {one.index} of {one.engine} does not count: {one.fault}{next_step(one.fault_kind)}"
                )
        self._seconds.append(time.perf_counter() - begin)

    def _round_s(self) -> float:
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0

    # ---------------------------------------------------------------- judge

    def _run(self) -> Run:
        prepared = tuple(found.info(name) for (name, side), found in self.engines.items() if side is Side.CANDIDATE)
        infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in self.cases)
        environment, names = self._environment(Side.CANDIDATE), sorted(duel.b.name for duel in self.duels)
        return Run(
            self.b.suite.name, self.started, environment, infos, prepared, with_few_traces(self.rounds), tuple(names)
        )  # fmt: skip

    def _judged(self) -> Comparison:
        keys = {name: found.entry.key for (name, side), found in self.engines.items() if side is Side.BASELINE}
        made = self._environment(Side.BASELINE)
        provenance = Provenance(
            self.started, "perfgate ab", made.product, made.versions, made.commit, settings=made.settings
        )
        run = self._run()
        stored = Path(f"A: {self.a.wish.text}"), baseline_of(run, provenance, keys)
        seconds = time.perf_counter() - self._begin
        judged = compare(run, _ab_suite(self.b.suite, self.gate), stored, _POLICY, seconds=seconds)
        return replace(judged, notes=self._notes(judged))

    def _environment(self, side: Side) -> Environment:
        """Where and with what a side is measured: the versions of its first engine, its commit."""
        versions = self.engines[self.duels[0].b.name, side].entry.versions
        commit = (self.a if side is Side.BASELINE else self.b).commit
        return replace(self._here, versions={**self._here.versions, **versions}, commit=commit or self._here.commit)

    def _notes(self, judged: Comparison) -> tuple[str, ...]:
        decided = sum(one.verdict in (Verdict.OK, Verdict.IMPROVED, Verdict.REGRESSED) for one in judged.metrics)
        return (
            self._who("A", self.a, Side.BASELINE),
            self._who("B", self.b, Side.CANDIDATE),
            *_redefined(self.a.suite, self.cases),
            *_never_measured(self.rounds, [duel.b.name for duel in self.duels]),
            f"decided: {decided} of {len(judged.metrics)} metrics, by pairs of rounds alone",
        )

    def _who(self, letter: str, one: Contender, side: Side) -> str:
        versions = self.engines[self.duels[0].b.name, side].entry.versions
        words = [*(f"{name} {version}" for name, version in versions.items())]
        words += [f"commit {one.commit[:12]}"] if one.commit else []
        return f"{letter} is {one.wish.text}: {', '.join(words)}"


def baseline_of(run: Run, provenance: Provenance, keys: Mapping[str, str]) -> Baseline:
    """What the judge knows of A beside its rounds of now."""
    cases = {case.id: _stored(run, case, keys[case.engine]) for case in run.cases}
    return Baseline(run.suite, run.environment.device, provenance, cases)


def _stored(run: Run, case: CaseInfo, key: str) -> BaselineCase:
    exact = [metric for metric in CATALOGUE.values() if metric.kind is Kind.EXACT]
    values = {metric: tuple(run.values(case.id, metric.name, Side.BASELINE)) for metric in exact}
    series = {metric.name: Series(metric.unit, (mine,)) for metric, mine in values.items() if mine}
    return BaselineCase(case.hash, key, series, documents_of(run, case.id, Side.BASELINE))


def _ab_suite(suite: Suite, gate: Gate) -> Suite:
    """B's suite under the comparison's own gate; what is undecided is told and fails nothing."""
    return replace(suite, gate=gate, policies=((_POLICY, Policy(Action.WARN, Action.WARN, Action.WARN)),))


def _redefined(a: Suite, cases: Sequence[Case]) -> list[str]:
    """Workloads that A's suite defines otherwise: both sides are asked B's."""
    theirs = {case.work.name: case.work for case in a.cases}
    works = {case.work.name: case.work for case in cases}
    return [
        f"workload {name} is defined otherwise in A's suite; both sides were measured under B's"
        for name, work in works.items()
        if canonical(theirs[name]) != canonical(work)
    ]


def _never_measured(rounds: Sequence[Round], names: Sequence[str]) -> list[str]:
    """Why a side has no valid round at all."""
    sides = [(name, side) for name in names for side in Side if not count(rounds, name, side)]
    faults = {(one.engine, one.side): one.fault for one in rounds}  # the last one
    return [
        f"{'A' if side is Side.BASELINE else 'B'}'s {name} was never measured: {faults[name, side]}"
        for name, side in sides
        if (name, side) in faults
    ]


def _refuse_unsupported(spec: EngineSpec, cases: Sequence[Case], side: Contender, device: Device) -> None:
    """Ask the backend, where its module is the one that would run; elsewhere preparing tells."""
    reasons = (why_skipped(replace(case, engine=spec), device) for case in cases if side.is_here)
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
