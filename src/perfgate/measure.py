"""Rounds in fresh processes: which one is next, and how one is carried out."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from perfgate.aftermath import Scene
from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork, ServingWork, TasksWork
from perfgate.engines.cache import Found
from perfgate.engines.carrying import can_rerun
from perfgate.errors import RecordError, RoundError
from perfgate.fault_kinds import ADVICE, ProcessFault
from perfgate.gpu.facts import Gpu
from perfgate.gpu.rounds import gpus_of, with_gpus
from perfgate.gpu.watch import Watch, watching
from perfgate.gpu_memory import GpuUse, await_returned, gpu_use
from perfgate.keeper import Trimmed
from perfgate.metrics import PROCESS_WIDE
from perfgate.percent import percent
from perfgate.pinning import spare_cpus
from perfgate.plant import Plant
from perfgate.process import GRACE_S, Ended, Files
from perfgate.quality_suite import Reference
from perfgate.record import CaseRound, Round, Side, decode, encode, now, printable, write_atomic
from perfgate.terms import Gate, Pairing
from perfgate.turns import Launch, run_in_turns
from perfgate.worker import Job
from perfgate.workloads.distributions import Alike

SERVER_END_S = 60.0  # for a round that is out of time to end its server, before the next one starts
SCORINGS = 2  # of a text that could not be scored: a third would fail the same way
LOG_OF_VALID_BYTES = 1_000_000
RETRIES = 4  # rounds measured again per engine because one failed or was disturbed


@dataclass(frozen=True, slots=True)
class Ask:
    """A round that is wanted."""

    engine: str
    side: Side


Turnout = tuple[Ask, ...]  # rounds that run together, taking turns: one, or candidate and baseline


def first_rounds(
    rounds: Sequence[Round], engines: Iterable[str], first: int, paired: frozenset[str], gate: Gate
) -> list[Turnout]:
    """Rounds still owed before the first look, engine by engine in turn.

    That spreads every engine over the whole session, so that drift of the machine hits all alike.
    An engine in `paired` has a round of its baseline engine for each of its own.
    """
    owed = {engine: _owed(rounds, engine, first, paired, gate) for engine in engines}
    longest = max(map(len, owed.values()), default=0)
    return [mine[number] for number in range(longest) for mine in owed.values() if number < len(mine)]


def _owed(rounds: Sequence[Round], engine: str, first: int, paired: frozenset[str], gate: Gate) -> list[Turnout]:
    a, b = (count(rounds, engine, side) for side in (Side.BASELINE, Side.CANDIDATE))
    if _gave_up(rounds, engine):
        return []
    if engine not in paired:
        return [(Ask(engine, Side.CANDIDATE),)] * (first - b)
    if gate.pairing is Pairing.INTERLEAVED:
        return [_pair(engine, number) for number in range(b, first)]
    return _baab(engine, a, b, first)


def further_rounds(
    rounds: Sequence[Round], undecided: Iterable[str], rerunnable: Sequence[str], gate: Gate
) -> list[Turnout]:
    """One further round, or pair of rounds, for each undecided engine that has not used up its rounds."""
    out: list[Turnout] = []
    for engine in undecided:
        if may_go_on(rounds, engine, rerunnable, gate):
            a, b = (count(rounds, engine, side) for side in (Side.BASELINE, Side.CANDIDATE))
            if engine not in rerunnable:
                out.append((Ask(engine, Side.CANDIDATE),))
            elif gate.pairing is Pairing.INTERLEAVED:
                out.append(_pair(engine, b))
            else:
                out += _baab(engine, a, b, gate.most_rounds)[:1]
    return out


def may_go_on(rounds: Sequence[Round], engine: str, rerunnable: Iterable[str], gate: Gate) -> bool:
    """Whether an engine has rounds left: neither all are used nor did too many fail."""
    sides = list(Side) if engine in rerunnable else [Side.CANDIDATE]
    left = any(count(rounds, engine, side) < gate.most_rounds for side in sides)
    return left and not _gave_up(rounds, engine)


def _pair(engine: str, number: int) -> Turnout:
    """Candidate and baseline taking turns; who begins alternates, so that a linear drift cancels."""
    sides = (Ask(engine, Side.CANDIDATE), Ask(engine, Side.BASELINE))
    return sides if number % 2 == 0 else sides[::-1]


def _baab(engine: str, a: int, b: int, most: int) -> list[Turnout]:
    """Single rounds in the order BAAB BAAB..., until both sides have `most`, after a and b that are done.

    A linear drift cancels in this order. A side that is behind, because rounds failed, catches up first.
    """
    out: list[Turnout] = []
    while a < most or b < most:
        wanted = sum(number % 4 in (1, 2) for number in range(a + b + 1))
        is_baseline = a < most and (a < wanted or b >= most)
        out.append((Ask(engine, Side.BASELINE if is_baseline else Side.CANDIDATE),))
        a, b = (a + 1, b) if is_baseline else (a, b + 1)
    return out


def count(rounds: Iterable[Round], engine: str, side: Side) -> int:
    """Valid rounds of an engine on one side."""
    return sum(one.engine == engine and one.side is side and one.is_valid for one in rounds)


def _gave_up(rounds: Sequence[Round], engine: str) -> bool:
    failed = sum(one.engine == engine and not one.is_valid for one in rounds)
    return failed > RETRIES or fails_for_good(rounds, engine)


def fails_for_good(rounds: Sequence[Round], engine: str) -> bool:
    """Whether a round of an engine failed in a way that trying again does not mend."""
    return any(is_final(one, rounds) for one in rounds if one.engine == engine and not one.is_valid)


def is_final(failed: Round, rounds: Iterable[Round]) -> bool:
    """Whether trying again is in vain: its kind does not pass by itself, and the same never went well before."""
    if failed.fault_kind is None or ADVICE[failed.fault_kind].may_pass:
        return False
    return not any(one.is_valid and (one.engine, one.side) == (failed.engine, failed.side) for one in rounds)


@dataclass(frozen=True, slots=True)
class Hardware:
    """What rounds run on; made before anything of ours runs.

    gpus: those that engines see, in their order. used: what was used of each GPU before the first round.
    leases: descriptors of the devices' leases (`perfgate.leases`) and of the engines' uses, which rounds keep open.
    """

    gpus: tuple[Gpu, ...] = ()
    used: tuple[GpuUse, ...] = field(default_factory=gpu_use)
    leases: tuple[int, ...] = ()

    def under(self, leases: tuple[int, ...]) -> Hardware:
        """The same, once it is ours."""
        return replace(self, leases=leases)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rounds run: engines by side, works by engine, and the folder for jobs and logs.

    baseline_specs: of engines whose baseline side has a spec of its own; both sides then score texts.
    left_out: by engine, why metrics of its whole process are not told (`perfgate.loads`).
    """

    folder: Path
    gate: Gate
    cases: tuple[Case, ...]
    engines: Mapping[tuple[str, Side], Found]
    plant: Plant
    baseline_specs: Mapping[str, EngineSpec] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def measure(self, turnout: Turnout, rounds: Sequence[Round]) -> list[Round]:
        """Run rounds, each in a fresh process, after those done. Every failure becomes a round with a fault.

        Texts and tasks are scored once per engine: scores do not differ between processes.
        """
        started, scene = now(), Scene.now()
        jobs = [self._job(ask, len(rounds) + number, rounds) for number, ask in enumerate(turnout)]
        jobs = [replace(job, timeout_s=self._limit_s(jobs) + 10) for job in jobs]
        files = [Files.of(self.folder, job.folder.name) for job in jobs]
        if held := await_returned(self.hardware.used, max(job.engine.tp * job.engine.pp for job in jobs)):
            return [_failed(job, started, f"not begun: {held}", ProcessFault.GPU_MEMORY_HELD) for job in jobs]
        try:
            with self._watching(jobs) as watch:
                ended = run_in_turns([self._launch(*one) for one in zip(jobs, files, strict=True)], self._limit_s(jobs))
        except RoundError as exc:
            return [_failed(job, started, str(exc), exc.kind) for job in jobs]
        made = [
            (_result(job, end, mine.result, started, scene), job)
            for job, end, mine in zip(jobs, ended, files, strict=True)
        ]
        done = [(self._checked(one, job, scene), job) for one, job in made]
        seen = [with_gpus(one, watch.samples, len(self._gpus(job)), self.gate.gpu, rounds) for one, job in done]
        for one, job, end in zip(seen, jobs, ended, strict=True):
            if one.is_valid and not any(case.faults or case.broken for case in one.cases):
                _shorten(_logs(job, end.log))
        return seen

    def _watching(self, jobs: Sequence[Job]) -> AbstractContextManager[Watch]:
        """Sampling of the GPUs that these rounds use, on a core of its own where one is left."""
        gpus = max((self._gpus(job) for job in jobs), key=len)
        cpus = spare_cpus((*self.gate.cpus, *self.gate.client_cpus)) if self.gate.cpus else ()
        return watching(self.folder, f"{jobs[0].folder.name}", gpus, cpus, self.gate.gpu.lock_mhz)

    def _gpus(self, job: Job) -> tuple[Gpu, ...]:
        """Those of a round; a server that we did not start may run on another machine."""
        gpus = self.hardware.gpus
        return gpus_of(job.engine, gpus) if gpus and can_rerun(job.engine) else ()

    def _limit_s(self, jobs: Sequence[Job]) -> float:
        """How long a round, or several that take turns, may last: servers start one after the other."""
        return self.gate.round_timeout_s + self.gate.server_start_s * sum(job.needs_server for job in jobs)

    def _checked(self, done: Round, job: Job, scene: Scene) -> Round:
        share = done.host.foreign_cpu_share + done.host.steal_share
        if done.is_valid and share > self.gate.max_foreign_cpu:
            what = f"other programs took {percent(share, 0)} of the CPU while it was timed"
            return replace(done, fault=what, fault_kind=ProcessFault.DISTURBED)
        return replace(done, cases=tuple(_explained(case, job, scene) for case in done.cases))

    def _job(self, ask: Ask, index: int, rounds: Sequence[Round]) -> Job:
        found = self.engines[ask.engine, ask.side]
        mine = [case for case in self.cases if case.engine.name == ask.engine]
        works = [case.work for case in mine]
        own = self.baseline_specs.get(ask.engine) if ask.side is Side.BASELINE else None
        scores = ask.side is Side.CANDIDATE or own is not None
        unscored = tuple(_unscored(rounds, ask, mine)) if scores else ()
        values = {"engine_bytes": float(found.entry.engine_bytes)}
        if not found.from_cache:
            values["build_s"] = sum(found.entry.phases.values())
        return Job(
            engine=own or mine[0].engine,
            prepared=found.folder,
            side=ask.side,
            index=index,
            timeout_s=self.gate.round_timeout_s,
            build=tuple(work for work in works if isinstance(work, BuildWork)),
            latency=tuple(work for work in works if isinstance(work, LatencyWork)),
            perplexity=tuple(work for work in unscored if isinstance(work, PerplexityWork)),
            tasks=tuple(work for work in unscored if isinstance(work, TasksWork)),
            plant=self.plant if ask.side is Side.CANDIDATE else Plant(),
            values=values,
            cpus=self.gate.cpus,
            client_cpus=self.gate.client_cpus,
            serving=tuple(work for work in works if isinstance(work, ServingWork)),
            folder=self.folder / f"{index:03}-{ask.engine}-{ask.side}",
            alike=self._alike(mine) if unscored else {},
            untold=dict.fromkeys(PROCESS_WIDE, self.left_out[ask.engine]) if ask.engine in self.left_out else {},
        )

    def _alike(self, cases: Sequence[Case]) -> dict[str, Alike]:
        """By workload: where a reference keeps its distributions, or which ones an engine's are compared with."""
        measured = {case.id: case for case in self.cases}
        found: dict[str, Alike] = {}
        for one in self.gate.references:
            if one.reference_case not in measured:
                continue
            for case in cases:
                if case.id in (one.case, one.reference_case):
                    found[case.work.name] = self._distributions(one, keeps=case.id == one.reference_case)
        return found

    def _distributions(self, of: Reference, *, keeps: bool) -> Alike:
        """The file, with a tag of everything that the reference's distributions depend on."""
        engine = self.engines.get((of.reference_engine, Side.CANDIDATE))
        tag = f"{engine.entry.key if engine else ''} {of.reference_hash} {self.plant.perplexity:g}"
        path = self.folder / "distributions" / f"{of.reference_case}.npz"
        return Alike(of.reference_engine, path, tag, keeps=keeps)

    def _launch(self, job: Job, files: Files) -> Launch:
        shutil.rmtree(job.folder, ignore_errors=True)  # of an earlier run
        write_atomic(files.job, encode(job))
        interpreter = self.engines[job.engine.name, job.side].interpreter
        grace_s = SERVER_END_S if job.needs_server else GRACE_S
        return Launch(
            "perfgate.worker", files.args, files.log, interpreter, grace_s, self.gate.stall_s, self.hardware.leases
        )


