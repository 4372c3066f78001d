"""Rounds in fresh processes: which one is next, and how one is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork
from perfgate.engines.cache import Found
from perfgate.errors import RecordError, RoundError
from perfgate.plant import Plant
from perfgate.process import Ended, Files
from perfgate.record import Round, Side, decode, encode, write_atomic
from perfgate.suite import Gate, Pairing
from perfgate.turns import Launch, run_in_turns
from perfgate.worker import Job

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
    An engine in `paired` has a round of its baseline engine beside each of its own.
    """
    return [
        turnout
        for number in range(first)
        for engine in engines
        if number >= count(rounds, engine, Side.CANDIDATE) and not _gave_up(rounds, engine)
        for turnout in (_pair(engine, number, gate) if engine in paired else [(Ask(engine, Side.CANDIDATE),)])
    ]


def further_rounds(
    rounds: Sequence[Round], undecided: Iterable[str], rerunnable: Sequence[str], gate: Gate
) -> list[Turnout]:
    """One further round, or pair of rounds, for each undecided engine that has not used up its rounds."""
    out: list[Turnout] = []
    for engine in undecided:
        if may_go_on(rounds, engine, gate):
            done = count(rounds, engine, Side.CANDIDATE)
            out += _pair(engine, done, gate) if engine in rerunnable else [(Ask(engine, Side.CANDIDATE),)]
    return out


def may_go_on(rounds: Sequence[Round], engine: str, gate: Gate) -> bool:
    """Whether an engine has rounds left: neither all are used nor did too many fail."""
    return count(rounds, engine, Side.CANDIDATE) < gate.most_rounds and not _gave_up(rounds, engine)


def _pair(engine: str, number: int, gate: Gate) -> list[Turnout]:
    """Candidate and baseline together, or one right after the other; BAAB order lets a linear drift cancel."""
    sides = (Ask(engine, Side.CANDIDATE), Ask(engine, Side.BASELINE))
    order = sides if number % 2 == 0 else sides[::-1]
    return [order] if gate.pairing is Pairing.INTERLEAVED else [(ask,) for ask in order]


def count(rounds: Iterable[Round], engine: str, side: Side) -> int:
    """Valid rounds of an engine on one side."""
    return sum(one.engine == engine and one.side is side and one.is_valid for one in rounds)


def _gave_up(rounds: Iterable[Round], engine: str) -> bool:
    return sum(one.engine == engine and not one.is_valid for one in rounds) > RETRIES


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rounds run: engines by side, works by engine, and the folder for jobs and logs.

    baseline_specs: of engines whose baseline side has a spec of its own; both sides then score texts.
    """

    folder: Path
    gate: Gate
    cases: tuple[Case, ...]
    engines: Mapping[tuple[str, Side], Found]
    plant: Plant
    baseline_specs: Mapping[str, EngineSpec] = field(default_factory=dict)

    def measure(self, turnout: Turnout, rounds: Sequence[Round]) -> list[Round]:
        """Run rounds, each in a fresh process, after those done. Every failure becomes a round with a fault.

        Texts are scored once per engine: scores do not differ between processes.
        """
        started = datetime.now(UTC).isoformat(timespec="seconds")
        jobs = [self._job(ask, len(rounds) + number, rounds) for number, ask in enumerate(turnout)]
        files = [Files.of(self.folder, f"{job.index:03}-{job.engine.name}-{job.side}") for job in jobs]
        try:
            ended = run_in_turns(
                [self._launch(*one) for one in zip(jobs, files, strict=True)], self.gate.round_timeout_s
            )
        except RoundError as exc:
            return [Round(job.engine.name, job.side, job.index, started, 0.0, (), fault=str(exc)) for job in jobs]
        left = zip(jobs, ended, files, strict=True)
        return [self._checked(_result(end, mine.result), job, started) for job, end, mine in left]

    def _checked(self, done: Round | str, job: Job, started: str) -> Round:
        if isinstance(done, str):
            return Round(job.engine.name, job.side, job.index, started, 0.0, (), fault=done)
        share = done.host.foreign_cpu_share + done.host.steal_share
        if done.is_valid and share > self.gate.max_foreign_cpu:
            return replace(done, fault=f"other programs took {share:.0%} of the CPU while it was timed")
        return done

    def _job(self, ask: Ask, index: int, rounds: Sequence[Round]) -> Job:
        found = self.engines[ask.engine, ask.side]
        mine = [case for case in self.cases if case.engine.name == ask.engine]
        works = [case.work for case in mine]
        own = self.baseline_specs.get(ask.engine) if ask.side is Side.BASELINE else None
        scores = (ask.side is Side.CANDIDATE or own is not None) and count(rounds, ask.engine, ask.side) == 0
        values = {"engine_bytes": float(found.entry.engine_bytes)}
        if not found.from_cache:
            values["build_s"] = sum(found.entry.phases.values())
        return Job(
            engine=own or mine[0].engine,
            prepared=found.folder,
            side=ask.side,
            index=index,
            timeout_s=self.gate.round_timeout_s + 10,
            build=tuple(work for work in works if isinstance(work, BuildWork)),
            latency=tuple(work for work in works if isinstance(work, LatencyWork)),
            perplexity=tuple(work for work in works if isinstance(work, PerplexityWork)) if scores else (),
            plant=self.plant if ask.side is Side.CANDIDATE else Plant(),
            values=values,
        )

    def _launch(self, job: Job, files: Files) -> Launch:
        write_atomic(files.job, encode(job))
        interpreter = self.engines[job.engine.name, job.side].interpreter
        return Launch("perfgate.worker", files.args, files.log, interpreter)


def _result(ended: Ended, result: Path) -> Round | str:
    """The round that a process left behind, or why there is none."""
    if ended.code != 0 or not result.exists():
        return f"the measuring process ended with code {ended.code}: {ended.last_words} (log: {ended.log})"
    try:
        return decode(result.read_bytes(), Round, result)
    except RecordError as exc:
        return f"the measuring process answered nonsense: {exc}"
