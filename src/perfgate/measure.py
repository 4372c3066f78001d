"""Rounds in fresh processes: which one is next, and how one is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from perfgate.case import BuildWork, Case, LatencyWork, PerplexityWork
from perfgate.engines.base import Plant
from perfgate.engines.cache import Found
from perfgate.errors import PerfgateError, RecordError, RoundError
from perfgate.process import run_module
from perfgate.record import Round, Side, decode, encode, write_atomic
from perfgate.suite import Gate
from perfgate.worker import Job

RETRIES = 2  # rounds measured again per engine because one failed or was disturbed


@dataclass(frozen=True, slots=True)
class Ask:
    """The next round to run."""

    engine: str
    side: Side


def first_rounds(rounds: Sequence[Round], engines: Iterable[str], first: int) -> list[Ask]:
    """Candidate rounds still owed before the first look, engine by engine in turn.

    Turns spread every engine over the whole session, so that drift of the machine hits all alike.
    """
    return [
        Ask(engine, Side.CANDIDATE)
        for turn in range(first)
        for engine in engines
        if turn >= count(rounds, engine, Side.CANDIDATE) and not _gave_up(rounds, engine)
    ]


def further_rounds(rounds: Sequence[Round], undecided: Iterable[str], rerunnable: frozenset[str], gate: Gate) -> list[Ask]:
    """One further round for each undecided engine: baseline and candidate in turn where both can run."""
    out = []
    for engine in undecided:
        a, b = count(rounds, engine, Side.BASELINE), count(rounds, engine, Side.CANDIDATE)
        side = Side.BASELINE if engine in rerunnable and a < b else Side.CANDIDATE
        if (a if side is Side.BASELINE else b) < gate.most_rounds and not _gave_up(rounds, engine):
            out.append(Ask(engine, side))
    return out


def count(rounds: Iterable[Round], engine: str, side: Side) -> int:
    """Valid rounds of an engine on one side."""
    return sum(one.engine == engine and one.side is side and one.is_valid for one in rounds)


def _gave_up(rounds: Iterable[Round], engine: str) -> bool:
    return sum(one.engine == engine and not one.is_valid for one in rounds) > RETRIES


@dataclass(frozen=True, slots=True)
class Bench:
    """Where rounds run: engines by side, works by engine, and the folder for jobs and logs."""

    folder: Path
    gate: Gate
    cases: tuple[Case, ...]
    engines: Mapping[tuple[str, Side], Found]
    plant: Plant

    def measure(self, ask: Ask, rounds: Sequence[Round]) -> Round:
        """Run one round after those done. Every failure becomes a round with a fault.

        Texts are scored once per engine: scores do not differ between processes.
        """
        scores = ask.side is Side.CANDIDATE and count(rounds, ask.engine, ask.side) == 0
        started = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            done = self._run(self._job(ask, len(rounds), scores))
        except PerfgateError as exc:
            return Round(ask.engine, ask.side, len(rounds), started, 0.0, (), fault=str(exc))
        share = done.host.foreign_cpu_share + done.host.steal_share
        if done.is_valid and share > self.gate.max_foreign_cpu:
            return replace(done, fault=f"other programs took {share:.0%} of the CPU while it was timed")
        return done

    def _run(self, job: Job) -> Round:
        stem = self.folder / f"{job.index:03}-{job.engine.name}-{job.side}"
        job_path, result, log = (stem.with_name(f"{stem.name}.{end}") for end in ("job.json", "result.json", "log"))
        result.unlink(missing_ok=True)
        write_atomic(job_path, encode(job))
        ended = run_module("perfgate.worker", [str(job_path), str(result)], self.gate.round_timeout_s, log)
        if ended.code != 0 or not result.exists():
            raise RoundError(f"the measuring process ended with code {ended.code}: {ended.last_words} (log: {ended.log})")
        try:
            return decode(result.read_bytes(), Round, result)
        except RecordError as exc:
            raise RoundError(f"the measuring process answered nonsense: {exc}") from exc

    def _job(self, ask: Ask, index: int, scores: bool) -> Job:
        found = self.engines[ask.engine, ask.side]
        mine = [case for case in self.cases if case.engine.name == ask.engine]
        works = [case.work for case in mine]
        values = {"engine_bytes": float(found.entry.engine_bytes)}
        if not found.from_cache:
            values["build_s"] = sum(found.entry.phases.values())
        return Job(
            engine=mine[0].engine,
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

