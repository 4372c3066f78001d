"""What history tells a gate: sessions of the baseline's engines and trails, as of before a run began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfgate.baselines import Baseline, BaselineCase
from perfgate.errors import RecordError
from perfgate.history import History, Sessions
from perfgate.measured import Point
from perfgate.question import Known
from perfgate.record import CaseInfo, Run
from perfgate.verdict import MetricVerdict


@dataclass(frozen=True, slots=True)
class Past:
    """What was known before a run; `note` says why history was left out, where it could not be read."""

    known: Known = field(default_factory=dict)
    trails: Mapping[tuple[str, str], tuple[Point, ...]] = field(default_factory=dict)
    note: str | None = None


Stored = tuple[Path, Baseline] | None


def recall(path: Path, run: Run, stored: Stored) -> Past:
    """Everything in the history of a run's cases that began before the run did.

    A history that cannot be read stops no gate: it is left out, with a note.
    """
    baseline = stored[1] if stored else None
    suite, device = run.suite, run.environment.device
    try:
        if not path.exists():
            return Past()
        with History(path) as history:
            found = history.known(suite, device, _engines(run.cases, baseline), run.started)
            trails = {
                (case.id, metric): points
                for case in run.cases
                for metric, points in history.trail(suite, device, case.id, case.hash, run.started).items()
            }
    except (RecordError, OSError) as exc:
        return Past(note=f"history is left out: {exc}")
    return Past(without_accepted(found, baseline) if baseline else {}, trails)


def remember(path: Path, run: Run, stored: Stored, past: Past, verdicts: Sequence[MetricVerdict]) -> list[str]:
    """Add a judged run to the history that could be read before it; a line that says why, where it cannot be."""
    if past.note:
        return []
    try:
        with History(path) as history:
            history.add(
                run,
                engine_keys(run.cases, stored[1] if stored else None),
                {(one.case, one.metric) for one in verdicts if one.is_unchanged},
            )
    except (RecordError, OSError) as exc:
        return [f"this run is not in the history: {exc}"]
    return []


def engine_keys(cases: Sequence[CaseInfo], baseline: Baseline | None) -> dict[str, str]:
    """The key of the engine that each case's baseline was measured with, by case id."""
    stored = baseline.cases if baseline else {}
    return {case.id: stored[case.id].engine_key for case in cases if case.id in stored}


def _engines(cases: Sequence[CaseInfo], baseline: Baseline | None) -> dict[str, tuple[str, str]]:
    hashes = {case.id: case.hash for case in cases}
    return {case: (hashes[case], key) for case, key in engine_keys(cases, baseline).items()}


def without_accepted(found: Mapping[tuple[str, str], Sessions], baseline: Baseline) -> Known:
    """What history adds to a baseline: [session][round] by case id and metric, no round counted twice.

    Left out are sessions that were not found unchanged: an engine whose key stayed the same, though its speed did not
    (a driver, code that no key knows), would be red once, and from then on its slow rounds were the noise to expect.
    Left out are the accepted runs themselves, runs that were left out on request when it was accepted, and all that
    is older than the oldest accepted run: accepting decided on it, and a level that was accepted as gone is gone.
    A baseline that does not name its runs leaves out the sessions that hold an accepted session's rounds.
    """
    made = baseline.provenance
    refused = {*made.left_out, *(start for one in made.history for start in one.left_out)}
    return {
        (case, metric): tuple(_further(sessions, baseline.cases[case], metric, refused))
        for (case, metric), sessions in found.items()
        if case in baseline.cases
    }


def _further(sessions: Sessions, stored: BaselineCase, metric: str, refused: set[str]) -> Iterator[tuple[float, ...]]:
    series = stored.metrics.get(metric)
    accepted = [set(one) for one in series.sessions if one] if series and not stored.runs else []
    for started, values, is_trusted in zip(sessions.started, sessions.values, sessions.is_trusted, strict=True):
        is_decided = bool(stored.runs) and (started in stored.runs or started < stored.runs[0])
        is_out = is_decided or started in refused or not is_trusted
        if not is_out and not any(one <= set(values) for one in accepted):
            yield values
