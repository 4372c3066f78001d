"""A sweep at work: cold builds and rounds of every configuration, kept as they finish, so that a killed one goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from perfgate.builder import BuildJob, prepare
from perfgate.case import Case, short_hash
from perfgate.engines.cache import MANIFEST, Found
from perfgate.errors import EngineError
from perfgate.gate import Teller, environment_of
from perfgate.journal import Header, Ledger
from perfgate.leases import WAIT_S, Wait, leased, places
from perfgate.measure import RETRIES, Ask, Bench, Hardware
from perfgate.plant import Plant
from perfgate.record import Environment, PreparedInfo, Round, Side, now, printable
from perfgate.seats import journal_path, search_seat
from perfgate.state_folder import check_state
from perfgate.stopping import GOES_ON, Stop, Stopped
from perfgate.sweep_plan import Planned, Seconds, SweepPlan, SweepWish, keep_seconds

_CRASHES = 2  # rounds without any figure after which a configuration is given up


class Stage(StrEnum):
    """What a visit did last."""

    BUILD = "build"  # it failed
    ROUND = "round"


@dataclass(frozen=True, slots=True)
class Visit:
    """One turn of a configuration: a build that failed, or a round, before which the engine may have been built."""

    key: str
    stage: Stage
    round: Round
    prepared: PreparedInfo | None = None  # of the cold build before this round

    @property
    def is_counted(self) -> bool:
        return self.round.is_valid


@dataclass(frozen=True, slots=True)
class Swept:
    """All that a sweep measured: visits by configuration, in order."""

    plan: SweepPlan
    started: str
    seconds: float
    environment: Environment
    visits: tuple[Visit, ...]
    stopped: str = ""  # by what, where it did not come to its end

    def of(self, point: Planned) -> tuple[Visit, ...]:
        return tuple(one for one in self.visits if one.key == point.key)


def run_sweep(
    plan: SweepPlan, wish: SweepWish, teller: Teller, held: ExitStack, stop: Stop | None = None
) -> Swept:  # fmt: skip
    """Measure every configuration that can be; one that fails is told and the others go on.

    The passes go over all configurations in turn, so that drift of the machine hits all alike. The engine cache is
    neither read nor written: engines lie in folders of their own, which go when a configuration has its rounds.
    held: is to be left after `close_sweep`; until then nobody else sweeps in the state folder.
    stop: ends it early; what was measured is kept for the same command.

    Raises:
        UsageError: a checkpoint cannot be used, or another program measures on the device for too long.
    """
    check_state(wish.state)
    session = _Session(plan, wish, teller, stop or Stop(), held)
    try:
        session.carry_out()
    except Stopped:
        session.end_early()
    finally:
        keep_seconds(wish.folder, session.known)
    return session.finish()


class _Session:
    """What is built, what is measured, what failed."""

    def __init__(self, plan: SweepPlan, wish: SweepWish, teller: Teller, stop: Stop, held: ExitStack) -> None:
        self.plan, self.wish, self.teller, self.stop, self._held = plan, wish, teller, stop, held
        self.stopped = ""
        self.known = dict(plan.known)
        self.found: dict[str, Found] = {}  # engines on disk that this process knows
        self.unspent: set[str] = set()  # just built, and no round has counted since
        self.visits: list[Visit] = []
        self._begin = time.perf_counter()
        self._hardware = Hardware(plan.device.gpus)
        self._earlier_s = 0.0
        self.journal = _journal(plan, wish)
        self.started = now()

    def _take_up(self) -> str:
        """What an interrupted sweep measured; failures are tried again, and rounds of anything else do not count."""
        if self.wish.fresh:
            self.journal.close()
        header, stored = self.journal.resume(Header(self.plan.suite.name, self.started, "sweep"), self.teller.note)
        keys = {one.key for one in self.plan.measured}
        self.visits = [one for one in stored if one.key in keys and one.is_counted]
        if self.visits:
            known = "1 round is" if len(self.visits) == 1 else f"{len(self.visits)} rounds are"
            self.teller.note(f"resuming the sweep of {header.started}: {known} already measured")
        if other := len({one.key for one in stored} - keys):
            self.teller.note(
                f"rounds of {other} other configurations do not count: not asked for now, or of other weights, "
                "versions or workloads"
            )
        self._earlier_s = sum(one.round.seconds for one in self.visits)
        return header.started

    # -------------------------------------------------------------- measure

    def carry_out(self) -> None:
        """Everything, once the device is ours.

        Raises:
            Stopped: a signal came.
        """
        wanted = places(self.plan.device, (point.configuration.spec for point in self.plan.measured))
        wait, seat = Wait(WAIT_S, self.teller.note), search_seat(self.wish.state, self.wish.folder.name)
        with ExitStack() as stack:
            with self.stop.interrupts():
                self._held.enter_context(leased([seat], wait))
                self.started = self._take_up()
                leases = stack.enter_context(leased(wanted, wait))
            self.measure(leases)

    def end_early(self) -> None:
        self.stopped = self.stop.why(sum(one.is_counted for one in self.visits), GOES_ON)
        self.teller.note(self.stopped)

    def measure(self, leases: tuple[int, ...]) -> None:
        """Pass after pass, until every configuration has its rounds or has failed."""
        self._hardware = self._hardware.under(leases)
        while owed := [one for one in self.plan.measured if self._is_owed(one)]:
            fewest = min(self._done(one) for one in owed)
            for point in [one for one in owed if self._done(one) == fewest]:
                self._visit(point)

    def _mine(self, point: Planned) -> list[Visit]:
        return [one for one in self.visits if one.key == point.key]

    def _done(self, point: Planned) -> int:
        return sum(one.is_counted for one in self._mine(point))

    def _is_owed(self, point: Planned) -> bool:
        return self._done(point) < self.plan.rounds and not has_failed(self._mine(point))

    def _owes_build(self, point: Planned) -> bool:
        built = sum(one.prepared is not None for one in self._mine(point) if one.is_counted)
        return built < self.plan.builds

    def _visit(self, point: Planned) -> None:
        """Build where one is owed, and measure a round."""
        found = self._engine(point)
        if found is None:
            return
        self._tell(f"measuring {point.name}, round {self._done(point) + 1} of {self.plan.rounds}")
        begin = time.perf_counter()
        with self.stop.interrupts():
            (done,) = self._bench(point, found).measure((Ask(point.name, Side.CANDIDATE),), self._rounds(point))
        self._learn(point, round_s=time.perf_counter() - begin)
        built = None if found.from_cache else found.info(point.name)
        self._keep(Visit(point.key, Stage.ROUND, done, built))
        if done.is_valid:
            self.unspent.discard(point.key)
            self.found[point.key] = replace(found, from_cache=True)
        if not self._is_owed(point):
            shutil.rmtree(self._home(point), ignore_errors=True)

    def _engine(self, point: Planned) -> Found | None:
        """The engine of a visit; None where it cannot be built, which is kept as a failure."""
        if point.key in self.unspent:
            return self.found[point.key]
        if not self._owes_build(point) and point.key in self.found:
            return self.found[point.key]
        is_cold = self._owes_build(point)
        self._tell(f"building {point.name} (cold)" if is_cold else f"taking up the engine of {point.name}")
        if is_cold:
            shutil.rmtree(self._home(point), ignore_errors=True)
        begin = time.perf_counter()
        try:
            with self.stop.interrupts():
                found = prepare(self._job(point, fresh=is_cold), self.wish.folder / "work", self._hardware.leases)
        except EngineError as exc:
            self._keep(Visit(point.key, Stage.BUILD, _failed(point, printable(str(exc)))))
            return None
        if is_cold:
            self.unspent.add(point.key)
            self._learn(point, build_s=time.perf_counter() - begin)
        self.found[point.key] = replace(found, from_cache=not is_cold)  # only a cold build's seconds count
        return self.found[point.key]

    def _job(self, point: Planned, *, fresh: bool) -> BuildJob:
        return BuildJob(
            point.configuration.spec, self.plan.device, self._root(point), fresh, stall_s=self.plan.suite.gate.stall_s
        )

    def _home(self, point: Planned) -> Path:
        return self.wish.folder / "engines" / point.key

    def _root(self, point: Planned) -> Path:
        """A cache of this one engine: the one that an interrupted sweep left whole, else a new folder.

        Nothing that an earlier build left can warm a build there, and a builder that outlived a killed sweep does not
        write into it.
        """
        whole = sorted(self._home(point).glob(f"*/*/{MANIFEST}"))
        return whole[-1].parents[1] if whole else self._home(point) / f"{time.time_ns():x}"

    def _bench(self, point: Planned, found: Found) -> Bench:
        cases: tuple[Case, ...] = self.plan.sweep.cases(point.configuration)
        engines = {(point.name, Side.CANDIDATE): found}
        return Bench(
            self.wish.folder / "work", self.plan.suite.gate, cases, engines, Plant(),
            hardware=self._hardware,
        )  # fmt: skip

    def _rounds(self, point: Planned) -> list[Round]:
        """Those of the configuration: a text is scored in the first that counts."""
        return [one.round for one in self._mine(point)]

    def _keep(self, visit: Visit) -> None:
        self.journal.append(visit)
        self.visits.append(visit)
        if visit.round.fault:
            self.teller.note(f"{visit.round.engine}: {visit.stage} does not count: {visit.round.fault}")

    # -------------------------------------------------------------- told

    def _learn(self, point: Planned, build_s: float | None = None, round_s: float | None = None) -> None:
        """How long things last, the latest being the best guess for the next."""
        before = self.known.get(point.key) or replace(self.plan, known=self.known).seconds(point.key)
        self.known[point.key] = Seconds(build_s or before.build, round_s or before.round)

    def _tell(self, text: str) -> None:
        done, left_s, left = 0, 0.0, 0
        plan = replace(self.plan, known=self.known)
        for point in self.plan.measured:
            done += self._done(point)
            if self._is_owed(point):
                rounds = self.plan.rounds - self._done(point)
                builds = min(rounds, max(0, self.plan.builds - self._done(point)))
                left += rounds
                left_s += plan.seconds(point.key).round * rounds + plan.seconds(point.key).build * builds
        self.teller.step(text, done, done + left, left_s)

    def finish(self) -> Swept:
        """The whole."""
        prepared = next((one.prepared for one in self.visits if one.prepared), None)
        versions = prepared.versions if prepared else {}
        environment = environment_of(self.plan.device, versions, Plant(), self.plan.suite.gate.cpus)
        seconds = time.perf_counter() - self._begin + self._earlier_s
        return Swept(self.plan, self.started, seconds, environment, tuple(self.visits), self.stopped)


def close_sweep(swept: Swept, wish: SweepWish) -> None:
    """The sweep is reported. Its journal goes if nothing failed or is owed; else the same command goes on with that."""
    if not swept.stopped and not any(has_failed(swept.of(one)) for one in swept.plan.measured):
        _journal(swept.plan, wish).close()


def _journal(plan: SweepPlan, wish: SweepWish) -> Ledger[Visit]:
    """Finished visits; a sweep of some configurations alone has a journal of its own."""
    ending = f"-{short_hash(sorted(wish.names))}" if wish.names else ""
    return Ledger(journal_path(wish.state, f"{plan.suite.name}-sweep{ending}", plan.device), Visit)


def has_failed(visits: Sequence[Visit]) -> bool:
    """Whether a configuration is given up: its build failed, or too many rounds crashed or were disturbed."""
    bad = [one for one in visits if not one.is_counted]
    crashed = sum(not one.round.cases for one in bad)
    return any(one.stage is Stage.BUILD for one in bad) or crashed >= _CRASHES or len(bad) > RETRIES


def _failed(point: Planned, why: str) -> Round:
    return Round(point.name, Side.CANDIDATE, 0, now(), 0.0, (), fault=why)
