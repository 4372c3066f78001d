"""Making runs the baseline: recorded on this machine, or accepted into the reviewed files.

Accepting must never ratchet to a lucky run. So the level of a baseline is that of all valid rounds
of all runs known of its engine (`known`), never of a selection; rounds of an unchanged engine are
added to those accepted before; a case needs `LEAST_ROUNDS`; and what is written is judged against
its own halves first (`perfgate.halves`). What got worse can be accepted, but stands in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from perfgate.baselines import (
    Baseline,
    BaselineCase,
    Provenance,
    accepted_cases,
    baseline_from_run,
    baseline_path,
    engine_keys,
    find_baseline,
    refuse_planted,
    save_baseline,
)
from perfgate.errors import BaselineError
from perfgate.halves import discords
from perfgate.metrics import LOSS, PAIRED, Kind, catalogue
from perfgate.origin import joined, repeated_file
from perfgate.percent import percent
from perfgate.quality import failed_quality
from perfgate.record import CaseInfo, Run
from perfgate.sessions import has_all, merge, newest_of, other_runs, restricted
from perfgate.terms import Gate
from perfgate.verdict import MetricVerdict, Verdict

# The median of four rounds lies between the middle two: one lucky round cannot be the level. And with
# fewer, a half of the self-test is a single round, which the judge lets condemn nobody: it could not fail.
LEAST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Request:
    """How runs are to be accepted.

    expires: UTC, ISO 8601; None keeps the old expiry while cases of the old file are kept.
    only_new: cases that have a baseline already are left as they are.
    alone: runs that this machine knows of the same engines are left out, which the file then says.
    """

    reason: str
    expires: str | None = None
    only_new: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """What accepting would write. `notes` are lines for people; `is_change` is false where nothing would be written."""

    before: Baseline | None
    after: Baseline
    notes: tuple[str, ...]
    is_change: bool = True


def record_missing(
    run: Run, verdicts: Sequence[MetricVerdict], root: Path, before: Baseline | None
) -> list[str]:  # fmt: skip
    """Keep the cases that had no baseline as this machine's own, but of engines whose quality failed; what to say."""
    if run.environment.inject:
        return ["no baseline was recorded: a regression is planted in this run"]
    worse = {one.case for one in verdicts if one.verdict is Verdict.REGRESSED and one.metric != LOSS}  # than it has
    unknown = {one.case for one in verdicts if one.verdict is Verdict.NO_BASELINE} - worse
    failed = failed_quality(verdicts, run.cases)
    refused = {case.id: failed[case.engine] for case in run.cases if case.id in unknown and case.engine in failed}
    said = [
        f"nothing of {engine} was recorded: {one.case} {one.metric} is {one.verdict}: {one.reason}"
        for engine, one in failed.items()
        if one in refused.values()
    ]
    partial = replace(run, cases=tuple(case for case in run.cases if case.id in unknown - refused.keys()))
    if not accepted_cases(partial):
        return said
    path = baseline_path(root, run.environment.device, run.suite)
    provenance = _provenance(run, "first run on this machine", datetime.now(UTC))
    save_baseline(path, baseline_from_run(partial, provenance, before))
    cases = "1 case" if len(partial.cases) == 1 else f"{len(partial.cases)} cases"
    is_judged = any(one.verdict not in (Verdict.NO_BASELINE, Verdict.INVALID) for one in verdicts)
    yet = "not judged against it yet" if is_judged else "nothing judged yet"
    return [*said, f"recorded {cases} in {shown(path)}, {yet}: run again"]


def accept(
    runs: Sequence[Run], verdicts: Sequence[MetricVerdict], root: Path, request: Request, gate: Gate,
    known: Sequence[Run] = (),
) -> tuple[str, Proposal]:  # fmt: skip
    """Make runs of one engine build the reviewed baseline; returns a line that says so, and what was written.

    Raises:
        BaselineError: see `propose`.
    """
    newest = newest_of(runs)
    path = baseline_path(root, newest.environment.device, newest.suite)
    found = find_baseline([root], newest.environment.device, newest.suite, may_be_expired=True)
    proposal = propose(runs, verdicts, found[1] if found else None, request, gate, known)
    if not proposal.is_change:
        return f"nothing to accept: every case of this run is in {shown(path)}", proposal
    save_baseline(path, proposal.after)
    many = f"these {len(runs)} runs" if len(runs) > 1 else "this run"
    return f"accepted {many} as the baseline in {shown(path)}: review and commit it", proposal


