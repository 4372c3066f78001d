"""The whole way: suite -> cases -> prepare -> measure -> judge -> comparison."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol

import perfgate
from perfgate.accepting import Request, accept, record_missing
from perfgate.builder import BuildJob, InUse, in_use, prepare_for_use
from perfgate.case import Case, EngineSpec, ServingWork, short_hash
from perfgate.ceilings import CeilingStore
from perfgate.comparison import Comparison
from perfgate.demand import limits_of
from perfgate.device import Device
from perfgate.distances import with_shares
from perfgate.engines.cache import EngineCache, Found
from perfgate.engines.carrying import can_rerun
from perfgate.engines.redaction import told
from perfgate.environments import EnvironmentStore
from perfgate.errors import EngineError, PerfgateError, StorageError
from perfgate.extras import NO_EXTRAS, Extras
from perfgate.fault_kinds import IN_VAIN, next_step
from perfgate.gpu.facts import settings
from perfgate.gpu.rounds import notes_of, with_few_traces
from perfgate.history import history_path
from perfgate.journal import Header, Journal
from perfgate.judge import acquittable, judge
from perfgate.leases import Place, Wait, leased, places
from perfgate.loads import left_out
from perfgate.measure import (
    Bench,
    Hardware,
    Turnout,
    count,
    fails_for_good,
    first_rounds,
    further_rounds,
    is_final,
    may_go_on,
)
from perfgate.plan import Options, Plan, make_plan, remember_round_s, settled
from perfgate.plant import Plant
from perfgate.rebuilding import Lost, circumstances, rebuild
from perfgate.recall import Past, recall, remember
from perfgate.record import Environment, Round, Run, Side, now, printable, remove_abandoned
from perfgate.roofline import Limits
from perfgate.runs import keep_run, kept_run_named, known_runs
from perfgate.sample_file import SampleFile
from perfgate.seats import gate_seat, journal_path, work_folder
from perfgate.signals import compare_with_past
from perfgate.state_folder import check_state
from perfgate.stopping import GOES_ON, Stop, Stopped
from perfgate.suite import Suite
from perfgate.terms import THOROUGH_NOTE, Action
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.working_tree import code_here, commit_here

SUSPICIOUS = 10.0  # evidence of a worsening above which an engine is looked at first


class Teller(Protocol):
    """Who is told how far a gate is."""

    def step(self, text: str, done: int, total: int, left_s: float) -> None:
        """Something that takes seconds begins; `left_s` is the estimate for all that is left."""
        ...

    def note(self, text: str) -> None:
        """One line that should stay."""
        ...


def run_gate(
    suite: Suite, cases: Sequence[Case], options: Options, plan: Plan, teller: Teller, held: ExitStack,
    extras: Extras = NO_EXTRAS, stop: Stop | None = None,
) -> tuple[Run, Comparison]:  # fmt: skip
    """Carry out a planned gate and judge it. Baselines are recorded or updated as options and policy say.

    held: is to be left after `close_gate`, which is to be called when the reports are written: until then nobody else
        takes the gate's rounds up, and afterwards, where it was killed, the same command.
    stop: ends the measuring early; what was measured is judged, and nothing is recorded or accepted.

    Raises:
        UsageError: a checkpoint, a baseline, the state folder or an option cannot be used, or others measure on the
            device.
    """
    check_state(options.state)
    asked, suite = suite, suite.thorough() if options.thorough else suite
    measured = [case for case in cases if _is_measured(case, plan)]
    session = _Session(suite, options, plan, measured, teller, extras, stop or Stop(), held)
    session.planned_anew = lambda: make_plan(asked, cases, options)
    run, seconds = session.carry_out()
    judged = compare_with_past(
        run, suite, session.plan.baseline, options.policy, session.past, seconds=seconds, waivers=options.waivers
    )
    judged = replace(judged, out_of_time_s=session.out_of_time_s)
    if session.stopped:
        judged = judged.ended_early(session.stopped)
    kept = () if session.stopped else _kept(session, run, judged.metrics)
    mode = [THOROUGH_NOTE] if options.thorough else []
    return run, replace(judged, notes=(*mode, *judged.notes, *session.notes, *kept))


def close_gate(comparison: Comparison, plan: Plan, options: Options) -> None:
    """The reports are written: nothing is left to resume, unless the gate was stopped."""
    if not comparison.stopped:
        Journal(journal_path(options.state, comparison.suite, plan.device)).close()


def _kept(session: _Session, run: Run, verdicts: Sequence[MetricVerdict]) -> list[str]:
    """Keep a whole run: beside its kind, in the history, and as a baseline where that is asked for."""
    options, plan = session.options, session.plan
    path = keep_run(run, options.state)
    added = remember(history_path(options.state), run, plan.baseline, session.past, verdicts)
    try:
        return [*added, *_keep(run, path, verdicts, session.suite, options, plan)]
    except StorageError:
        raise  # its rounds are taken up when there is room
    except PerfgateError:
        session.journal.close()  # a run that is refused would be resumed and refused for ever
        raise


def _keep(
    run: Run, kept: Path | None, verdicts: Sequence[MetricVerdict], suite: Suite, options: Options, plan: Plan
) -> list[str]:
    """Update or record a baseline where options or policy ask for it; returns what to say about it."""
    if options.update_reason is not None:
        known = known_runs(options.state, run.suite, run.environment.device)
        request = Request(options.update_reason, options.update_expires, only_new=options.update_only_new)
        with kept_run_named(kept):
            said, proposal = accept([run], verdicts, options.baselines, request, suite.gate, known)
        return [said, *proposal.notes]
    missing = any(one.verdict is Verdict.NO_BASELINE for one in verdicts)
    if not missing or suite.policy(options.policy).no_baseline is not Action.RECORD:
        return []
    before = plan.baseline[1] if plan.baseline else None
    return record_missing(run, verdicts, options.state / "baselines", before)


def _is_measured(case: Case, plan: Plan) -> bool:
    return any(info.id == case.id and info.skip is None for info in plan.cases)


class _Session:
    """One gate at work: what is prepared and which rounds are done."""

    def __init__(
        self, suite: Suite, options: Options, plan: Plan, cases: Sequence[Case], teller: Teller, extras: Extras,
        stop: Stop, held: ExitStack,
    ) -> None:  # fmt: skip
        self.suite, self.options, self.plan, self.teller, self.extras = suite, options, plan, teller, extras
        self.stop, self._held = stop, held
        self.planned_anew: Callable[[], Plan] = lambda: plan
        self.stopped = ""  # why and when measuring ended early
        self.out_of_time_s: float | None = None  # the budget, where it ended measuring
        self._in_use = ExitStack()  # engines that nobody may remove
        self._uses: list[int] = []  # their descriptors
        self.infos = {info.id: info for info in plan.cases}
        self.cases = tuple(cases)
        self.specs: dict[str, EngineSpec] = {case.engine.name: case.engine for case in cases}
        self.gate = settled(suite.gate, plan.device, serves=any(isinstance(one.work, ServingWork) for one in cases))
        if options.budget_s is not None:
            self.gate = replace(self.gate, budget_s=options.budget_s)
        if options.rebuild_baseline:
            self.gate = replace(self.gate, rebuild_baseline=True)
        if options.rounds is not None:
            self.gate = replace(self.gate, first_rounds=options.rounds, most_rounds=options.rounds)
        self.folder = work_folder(options.state, plan.device)
        self.engines: dict[tuple[str, Side], Found] = {}
        self.rounds: list[Round] = []
        self._samples = SampleFile(self.folder)
        self.notes: list[str] = []
        self.past = Past()
        self.limits: Limits | None = None
        self._seconds: list[float] = []  # of each turnout
        self._hardware = Hardware(self.plan.device.gpus)
        self._left_out = left_out(suite.cases, cases, plan.device)
        self.journal = Journal(journal_path(options.state, suite.name, plan.device))

    def carry_out(self) -> tuple[Run, float]:
        """Prepare and measure; the run, and how many seconds it took once the devices were ours."""
        begin, header = time.perf_counter(), Header(self.suite.name, now(), "")
        with ExitStack() as stack, self._in_use:
            try:
                leases = self._wait(stack)
                self._hardware = self._hardware.under(leases)
                begin = time.perf_counter()
                remove_abandoned(self.folder)
                self.prepare()
                header = self.resume()
                self.measure(header, begin)
            except Stopped:
                self.stopped = self.stop.why(len(self.rounds), GOES_ON)
                self.teller.note(self.stopped)
        remove_abandoned(self.folder)  # of rounds of a killed gate, too, that were ended after we began
        return self._run(header), time.perf_counter() - begin

    @property
    def _places(self) -> tuple[Place, ...]:
        return places(self.plan.device, self.specs.values())

    def _wait(self, stack: ExitStack) -> tuple[int, ...]:
        """Until nobody else has a gate of the suite under way here, and then until the devices are ours.

        Who ended meanwhile may have left another baseline than was planned with.
        """
        told: list[str] = []

        def tell(text: str) -> None:
            told.append(text)
            self.teller.note(text)

        wait = Wait(self.options.lease_wait_s, tell, self.options.lease_option)
        seat = gate_seat(self.options.state, self.suite.name, self.plan.device)
        with self.stop.interrupts():
            self._held.enter_context(leased([seat], wait))
            leases = stack.enter_context(leased(self._places, wait))
        if told:
            self.plan = self.planned_anew()
        return leases

    # -------------------------------------------------------------- prepare

    def prepare(self) -> None:
        """Every engine into the cache; one that cannot be built becomes a round with a fault."""
        self.limits = self._limits()
        total = len(self.specs)
        for done, spec in enumerate(self.specs.values()):
            left_s = self.plan.estimate_s + (total - done) * self.plan.round_s
            self.teller.step(f"preparing {spec.name}", done, total, left_s)
            try:
                with self.stop.interrupts():
                    used = prepare_for_use(self._build_job(spec), self.folder, self._in_use, self._hardware.leases)
            except EngineError as exc:
                why = told(str(exc))
                failed = Round(spec.name, Side.CANDIDATE, 0, now(), 0.0, (), fault=printable(why), fault_kind=exc.kind)
                self.rounds.append(failed)
                self.teller.note(f"{spec.name}: {why}{next_step(exc.kind)}")
                continue
            found = self.engines[spec.name, Side.CANDIDATE] = self._use(used)
            if (old := self._baseline_engine(spec, found)) and (used_old := in_use(old, self._in_use)):
                self.engines[spec.name, Side.BASELINE] = self._use(used_old)
            if not found.from_cache:
                seconds = sum(found.entry.phases.values())
                self.teller.note(f"prepared {spec.name} in {seconds:.1f} s ({found.entry.engine_bytes / 1e6:.1f} MB)")

    def _use(self, used: InUse) -> Found:
        self._uses.append(used.handle)
        return used.found

    def _limits(self) -> Limits | None:
        """The device's limits: those known, else measured where the suite asks for them. A gate runs without, too."""
        store, device = CeilingStore(self.options.state), self.plan.device
        found = store.find(device, self.gate.cpus)
        if found is None and self.suite.roofline:
            self.teller.step("measuring the limits of the device", 0, 1, self.plan.estimate_s)
            try:
                with self.stop.interrupts():
                    found = store.get(device, self.gate.cpus, self._hardware.leases)
            except PerfgateError as exc:
                self._say(f"no distance to the limit: {exc}")
        if found and found.doubt:
            self._say(f"no distance to the limit: {found.doubt} ('perfgate roofline --fresh')")
            return None
        return limits_of(self.cases, found) if found else None

    def _build_job(self, spec: EngineSpec) -> BuildJob:
        folder = self.options.state / "engines"
        return BuildJob(spec, self.plan.device, folder, self.options.rebuild, stall_s=self.gate.stall_s)

    def _baseline_engine(self, spec: EngineSpec, candidate: Found) -> Found | None:
        """The engine that the baseline was measured with, where this machine can still load it."""
        if self.plan.baseline is None or not can_rerun(spec):
            return None
        keys = {
            stored.engine_key
            for case in self.cases
            if case.engine == spec and (stored := self.plan.baseline[1].cases.get(case.id)) and stored.hash == case.hash
        }
        if keys == {candidate.entry.key}:
            return candidate
        if len(keys) != 1:
            return None
        lost = Lost(keys.pop(), self.plan.baseline[1].provenance)
        found = EngineCache(self.options.state / "engines", str).find(lost.key)
        same = found is not None and found.entry.versions == candidate.entry.versions
        return found if same else self._rebuilt(lost, spec, candidate)

    def _rebuilt(self, lost: Lost, spec: EngineSpec, candidate: Found) -> Found | None:
        """The same with packages of its own, where the suite or an option allows to install them."""
        if not self.gate.rebuild_baseline:
            return None
        self.teller.step(f"rebuilding the baseline's engine of {spec.name}", 0, 1, self.plan.estimate_s)
        store = EnvironmentStore(self.options.state / "environments", now)
        job, leases = self._build_job(spec), self._hardware.leases
        try:
            with self.stop.interrupts():
                found = rebuild(lost, candidate, job, store, self.folder / "baseline", leases)
        except PerfgateError as exc:
            self._say(f"{spec.name}: the baseline's engine cannot be run again: {exc}")
            return None
        versions = ", ".join(f"{name} {version}" for name, version in found.entry.versions.items())
        other = circumstances(lost.made, environment_of(self.plan.device, {}, Plant()).versions)
        self._say(f"{spec.name}: the baseline's engine runs with {versions}" + (f"; but {other}" if other else ""))
        return found

    def _say(self, text: str) -> None:
        self.notes.append(printable(text))
        self.teller.note(text)

    @property
    def _rerunnable(self) -> frozenset[str]:
        return frozenset(engine for engine, side in self.engines if side is Side.BASELINE)

    # -------------------------------------------------------------- measure

    def resume(self) -> Header:
        """Take up the rounds of an interrupted gate, and recall what was known before it began."""
        self._forget_accepted()
        header, done = self.journal.resume(self._header(), self.teller.note)
        if done:
            known = "1 round is" if len(done) == 1 else f"{len(done)} rounds are"
            self.teller.note(f"resuming the run of {header.started}: {known} already measured")
        self.rounds += map(self._samples.put_away, done)
        self.past = recall(history_path(self.options.state), self._run(header), self.plan.baseline)
        return header

    def _forget_accepted(self) -> None:
        """A gate that was killed when its rounds were the baseline already is over: by themselves they would be ok."""
        left = self.journal.read()
        cases = self.plan.baseline[1].cases.values() if self.plan.baseline else ()
        if left and any(left[0].started in case.runs for case in cases):
            self.teller.note(f"the interrupted run of {left[0].started} is in the baseline already: measuring anew")
            self.journal.close()

    def measure(self, header: Header, begin: float) -> None:
        """Rounds until everything is decided, or rounds or time run out."""
        bench = Bench(
            self.folder, self.gate, self.cases, self.engines, self.options.plant,
            hardware=self._hardware.under((*self._hardware.leases, *self._uses)),
            left_out=self._left_out,
        )  # fmt: skip
        while turnouts := self._turnouts(header):
            for number, turnout in enumerate(turnouts):
                if fails_for_good(self.rounds, turnout[0].engine):
                    continue
                if self._is_late(begin):
                    self.out_of_time_s = self.gate.budget_s
                    self.teller.note(f"the budget of {self.gate.budget_s:.0f} s is spent; what is undecided stays so")
                    return
                self._tell(turnout, len(turnouts) - number, begin)
                self._carry_out(bench, turnout)

    def _turnouts(self, header: Header) -> list[Turnout]:
        """The next rounds: first those owed to every engine, then those that the judge wants."""
        whose = {one.reference_engine for one in self.gate.references}  # first: others are compared with them
        names = sorted(self.specs, key=lambda name: name not in whose)
        built = [name for name in names if (name, Side.CANDIDATE) in self.engines]
        owed = first_rounds(self.rounds, built, self.plan.rounds, self._paired, self.gate)
        if owed or self.plan.baseline is None:
            return owed
        return further_rounds(self.rounds, self._undecided(header, built), sorted(self._rerunnable), self.gate)

    def _undecided(self, header: Header, built: Sequence[str]) -> list[str]:
        """Engines that need more rounds; while some look worse, only the worst: red must not run out of time."""
        verdicts = [one for one in self.verdicts(self._run(header)) if one.wants_rounds]
        engine_of = {case.id: case.engine.name for case in self.cases}
        suspicion: dict[str, float] = {}
        for one in verdicts:
            name = engine_of[one.case]
            if name in built and may_go_on(self.rounds, name, self._rerunnable, self.gate):
                suspicion[name] = max(suspicion.get(name, 0.0), one.evidence or 0.0)
        suspects = sorted((name for name in suspicion if suspicion[name] > SUSPICIOUS), key=suspicion.__getitem__)
        return suspects[-1:] or list(suspicion)

    @property
    def _paired(self) -> frozenset[str]:
        """Engines whose every round needs one of the baseline engine.

        Their stored rounds can never acquit them, or so many rounds of either side are asked for.
        """
        if self.plan.baseline is None:
            return frozenset()
        if self.options.rounds is not None:
            return self._rerunnable
        able = acquittable(self.plan.cases, self.plan.baseline[1], self.gate, self.past.known)
        return frozenset(case.engine.name for case in self.cases if case.id not in able) & self._rerunnable

    def _carry_out(self, bench: Bench, turnout: Turnout) -> None:
        begin = time.perf_counter()
        with self.stop.interrupts():
            made = bench.measure(turnout, self.rounds)
        for measured in made:
            done = self.extras.enriched(with_shares(measured, self.limits), self.infos)
            self.journal.append(done)
            self.rounds.append(self._samples.put_away(done))
            for note in notes_of(done.gpu):
                if note not in self.notes:
                    self._say(note)
            if done.fault:
                what = f"round {done.index} of {done.engine} does not count: {done.fault}{next_step(done.fault_kind)}"
                self.teller.note(what + (IN_VAIN if is_final(done, self.rounds) else ""))
        self._seconds.append(time.perf_counter() - begin)
        remember_round_s(self.options.state, self._round_s())

    def _is_late(self, begin: float) -> bool:
        return time.perf_counter() - begin + self._round_s() > self.gate.budget_s

    def _round_s(self) -> float:
        """Seconds that a round, or a pair taking turns, lasts here."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else self.plan.round_s

    def _tell(self, turnout: Turnout, left: int, begin: float) -> None:
        first = turnout[0]
        number = count(self.rounds, first.engine, first.side) + 1
        sides = " and ".join(ask.side for ask in turnout)
        left_s = min(left * self._round_s(), self.gate.budget_s - (time.perf_counter() - begin))
        done = len(self._seconds)
        self.teller.step(f"measuring {first.engine}, round {number} ({sides})", done, done + left, max(left_s, 0.0))

    def _header(self) -> Header:
        fingerprint = {
            "cases": {case.id: case.hash for case in self.cases},
            "engines": {f"{name}/{side}": found.entry.key for (name, side), found in self.engines.items()},
            "plant": asdict(self.options.plant),
            "machine": [self.plan.device.key, platform.node(), platform.python_version(), perfgate.__version__],
            "cpus": [self.gate.cpus, self.gate.client_cpus],
            "gpus": [settings(self.plan.device.gpus), self.gate.gpu.lock_mhz],
        } | ({"left out": self._left_out} if self._left_out else {})
        code = code_here(self.options.state)
        return Header(
            self.suite.name, now(), short_hash(fingerprint), commit=code.commit, changes=code.changes,
            devices=tuple(one.file for one in self._places),
        )  # fmt: skip

    def _run(self, header: Header) -> Run:
        prepared = tuple(found.info(name) for (name, side), found in self.engines.items() if side is Side.CANDIDATE)
        versions = prepared[0].versions if prepared else {}
        environment = environment_of(self.plan.device, versions, self.options.plant, self.gate.cpus)
        locks = [one.gpu.lock for one in self.rounds if one.gpu and one.gpu.lock]
        environment = replace(environment, gpu_clocks="".join(locks[-1:]), machine=self.extras.machine)
        return Run(
            self.suite.name, header.started, environment, self.plan.cases, prepared, with_few_traces(self.rounds),
            tuple(sorted(self._rerunnable)), self.limits, own_metrics=self.extras.metrics,
        )  # fmt: skip

    def verdicts(self, run: Run) -> tuple[MetricVerdict, ...]:
        return judge(run, self.plan.baseline[1] if self.plan.baseline else None, self.gate, self.past.known)


def environment_of(
    device: Device, versions: Mapping[str, str], plant: Plant, cpus: tuple[int, ...] = ()
) -> Environment:
    """This machine, the versions of perfgate, Python, kernel, driver and of an engine, and the commit we stand in.

    cpus: the cores that rounds are pinned to.
    """
    inject = {name: ratio for name, ratio in asdict(plant).items() if ratio != 1.0}
    own = {"perfgate": perfgate.__version__, "python": platform.python_version(), "kernel": platform.release()}
    gpu = {"driver": device.driver, "cuda (driver)": device.cuda}
    told = {name: version for name, version in gpu.items() if version}
    return Environment(
        device.key, device.product, {**own, **told, **versions}, commit_here(), inject, cpus, device.gpus
    )
