"""The whole way: suite -> cases -> prepare -> measure -> judge -> comparison."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import perfgate
from perfgate.baselines import (
    Baseline,
    Provenance,
    baseline_from_run,
    baseline_path,
    find_baseline,
    save_baseline,
)
from perfgate.builder import BuildJob, prepare
from perfgate.case import Case, EngineSpec, short_hash
from perfgate.comparison import BaselineInfo, CaseVerdict, Comparison
from perfgate.device import Device, find_device
from perfgate.engines import backend
from perfgate.engines.base import Plant
from perfgate.engines.cache import EngineCache, Found
from perfgate.errors import BaselineError, EngineError
from perfgate.journal import Header, Journal
from perfgate.judge import MetricVerdict, Verdict, judge, worst
from perfgate.measure import Ask, Bench, count, first_rounds, further_rounds
from perfgate.record import CaseInfo, Environment, Round, Run, Side
from perfgate.suite import Action, Policy, Suite

BASELINE_ROUNDS = 5  # rounds of a first recording: enough to see the noise between processes
FIRST_GUESS_S = 8.0  # a round's length before any was seen


class Teller(Protocol):
    """Who is told how far a gate is."""

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        """Something that takes seconds begins; `left_s` is the estimate for all that is left."""
        ...

    def note(self, text: str) -> None:
        """One line that should stay."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """What a gate is told beside its suite."""

    baselines: Path
    state: Path  # cache, journal, logs, local baselines
    policy: str = "local"
    rounds: int | None = None
    budget_s: float | None = None
    plant: Plant = field(default_factory=Plant)
    update_reason: str | None = None  # accept this run as the baseline
    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a gate would do: cases with their skips, and where the time would go."""

    device: Device
    cases: tuple[CaseInfo, ...]
    baseline: tuple[Path, Baseline] | None
    rounds: int
    round_s: float
    is_guess: bool

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(case.engine for case in self.cases if case.skip is None))

    @property
    def estimate_s(self) -> float:
        return len(self.engines) * self.rounds * self.round_s


def make_plan(suite: Suite, cases: Sequence[Case], options: Options) -> Plan:
    """Cases, skips and an estimate, without running anything.

    Raises:
        UsageError: the baseline or a checkpoint cannot be read.
    """
    device = find_device()
    infos = tuple(_info(case, device) for case in cases)
    roots = [options.baselines, options.state / "baselines"]
    found = find_baseline(roots, device.key, suite.name)
    seen = _seen_round_s(options.state)
    first = options.rounds or suite.gate.first_rounds
    known = found is not None and all(case.id in found[1].cases for case in infos if case.skip is None)
    rounds = first if known else max(first, BASELINE_ROUNDS)
    return Plan(device, infos, found, rounds, seen or FIRST_GUESS_S, seen is None)


def _info(case: Case, device: Device) -> CaseInfo:
    support = backend(case.engine.backend).support(case.engine, device)
    return CaseInfo(case.id, case.engine.name, case.kind, case.hash, support.reason)


def run_gate(suite: Suite, cases: Sequence[Case], options: Options, teller: Teller) -> tuple[Run, Comparison]:
    """Carry out a gate and judge it. Baselines are recorded or updated as options and policy say.

    Raises:
        UsageError: a checkpoint, a baseline or an option cannot be used.
    """
    begin = time.perf_counter()
    plan = make_plan(suite, cases, options)
    session = _Session(suite, options, plan, [case for case in cases if _is_measured(case, plan)], teller)
    session.prepare()
    run = session.measure(begin)
    verdicts = session.verdicts(run)
    notes = _keep(run, verdicts, suite, options, plan)
    comparison = _compare(run, verdicts, suite, options, plan, time.perf_counter() - begin, notes)
    session.journal.close()
    return run, comparison


def _is_measured(case: Case, plan: Plan) -> bool:
    return any(info.id == case.id and info.skip is None for info in plan.cases)


