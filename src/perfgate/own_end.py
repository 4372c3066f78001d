"""The end of a session whose tests gated figures of their own: one run, one comparison, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from perfgate.accepting import Request, accept, record_missing
from perfgate.comparison import Comparison, baseline_info
from perfgate.errors import PerfgateError
from perfgate.history import history_path
from perfgate.own_case import OWN, OwnCase, own_run
from perfgate.own_session import OwnSession
from perfgate.recall import Past, recall, remember
from perfgate.record import Run
from perfgate.report import Behind, write_reports
from perfgate.runs import keep_run, kept_run_named, known_runs
from perfgate.terms import Action
from perfgate.uncounted import uncounted
from perfgate.verdict import MetricVerdict, Verdict


@dataclass(frozen=True, slots=True)
class OwnDone:
    """What came of all tests. fault: why the baseline that was asked for was not written."""

    run: Run
    comparison: Comparison
    reports: tuple[Path, ...] = ()
    fault: str | None = None
    behind: Behind | None = None


def finish(cases: Sequence[OwnCase], session: OwnSession, out: Path) -> OwnDone:
    """Keep the run, its history and its baseline as options and policy say, and write the reports into `out`."""
    options, stored = session.options, session.stored
    run = own_run(cases, session.started)
    past = recall(history_path(options.state), run, stored)
    notes = [note for case in cases for note in case.notes] + ([past.note] if past.note else [])
    kept, fault = ([], None) if session.stopped else _kept(run, cases, session, past)
    comparison = _comparison(run, cases, session, (*notes, *kept))
    if session.stopped:
        comparison = comparison.ended_early(session.stopped)
    behind = Behind.of(stored, past)
    return OwnDone(run, comparison, tuple(write_reports(run, comparison, out, behind)), fault, behind)


def _kept(run: Run, cases: Sequence[OwnCase], session: OwnSession, past: Past) -> tuple[list[str], str | None]:
    """Keep the run, its history and its baseline; what is said of it, and why the baseline was not written."""
    state = session.options.state
    path = keep_run(run, state)
    said = remember(history_path(state), run, session.stored, past, _verdicts(cases))
    try:
        return [*said, *_keep(run, path, cases, session)], None
    except PerfgateError as exc:
        return said, str(exc)


def _verdicts(cases: Sequence[OwnCase]) -> list[MetricVerdict]:
    return [one for case in cases if case.verdict for one in case.verdict.metrics]


def _comparison(run: Run, cases: Sequence[OwnCase], session: OwnSession, notes: tuple[str, ...]) -> Comparison:
    return Comparison(
        OWN, run.started, sum(one.seconds for one in run.rounds), session.options.policy, run.environment,
        baseline_info(session.stored), tuple(case.verdict for case in cases if case.verdict), session.gate.alpha,
        session.gate.beta, len(run.rounds), notes, uncounted=tuple(uncounted(run)),
    )  # fmt: skip


def _keep(run: Run, kept: Path | None, cases: Sequence[OwnCase], session: OwnSession) -> list[str]:
    """As a gate does with its suite's cases (`perfgate.gate`)."""
    options, stored = session.options, session.stored
    verdicts = _verdicts(cases)
    if options.update_reason is not None:
        gate = replace(session.gate, metrics=tuple({one.name: one for case in cases for one in case.metrics}.values()))
        request = Request(options.update_reason, options.update_expires, only_new=options.update_only_new)
        with kept_run_named(kept):
            known = known_runs(options.state, OWN, run.environment.device)
            said, proposal = accept([run], verdicts, options.baselines, request, gate, known)
        return [said, *proposal.notes]
    missing = any(one.verdict is Verdict.NO_BASELINE for one in verdicts)
    if not missing or session.policy.no_baseline is not Action.RECORD:
        return []
    return record_missing(run, verdicts, options.state / "baselines", stored[1] if stored else None)