def propose(
    runs: Sequence[Run], verdicts: Sequence[MetricVerdict], before: Baseline | None, request: Request, gate: Gate,
    known: Sequence[Run] = (),
) -> Proposal:  # fmt: skip
    """What accepting runs would write; nothing is written here.

    verdicts: of all the runs, against `before`.
    known: other runs that this machine made; those of the same engines and commit are taken as well.

    Raises:
        BaselineError: no reason is given; runs of different builds; a text that did not pass, against the baseline or
            against its reference, or was not looked at; an invalid or broken case; too few rounds; the self-test is
            red; or nothing valid was measured.
    """
    if not request.reason.strip():
        raise BaselineError("not accepted: the reason is empty; say why the next reader should trust these figures")
    newest = newest_of(runs)
    _refuse_mixture(runs)
    cases = {case.id: case for run in runs for case in run.cases}
    engines = {case.id: case.engine for case in cases.values()}
    wanted = {case.id for case in cases.values() if not request.only_new or _is_new(case, before)}
    asked = [restricted(run, wanted) for run in sorted(runs, key=lambda run: run.started)]
    if request.only_new and not any(map(accepted_cases, asked)):
        return Proposal(before, before or _empty(newest), (), is_change=False)
    _refuse_bad(wanted, engines, verdicts)
    _refuse_unjudged(asked, verdicts, before, gate)
    for run in asked:
        refuse_planted(run)
    _refuse_short(asked)
    _refuse_discord(asked, gate)
    if before and all(has_all(before, run) for run in asked):
        raise BaselineError(f"not accepted: the run of {newest.started} is in the baseline already")
    _refuse_repeated(before, asked)
    others, notes = other_runs(asked, before, known, gate)
    merged = [] if request.alone else others
    left_out = tuple(run.started for run in others) if request.alone else ()
    mine = [one for one in verdicts if one.case in wanted]
    measured = {case_id for run in asked for case_id in accepted_cases(run)}
    kept = sorted(set(before.cases) - measured) if before else []
    provenance = _provenance_of(newest, mine, before, request, left_out, expires_as_before=bool(kept))
    _refuse_stale(provenance, kept)
    after, anew = merge(asked, merged, mine, before, provenance)
    return Proposal(before, after, (*notes, *_told(merged, left_out, anew, after)))


def _is_new(case: CaseInfo, before: Baseline | None) -> bool:
    stored = before.cases.get(case.id) if before else None
    return stored is None or stored.hash != case.hash


def _empty(run: Run) -> Baseline:
    return Baseline(run.suite, run.environment.device, _provenance(run, "", datetime.now(UTC)), {})


# ------------------------------------------------------------------ what is refused


def _refuse_mixture(runs: Sequence[Run]) -> None:
    """Runs that are accepted together are sessions of one build on one device."""
    first = runs[0]
    cases = {case.id: (first, stored) for case, stored in _keyed(first)}
    for run in runs[1:]:
        for what, a, b in (
            ("suite", first.suite, run.suite),
            ("device", first.environment.device, run.environment.device),
        ):
            if a != b:
                raise BaselineError(f"not accepted: the runs are of different {what}s: '{a}' and '{b}'")
        for case, stored in _keyed(run):
            old, before = cases.setdefault(case.id, (run, stored))
            if not before.is_of(case, stored.engine_key):
                raise BaselineError(
                    f"not accepted: {case.id} is another case or engine in the run of {run.started} than in that of "
                    f"{old.started}; accept runs of one engine together, and the one that shall hold last"
                )


def _keyed(run: Run) -> list[tuple[CaseInfo, BaselineCase]]:
    stored = accepted_cases(run)
    return [(case, stored[case.id]) for case in run.cases if case.id in stored]


def _refuse_bad(wanted: AbstractSet[str], engines: Mapping[str, str], verdicts: Sequence[MetricVerdict]) -> None:
    """Invalid or broken cases, and any text of the engines concerned that did not pass: dumber may well be faster."""
    concerned = {engines[case_id] for case_id in wanted}
    worthless = (Verdict.INVALID, Verdict.BROKEN)
    unproven = (*worthless, Verdict.REGRESSED, Verdict.INCONCLUSIVE)
    for one in verdicts:
        is_mine = engines.get(one.case) in concerned
        is_text = one.metric in PAIRED and is_mine
        is_broken = one.verdict is Verdict.BROKEN and is_mine
        if (one.verdict in worthless and one.case in wanted) or is_broken or (is_text and one.verdict in unproven):
            raise BaselineError(f"not accepted: {one.case} {one.metric} is {one.verdict}: {one.reason}")