class _Session:
    """One gate at work: what is prepared and which rounds are done."""

    def __init__(self, suite: Suite, options: Options, plan: Plan, cases: Sequence[Case], teller: Teller) -> None:
        self.suite, self.options, self.plan, self.teller = suite, options, plan, teller
        self.cases = tuple(cases)
        self.specs: dict[str, EngineSpec] = {case.engine.name: case.engine for case in cases}
        self.gate = suite.gate
        if options.budget_s is not None:
            self.gate = replace(self.gate, budget_s=options.budget_s)
        if options.rounds is not None:
            self.gate = replace(self.gate, first_rounds=options.rounds, most_rounds=options.rounds)
        self.folder = options.state / "work"
        self.engines: dict[tuple[str, Side], Found] = {}
        self.rounds: list[Round] = []
        self.journal = Journal(options.state / "journal" / f"{suite.name}.jsonl")

    # -------------------------------------------------------------- prepare

    def prepare(self) -> None:
        """Every engine into the cache; one that cannot be built becomes a round with a fault."""
        total = len(self.specs)
        for done, spec in enumerate(self.specs.values()):
            left_s = self.plan.estimate_s + (total - done) * self.plan.round_s
            self.teller.step(f"preparing {spec.name}", done, total, left_s)
            try:
                found = prepare(self._build_job(spec), self.folder)
            except EngineError as exc:
                started = datetime.now(UTC).isoformat(timespec="seconds")
                self.rounds.append(Round(spec.name, Side.CANDIDATE, 0, started, 0.0, (), fault=str(exc)))
                self.teller.note(f"{spec.name}: {exc}")
                continue
            self.engines[spec.name, Side.CANDIDATE] = found
            if (old := self._baseline_engine(spec, found)) is not None:
                self.engines[spec.name, Side.BASELINE] = old
            if not found.from_cache:
                seconds = sum(found.entry.phases.values())
                self.teller.note(f"prepared {spec.name} in {seconds:.1f} s ({found.entry.engine_bytes / 1e6:.1f} MB)")

    def _build_job(self, spec: EngineSpec) -> BuildJob:
        return BuildJob(spec, self.plan.device, self.options.state / "engines", self.options.rebuild)

    def _baseline_engine(self, spec: EngineSpec, candidate: Found) -> Found | None:
        """The engine that the baseline was measured with, where this machine can still load it."""
        if self.plan.baseline is None:
            return None
        keys = {
            stored.engine_key
            for case in self.cases
            if case.engine == spec and (stored := self.plan.baseline[1].cases.get(case.id)) and stored.hash == case.hash
        }
        if keys == {candidate.entry.key}:
            return candidate
        cache = EngineCache(self.options.state / "engines", str)
        found = cache.find(keys.pop()) if len(keys) == 1 else None
        same = found is not None and found.entry.versions == candidate.entry.versions
        return found if same else None

    @property
    def _rerunnable(self) -> frozenset[str]:
        return frozenset(engine for engine, side in self.engines if side is Side.BASELINE)

    # -------------------------------------------------------------- measure

    def measure(self, begin: float) -> Run:
        """Rounds until everything is decided, or rounds or time run out."""
        header, done = self.journal.resume(self._header())
        if done:
            self.teller.note(f"resuming the run of {header.started}: {len(done)} rounds are already measured")
        self.rounds += done
        bench = Bench(self.folder, self.gate, self.cases, self.engines, self.options.plant)
        while asks := self._asks(header):
            for turn, ask in enumerate(asks):
                if self._is_late(begin):
                    self.teller.note(f"the budget of {self.gate.budget_s:.0f} s is spent; what is undecided stays so")
                    return self._run(header)
                self._tell(ask, len(asks) - turn, begin)
                self.rounds.append(bench.measure(ask, self.rounds))
                self._after_round(self.rounds[-1])
        return self._run(header)

    def _asks(self, header: Header) -> list[Ask]:
        """The next rounds: first those owed to every engine, then those that the judge wants."""
        built = [name for name in self.specs if (name, Side.CANDIDATE) in self.engines]
        owed = first_rounds(self.rounds, built, self.plan.rounds)
        if owed or self.plan.baseline is None:
            return owed
        open_cases = {
            one.case for one in self.verdicts(self._run(header)) if one.verdict is Verdict.INCONCLUSIVE
        }
        undecided = [name for name in built if any(case.id in open_cases for case in self.cases if case.engine.name == name)]
        return further_rounds(self.rounds, undecided, self._rerunnable, self.gate)

    def _after_round(self, done: Round) -> None:
        self.journal.append(done)
        _remember_round_s(self.options.state, [one.seconds for one in self.rounds if one.is_valid])
        if done.fault:
            self.teller.note(f"round {done.index} of {done.engine} does not count: {done.fault}")

    def _is_late(self, begin: float) -> bool:
        return time.perf_counter() - begin + self._round_s() > self.gate.budget_s

    def _round_s(self) -> float:
        seen = [one.seconds for one in self.rounds if one.is_valid and one.seconds > 0]
        return sum(seen) / len(seen) if seen else self.plan.round_s

    def _tell(self, ask: Ask, asked: int, begin: float) -> None:
        done = len(self.rounds)
        owed = len(first_rounds(self.rounds, self.specs, self.plan.rounds))
        left = max(asked, owed)
        number = count(self.rounds, ask.engine, ask.side) + 1
        what = "measuring" if owed else "looking closer at"
        left_s = min(left * self._round_s(), self.gate.budget_s - (time.perf_counter() - begin))
        self.teller.step(f"{what} {ask.engine}, {ask.side} round {number}", done, done + left, max(left_s, 0.0))

    def _header(self) -> Header:
        fingerprint = {
            "cases": {case.id: case.hash for case in self.cases},
            "engines": {f"{name}/{side}": found.entry.key for (name, side), found in self.engines.items()},
            "plant": asdict(self.options.plant),
            "machine": [self.plan.device.key, platform.node(), platform.python_version(), perfgate.__version__],
        }
        return Header(self.suite.name, datetime.now(UTC).isoformat(timespec="seconds"), short_hash(fingerprint))

    def _run(self, header: Header) -> Run:
        prepared = tuple(
            found.info(name) for (name, side), found in self.engines.items() if side is Side.CANDIDATE
        )
        environment = _environment(self.plan.device, prepared[0].versions if prepared else {}, self.options.plant)
        return Run(self.suite.name, header.started, environment, self.plan.cases, prepared, tuple(self.rounds))

    def verdicts(self, run: Run) -> tuple[MetricVerdict, ...]:
        return judge(run, self.plan.baseline[1] if self.plan.baseline else None, self.gate, self._rerunnable)


