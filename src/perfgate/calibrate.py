"""Measuring for a calibration: every engine against itself, with and without what may lower the noise."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from perfgate.builder import BuildJob, prepare
from perfgate.calibrate_wish import Lever, Wish, check_wish, chosen_cases, gate_tests, pair, pull
from perfgate.calibration import Calibration, LeverFigures
from perfgate.calibration_figures import Stored, choices, lever_figures, metric_figures
from perfgate.case import ServingWork
from perfgate.device import find_device
from perfgate.engines.cache import Found
from perfgate.errors import EngineError
from perfgate.fault_kinds import next_step
from perfgate.gate import Teller, environment_of
from perfgate.history import History, history_path
from perfgate.leases import WAIT_S, Wait, leased, name_of, places
from perfgate.measure import RETRIES, Bench, Hardware, count, fails_for_good
from perfgate.percent import percent
from perfgate.plan import FIRST_GUESS_S, nearest_cpus, settled
from perfgate.plant import Plant
from perfgate.record import CaseInfo, Round, Run, Side, now
from perfgate.state_folder import check_state
from perfgate.stopping import ANEW, Stop, Stopped
from perfgate.suite import Suite

_PLAIN = ""  # the variant without a lever


def calibrate(suite: Suite, wish: Wish, state: Path, teller: Teller, stop: Stop | None = None) -> Calibration:
    """Measure engines against themselves and work out their noise.

    stop: ends the measuring early; the figures are of what was measured.

    Raises:
        UsageError: a name, a number or cores that cannot be; a checkpoint that cannot be used.
        EngineError: no engine could be prepared, or none gave a pair of valid rounds.
    """
    check_wish(wish, suite)
    check_state(state)
    session = _Session(suite, wish, state, teller, stop or Stop())
    try:
        session.carry_out()
    except Stopped:
        session.end_early()
    return session.figures()


class _Session:
    """A calibration at work: engines, and rounds by session and variant."""

    def __init__(self, suite: Suite, wish: Wish, state: Path, teller: Teller, stop: Stop) -> None:
        self.wish, self.state, self.teller, self.stop = wish, state, teller, stop
        self.device = find_device()
        self.cases = chosen_cases(suite, wish, self.device)
        serves = any(isinstance(case.work, ServingWork) for case in self.cases)
        self.suite = replace(suite, gate=settled(suite.gate, self.device, serves=serves))
        self.levers = [pull(name, self.cases, wish, self.suite, nearest_cpus(self.device)) for name in wish.levers]
        self.found: dict[str, Found] = {}
        self.rounds: dict[tuple[int, str], list[Round]] = {}
        self.tried: dict[tuple[int, str, str], int] = {}  # pairs by session, variant and engine
        self.seconds: dict[tuple[str, str], list[float]] = {}  # of each pair by variant and engine
        self.notes: list[str] = []
        self.stopped = ""
        self.started = now()
        self._begin = time.perf_counter()
        self._hardware = Hardware(self.device.gpus)

    def carry_out(self) -> None:
        """Everything, once the device is ours.

        Raises:
            Stopped: a signal came.
        """
        wanted = places(self.device, (case.engine for case in self.cases))
        with ExitStack() as stack:
            with self.stop.interrupts():
                leases = stack.enter_context(leased(wanted, Wait(WAIT_S, self.teller.note)))
                self._hardware = self._hardware.under(leases)
                self.prepare()
            self.measure()

    def end_early(self) -> None:
        self.stopped = self.stop.why(sum(map(len, self.rounds.values())), ANEW)
        self._say(self.stopped)

    # -------------------------------------------------------------- prepare

    def prepare(self) -> None:
        """Every engine into the cache; one that cannot be built is told and left out."""
        specs = list(dict.fromkeys(case.engine for case in self.cases))
        for done, spec in enumerate(specs):
            self.teller.step(f"preparing {spec.name}", done, len(specs), self._left_s(0))
            job = BuildJob(spec, self.device, self.state / "engines", stall_s=self.suite.gate.stall_s)
            try:
                found = prepare(job, self.folder, self._hardware.leases)
            except EngineError as exc:
                self._say(f"{spec.name} cannot be prepared: {exc}")
                continue
            self.found[spec.name] = replace(found, from_cache=True)  # built once, so that build_s has no noise
        if not self.found:
            raise EngineError(f"no engine could be prepared: {self.notes[-1]}")

    @property
    def folder(self) -> Path:
        return self.state / "calibrate" / name_of(self.device)

    # -------------------------------------------------------------- measure

    def measure(self) -> None:
        """Pairs in turn over engines and variants, so that drift and disturbances hit all alike."""
        for session in range(self.wish.sessions):
            if session and self.wish.pause_s:
                self.teller.step("waiting for the next session", session, self.wish.sessions, self.wish.pause_s)
                with self.stop.interrupts(anywhere=True):
                    time.sleep(self.wish.pause_s)
            while owed := self._owed(session):
                for number, (engine, variant) in enumerate(owed):
                    if self._is_late():
                        self._say(f"the budget of {self.wish.budget_s:.0f} s is spent: fewer pairs than asked for")
                        return
                    self._carry_out(session, variant, engine, len(owed) - number)

    def _variants(self, session: int) -> list[Lever]:
        """Unchanged, then each lever; levers are tried in the first session only."""
        plain = Lever(_PLAIN, "", self.cases, self.suite.gate.cpus)
        return [plain, *(one for one in self.levers if not one.skipped)] if session == 0 else [plain]

    def _owed(self, session: int) -> list[tuple[str, Lever]]:
        return [
            (engine, variant)
            for engine in self.found
            for variant in self._variants(session)
            if self._may_go_on(
                self._done(session, variant.name, engine), self.tried.get((session, variant.name, engine), 0)
            )
            and not fails_for_good(self.rounds.get((session, variant.name), []), engine)
        ]

    def _may_go_on(self, done: int, tried: int) -> bool:
        """Whether pairs are owed; given up where too many failed."""
        return done < self.wish.pairs and tried - done <= RETRIES

    def _done(self, session: int, variant: str, engine: str) -> int:
        """Pairs of which both rounds are valid."""
        mine = [one for one in self.rounds.get((session, variant), []) if one.engine == engine]
        return sum(b.follows(a) and a.is_valid and b.is_valid for a, b in zip(mine[::2], mine[1::2], strict=False))

    def _carry_out(self, session: int, variant: Lever, engine: str, owed: int) -> None:
        number = self.tried.get((session, variant.name, engine), 0)
        self.tried[session, variant.name, engine] = number + 1
        rounds = self.rounds.setdefault((session, variant.name), [])
        words = f"measuring {engine} against itself, pair {number + 1}{f', {variant.what}' if variant.what else ''}"
        done = sum(map(len, self.seconds.values()))
        self.teller.step(words, done, done + self._left(session, owed), self._left_s(session))
        begin, bench = time.perf_counter(), self._bench(session, variant)
        for turnout in pair(engine, number, self.suite.gate.pairing):
            with self.stop.interrupts():
                made = bench.measure(turnout, rounds)
            for one in made:
                rounds.append(one)
                if one.fault:
                    self._say(f"a round of {engine} does not count: {one.fault}{next_step(one.fault_kind)}")
        self.seconds.setdefault((variant.name, engine), []).append(time.perf_counter() - begin)

    def _bench(self, session: int, variant: Lever) -> Bench:
        gate = replace(self.suite.gate, cpus=variant.cpus)
        engines = {(name, side): found for name, found in self.found.items() for side in Side}
        folder = self.folder / f"{session}-{variant.name or 'unchanged'}"
        return Bench(
            folder, gate, variant.cases, engines, Plant(),
            hardware=self._hardware,
        )  # fmt: skip

    def _left(self, session: int, owed: int = 0) -> int:
        """Pairs that are still to be measured."""
        rest = sum(
            max(self.wish.pairs - self.tried.get((one, variant.name, engine), 0), 0)
            for one in range(session, self.wish.sessions)
            for variant in self._variants(one)
            for engine in self._names
        )
        return max(rest, owed)

    @property
    def _names(self) -> list[str]:
        return list(self.found) or list(dict.fromkeys(case.engine.name for case in self.cases))

    def _left_s(self, session: int) -> float:
        left = self._left(session) * self._pair_s()
        pauses = (self.wish.sessions - 1 - session) * self.wish.pause_s
        spent = time.perf_counter() - self._begin
        return min(left + pauses, max((self.wish.budget_s or float("inf")) - spent, 0.0))

    def _pair_s(self) -> float:
        every = [seconds for mine in self.seconds.values() for seconds in mine]
        return sum(every) / len(every) if every else 2 * FIRST_GUESS_S

    def _is_late(self) -> bool:
        if self.wish.budget_s is None:
            return False
        known = self._pair_s() if self.seconds else 0.0
        return time.perf_counter() - self._begin + known > self.wish.budget_s

    def _say(self, text: str) -> None:
        self.notes.append(text)
        self.teller.note(text)

    # -------------------------------------------------------------- figures

    def figures(self) -> Calibration:
        """What the rounds tell.

        Raises:
            EngineError: no engine gave a pair of valid rounds.
        """
        begun = [session for session in range(self.wish.sessions) if self.rounds.get((session, _PLAIN))]
        runs = [self._run(session, _PLAIN) for session in begun]
        gate, stored = self.suite.gate, self._stored()
        metrics = metric_figures(runs, self.cases, gate, self.device, stored)
        if not any(one.pairs for one in metrics):
            raise EngineError(_nothing(self.notes, gate.max_foreign_cpu))
        clocks = [one.host.clock_mhz for run in runs for one in run.rounds if one.host.clock_mhz is not None]
        return Calibration(
            suite=self.suite.name,
            started=self.started,
            seconds=time.perf_counter() - self._begin,
            environment=runs[0].environment,
            pairing=gate.pairing,
            sessions=len(runs),
            pairs=self.wish.pairs,
            tests=gate_tests(self.suite, self.device),
            pair_s={engine: _mean(self.seconds.get((_PLAIN, engine), ())) for engine in self.found},
            hashes={case.id: case.hash for case in self.cases},
            metrics=tuple(metrics),
            choices=tuple(choices(runs, self.cases, gate)),
            levers=tuple(self._lever(one, runs[0]) for one in self.levers),
            clocks_mhz=(min(clocks), max(clocks)) if clocks else None,
            notes=tuple(dict.fromkeys(self.notes)),
            stopped=self.stopped,
        )

    def _run(self, session: int, variant: str) -> Run:
        infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in self.cases)
        versions = next(iter(self.found.values())).entry.versions
        environment = environment_of(self.device, versions, Plant(), self.suite.gate.cpus)
        prepared = tuple(found.info(name) for name, found in self.found.items())
        rounds = tuple(self.rounds.get((session, variant), ()))
        return Run(self.suite.name, self.started, environment, infos, prepared, rounds, tuple(self.found))

    def _lever(self, one: Lever, unchanged: Run) -> LeverFigures:
        changed = self._run(0, one.name)
        if one.skipped or not any(count(changed.rounds, name, Side.CANDIDATE) for name in self.found):
            return LeverFigures(one.name, one.what, skipped=one.skipped or "none of its rounds was valid")
        found = lever_figures(one.name, one.what, changed, unchanged, self.cases, self.suite.gate)
        pair_s, plain_s = (
            _mean([_mean(self.seconds[variant, name]) for name in self.found if (variant, name) in self.seconds])
            for variant in (one.name, _PLAIN)
        )
        return replace(found, pair_s=pair_s, unchanged_pair_s=plain_s)

    def _stored(self) -> Stored:
        """Earlier sessions of exactly these engines, where a history is kept."""
        path = history_path(self.state)
        if not path.exists():
            return {}
        known: Mapping[str, tuple[str, str]] = {
            case.id: (case.hash, self.found[case.engine.name].entry.key)
            for case in self.cases
            if case.engine.name in self.found
        }
        with History(path) as history:
            past = history.known(self.suite.name, self.device.key, known)
            return {one: sessions.values for one, sessions in past.items()}


def _nothing(notes: Sequence[str], most: float) -> str:
    """Why a calibration has nothing to tell, and what to do."""
    why = f": {notes[-1]}" if notes else ""
    busy = f" (rounds count up to gate.max_foreign_cpu, {percent(most, 0)}); "
    busy += "calibrate when the machine is quieter, or raise it"
    return f"no pair of valid rounds was measured{why}{busy if 'other programs' in why else ''}"


def _mean(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0