def _refuse_unjudged(
    runs: Sequence[Run], verdicts: Sequence[MetricVerdict], before: Baseline | None, gate: Gate
) -> None:  # fmt: skip
    """Engines whose loss against their reference nobody looked at, unless this very engine's text is accepted."""
    judged = {one.case for one in verdicts if one.metric == LOSS}
    keys = {engine: key for run in runs for engine, key in engine_keys(run).items()}
    measured = {case.engine for run in runs for case in run.cases if case.id in accepted_cases(run)}
    for one in gate.references:
        stored = before.cases.get(one.case) if before else None
        is_known = stored is not None and stored.engine_key == keys.get(one.engine)
        if one.engine in measured and one.case not in judged and not is_known:
            raise BaselineError(
                f"not accepted: nothing tells what {one.engine} lost against {one.reference_engine}: measure "
                f"{one.case} and {one.reference_case} in the same run"
            )


def _refuse_short(runs: Sequence[Run]) -> None:
    for run in runs:
        known = catalogue(run.own_metrics)
        for case_id, case in accepted_cases(run).items():
            noisy = [series for name, series in case.metrics.items() if known[name].kind is Kind.NOISY]
            most = max((len(series.sessions[0]) for series in noisy), default=LEAST_ROUNDS)
            if most < LEAST_ROUNDS:
                how = "import results of more server starts" if case.origin else "measure with --perfgate-rounds 5"
                raise BaselineError(
                    f"not accepted: {case_id} has {most} valid round{'s' * (most > 1)} in the run of {run.started}, a "
                    f"baseline needs {LEAST_ROUNDS}: {how}"
                )


def _refuse_repeated(before: Baseline | None, runs: Sequence[Run]) -> None:
    """An imported file counts once in a case, whatever it is called: else one round seems to be several sessions."""
    stored = {case_id: case.origin for case_id, case in before.cases.items()} if before else {}
    for case in (case for run in runs for case in run.cases):
        if name := repeated_file(stored.get(case.id), case.origin):
            raise BaselineError(f"not accepted: {name} was imported before, its rounds of {case.id} are in already")
        stored[case.id] = joined(stored.get(case.id), case.origin)


def _refuse_discord(runs: Sequence[Run], gate: Gate) -> None:
    for run in runs:
        found = discords(run, gate)
        if found:
            more = f" (and {len(found) - 1} more metrics)" if len(found) > 1 else ""
            raise BaselineError(
                f"not accepted: the run of {run.started} disagrees with itself: {found[0]}{more}; wait for a quiet "
                "machine and measure again, with more rounds (--perfgate-rounds)"
            )


def _refuse_stale(provenance: Provenance, kept: Sequence[str]) -> None:
    """An expired file is not renewed by measuring a part of it."""
    if provenance.is_expired(datetime.now(UTC)):
        raise BaselineError(
            f"not accepted: the baseline expired on {provenance.expires} and {len(kept)} of its cases were not "
            f"measured ({', '.join(kept[:3])}): measure all, prune them, or renew the file by --expires"
        )


# ------------------------------------------------------------------ what is said of it


def _told(merged: Sequence[Run], left_out: Sequence[str], anew: Sequence[str], after: Baseline) -> list[str]:
    """Lines on what is not plain: other runs, dropped sessions, what got worse."""
    lines = [f"the run of {run.started} is of the same engine and commit: its rounds are in as well" for run in merged]
    lines += [f"the run of {started} of the same engine and commit was left out (--alone)" for started in left_out]
    if anew:
        lines.append(
            f"the engine of {', '.join(anew)} is unchanged, yet red: the level moved, earlier sessions are dropped"
        )
    lines += [f"accepted although worse: {what}" for what in after.provenance.worse]
    return lines


# ------------------------------------------------------------------ provenance


def _provenance(run: Run, reason: str, now: datetime) -> Provenance:
    made = run.environment
    return Provenance(
        now.isoformat(timespec="seconds"), reason, made.product, made.versions, made.commit,
        settings=made.settings,
    )  # fmt: skip


def _provenance_of(
    run: Run, verdicts: Sequence[MetricVerdict], before: Baseline | None, request: Request,
    left_out: tuple[str, ...], *, expires_as_before: bool,
) -> Provenance:  # fmt: skip
    """Provenance of an acceptance: what got worse by it, and the acceptances before."""
    fresh = _provenance(run, request.reason.strip(), datetime.now(UTC))
    old = before.provenance if before else None
    history = (*old.history, old.acceptance) if old else ()
    expires = request.expires or (old.expires if old and expires_as_before else None)
    worse = dict.fromkeys(
        f"{one.case} {one.metric} {percent(one.change or 0.0, sign='+')}"
        for one in verdicts
        if one.verdict is Verdict.REGRESSED
    )
    return replace(fresh, expires=expires, worse=tuple(worse), left_out=left_out, history=history)


def shown(path: Path) -> Path:
    """A path as seen from here, where it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