def _environment(device: Device, versions: Mapping[str, str], plant: Plant) -> Environment:
    inject = {name: ratio for name, ratio in asdict(plant).items() if ratio != 1.0}
    own = {"perfgate": perfgate.__version__, "python": platform.python_version(), "kernel": platform.release()}
    if device.driver:
        own["driver"] = device.driver
    return Environment(device.key, device.product, {**own, **versions}, _commit(), inject)


def _commit() -> str:
    """The commit of the folder we run in; '-dirty' where it has changes; empty outside git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607 - the user's own git
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


# ------------------------------------------------------------------ verdicts to outcomes


def _compare(
    run: Run,
    verdicts: Sequence[MetricVerdict],
    suite: Suite,
    options: Options,
    plan: Plan,
    seconds: float,
    notes: Sequence[str],
) -> Comparison:
    policy = suite.policy(options.policy)
    cases = tuple(_case_verdict(case, verdicts, policy) for case in run.cases)
    stored = plan.baseline
    info = None
    if stored:
        made = stored[1].provenance
        info = BaselineInfo(str(stored[0]), made.accepted, made.product, made.versions, made.commit)
    return Comparison(
        suite.name, run.started, seconds, options.policy, run.environment, info, cases,
        suite.gate.alpha, suite.gate.beta, len(run.rounds), tuple(notes),
    )  # fmt: skip


def _case_verdict(case: CaseInfo, verdicts: Iterable[MetricVerdict], policy: Policy) -> CaseVerdict:
    mine = tuple(one for one in verdicts if one.case == case.id)
    if case.skip is not None:
        return CaseVerdict(case, Verdict.INVALID, "skipped", mine)
    verdict = worst(one.verdict for one in mine)
    return CaseVerdict(case, verdict, outcome(mine, policy), mine)


def outcome(metrics: Sequence[MetricVerdict], policy: Policy) -> str:
    """What a case comes to under a policy. A case of which nothing was measured always fails."""
    match worst(one.verdict for one in metrics):
        case Verdict.OK | Verdict.IMPROVED:
            return "passed"
        case Verdict.REGRESSED:
            return "failed"
        case Verdict.INVALID:
            measured = any(one.verdict is not Verdict.INVALID for one in metrics)
            return _after(policy.invalid) if measured else "failed"
        case Verdict.INCONCLUSIVE:
            return _after(policy.inconclusive)
        case Verdict.NO_BASELINE:
            return _after(policy.no_baseline)


def _after(action: Action) -> str:
    return {Action.FAIL: "failed", Action.WARN: "warned", Action.RECORD: "recorded"}[action]


# ------------------------------------------------------------------ baselines


def _keep(run: Run, verdicts: Sequence[MetricVerdict], suite: Suite, options: Options, plan: Plan) -> list[str]:
    """Update or record a baseline where options or policy ask for it; returns what to say about it."""
    if options.update_reason is not None:
        return [accept(run, verdicts, options.baselines, options.update_reason)]
    missing = any(one.verdict is Verdict.NO_BASELINE for one in verdicts)
    if not missing or suite.policy(options.policy).no_baseline is not Action.RECORD:
        return []
    if run.environment.inject:
        return ["no baseline was recorded: a regression is planted in this run"]
    before = plan.baseline[1] if plan.baseline else None
    unknown = {one.case for one in verdicts if one.verdict is Verdict.NO_BASELINE}
    partial = replace(run, cases=tuple(case for case in run.cases if case.id in unknown))
    path = baseline_path(options.state / "baselines", run.environment.device, run.suite)
    save_baseline(path, baseline_from_run(partial, _provenance(run, "first run on this machine"), before))
    return [f"recorded {len(unknown)} cases in {path}, nothing judged yet: run again"]


def accept(run: Run, verdicts: Sequence[MetricVerdict], root: Path, reason: str) -> str:
    """Make a run the reviewed baseline; returns a line that says so.

    Raises:
        BaselineError: a text scored worse, a case was invalid, or nothing valid was measured.
    """
    bad = [one for one in verdicts if one.verdict is Verdict.INVALID]
    dumber = [one for one in verdicts if one.verdict is Verdict.REGRESSED and one.metric in ("perplexity", "bits_per_byte")]
    for one in (*bad, *dumber):
        raise BaselineError(f"not accepted: {one.case} {one.metric} is {one.verdict}: {one.reason}")
    path = baseline_path(root, run.environment.device, run.suite)
    found = find_baseline([root], run.environment.device, run.suite)
    save_baseline(path, baseline_from_run(run, _provenance(run, reason), found[1] if found else None))
    return f"accepted this run as the baseline in {path}: review and commit it"


def _provenance(run: Run, reason: str) -> Provenance:
    made = run.environment
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Provenance(now, reason, made.product, made.versions, made.commit)


# ------------------------------------------------------------------ how long rounds take here


def _remember_round_s(state: Path, seconds: Sequence[float]) -> None:
    if seconds:
        (state / "round-seconds").write_text(f"{sum(seconds) / len(seconds):.2f}\n")


def _seen_round_s(state: Path) -> float | None:
    try:
        return float((state / "round-seconds").read_text())
    except (OSError, ValueError):
        return None