def _unscored(rounds: Iterable[Round], ask: Ask, cases: Iterable[Case]) -> Iterator[PerplexityWork | TasksWork]:
    """Texts and tasks that no valid round of that engine and side has scored, nor tried in vain more than once."""
    mine = [one for one in rounds if (one.engine, one.side) == (ask.engine, ask.side) and one.is_valid]
    for case in cases:
        told = [measured for one in mine for measured in one.cases if measured.case == case.id]
        is_scored = any(not one.faults for one in told) or len(told) >= SCORINGS
        if isinstance(case.work, PerplexityWork | TasksWork) and not is_scored:
            yield case.work


def _result(job: Job, ended: Ended, result: Path, started: str, scene: Scene) -> Round:
    """The round that a process left behind, or one that says why there is none."""
    if ended.code != 0 or not result.exists():
        found = scene.diagnose(ended.code, _logs(job, ended.log))
        why = f"{found}; " if found else ""
        last = "" if found else f": {ended.last_words}"
        what = f"{why}the measuring process ended with code {ended.code} while '{ended.state}'{last} (log: {ended.log})"
        return _failed(job, started, printable(what), found.kind if found else ProcessFault.CRASHED)
    try:
        done = decode(result.read_bytes(), Round, result)
    except RecordError as exc:
        return _failed(job, started, f"the measuring process answered nonsense: {exc}", ProcessFault.CRASHED)
    if done.fault is None:
        return done
    found = scene.diagnose(ended.code, _logs(job, ended.log), done.fault)
    return replace(done, fault=found.beside(done.fault), fault_kind=found.kind) if found else done


def _explained(case: CaseRound, job: Job, scene: Scene) -> CaseRound:
    """A case that has no figures, such as of a server that did not start beside an engine that ran."""
    found = scene.diagnose(0, _logs(job), " ".join(case.faults)) if case.faults else None
    if found is None:
        return case
    first, *others = case.faults
    return replace(case, faults=(found.beside(first), *others), fault_kind=found.kind)


def _failed(job: Job, started: str, fault: str, kind: ProcessFault | None) -> Round:
    return Round(job.engine.name, job.side, job.index, started, 0.0, (), fault=fault, fault_kind=kind)


def _shorten(logs: Iterable[Path]) -> None:
    """Head and tail are enough of a round in which nothing failed: hundreds of them lie beside each other."""
    for one in logs:
        Trimmed(one, LOG_OF_VALID_BYTES).look()


def _logs(job: Job, *own: Path) -> list[Path]:
    """The logs of a round's servers, which end before their client, and its own."""
    return [*sorted(job.folder.glob("*.log")), *own]
