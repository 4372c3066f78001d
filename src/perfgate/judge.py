"""The judge: rounds in, verdicts out; pure, total and vectorised over metrics.

Noisy metrics are judged on e-values (`perfgate.evidence`), against bars that hold at any stopping time:

    regressed      E(worse, no change) >= M/alpha (Bonferroni over the M tests of the gate, valid under
                   any dependence), and without any single candidate round still within e^-1 of it;
                   E(worse, margin) >= 20: a true change no larger than the margin is red once in 20 gates
                   at most, however precisely it is known; and two rounds of the baseline's engine were
                   measured today, unless it cannot be run here
    ok             E(fine, detect) >= 1/beta: a worsening of `detect` is ruled out, and without any single
                   round of the baseline's engine still within e^-4 of it; never while the rounds speak
                   for a worsening beyond the margin: E(worse, margin) < 1
    improved       ok, and the mirrored test finds the engine better by more than the margin
    inconclusive   else: more rounds are wanted

Each of these is said against all changes of a side (`detect` and more; none and improvements; the margin and less),
that is against the one of them that explains the rounds best.

Rounds of the two engines follow one another (BAAB...) and are weighed with the stored level and
today's baseline rounds; or they take turns as pairs (`pairing: interleaved`), whose differences are
weighed, and then the stored rounds may acquit too, at half of beta each.

Exact metrics are compared with their margin. Paired metrics (perplexity) are judged on the
differences of per-document scores by a t interval; so is the loss against a reference engine (`perfgate.loss`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from perfgate.baselines import Baseline
from perfgate.loss import judge_loss, losses_of
from perfgate.metrics import Kind, Metric
from perfgate.noisy import INTERVAL, NoiseKnown, can_acquit, judge_noisy, known_noise
from perfgate.paired import PairedChange, paired_change, why_not_paired
from perfgate.percent import percent
from perfgate.question import Known, Question, gated, planned_question, question
from perfgate.record import CaseInfo, Round, Run
from perfgate.terms import Gate
from perfgate.verdict import Cause, MetricVerdict, Ruling, Verdict


def judge(run: Run, baseline: Baseline | None, gate: Gate, known: Known | None = None) -> tuple[MetricVerdict, ...]:
    """Judge every gated metric of every measured case, and every loss that the gate has a reference for.

    known: further sessions of the baseline's engine, from history, older than today's.
    """
    questions = _questions(run, baseline, gate, known)
    noisy = _noisy(questions)
    losses = losses_of(run, baseline, gate.references)
    tests = max(1, len(losses) + sum(q.fault is None and q.metric.kind is not Kind.EXACT for q in questions))
    judged = dict(zip(map(id, noisy), judge_noisy(noisy, gate, tests, run.rerunnable), strict=True)) if noisy else {}
    return (
        *(judged.get(id(q)) or _judge_other(q, gate, tests) for q in questions),
        *(judge_loss(loss, gate.alpha / tests, gate.beta) for loss in losses),
    )


def noise_of(
    run: Run, baseline: Baseline | None, gate: Gate, known: Known | None = None
) -> Mapping[tuple[str, str], NoiseKnown]:
    """With which noise `judge` judges each noisy metric that can be compared, by (case id, metric)."""
    noisy = _noisy(_questions(run, baseline, gate, known))
    found = known_noise(noisy, gate, run.rerunnable) if noisy else []
    return {(q.case.id, q.metric.name): one for q, one in zip(noisy, found, strict=True)}


def _questions(run: Run, baseline: Baseline | None, gate: Gate, known: Known | None) -> list[Question]:
    parts = _by_engine(run)
    return [
        question(parts[case.engine], case, metric, baseline, known or {})
        for case in run.cases
        for metric in gated(parts[case.engine], case, gate, baseline)
    ]


def _noisy(questions: Sequence[Question]) -> list[Question]:
    return [q for q in questions if q.fault is None and q.metric.kind is Kind.NOISY]


def acquittable(
    cases: Sequence[CaseInfo], baseline: Baseline, gate: Gate, known: Known | None = None
) -> frozenset[str]:
    """Ids of the cases whose noisy metrics could all be acquitted by stored rounds alone."""
    planned = [
        planned_question(case, metric, stored, known or {})
        for case in cases
        if (stored := baseline.cases.get(case.id))
        for metric in gate.metrics
        if metric.kind is Kind.NOISY and metric.is_of(case.kind) and metric.name in stored.metrics
    ]
    able = can_acquit(planned, gate) if planned else []
    return frozenset(case.id for case in cases) - {q.case.id for q, one in zip(planned, able, strict=True) if not one}


def _by_engine(run: Run) -> dict[str, Run]:
    """The run with each engine's rounds alone, so that questions about one need not search all."""
    rounds: dict[str, list[Round]] = {case.engine: [] for case in run.cases}
    for one in run.rounds:
        rounds.setdefault(one.engine, []).append(one)
    return {engine: replace(run, rounds=tuple(mine)) for engine, mine in rounds.items()}


def _judge_other(q: Question, gate: Gate, tests: int) -> MetricVerdict:
    if q.fault is not None:
        return q.verdict(q.fault)
    if q.metric.kind is Kind.EXACT:
        return _judge_exact(q)
    return _judge_paired(q, gate, tests)


def _judge_exact(q: Question) -> MetricVerdict:
    """No noise: the worst round against the newest stored session."""
    stored = float(np.median(q.stored.last_session if q.stored.sizes else q.beside))
    changes = [q.metric.worse_by(stored, value) for value in q.candidate]
    change = max(changes, key=abs)
    ruling = Ruling(Verdict.OK, f"compared exactly, margin {percent(q.metric.margin)}")
    if change > q.metric.margin:
        ruling = replace(ruling, verdict=Verdict.REGRESSED, cause=Cause.BEYOND_MARGIN)
    elif change < -q.metric.margin:
        ruling = replace(ruling, verdict=Verdict.IMPROVED, cause=Cause.BETTER)
    return q.verdict(ruling, change=change, low=change, high=change)


def _judge_paired(q: Question, gate: Gate, tests: int) -> MetricVerdict:
    stored, now = q.documents
    if why := why_not_paired(stored, now):
        return q.verdict(Ruling(Verdict.INVALID, f"{why}; accept a new baseline" if stored and now else why))
    change = paired_change(q.metric.name, stored, now)
    red, fine, shown = change.below(1 - gate.alpha / tests), change.above(1 - gate.beta), (1 + INTERVAL) / 2
    found = _decide_paired(q.metric, change, gate.alpha / tests, gate.beta)
    is_open = found.verdict is Verdict.INCONCLUSIVE
    return replace(
        q.verdict(
            replace(found, reason=f"{found.reason}, paired over {len(now)} documents"),
            change=math.expm1(change.size), low=math.expm1(change.size - change.below(shown)),
            high=math.expm1(change.size + change.above(shown)),
            detectable=math.expm1(red + fine) + q.metric.margin,
        ),
        more_documents=change.documents_to(math.log1p(q.metric.detect), 1 - gate.beta) if is_open else None,
    )  # fmt: skip


def _decide_paired(metric: Metric, change: PairedChange, alpha: float, beta: float) -> Ruling:
    margin, detect = math.log1p(metric.margin), math.log1p(metric.detect)
    if change.size - change.below(1 - alpha) > margin:
        return Ruling(Verdict.REGRESSED, f"worse than the {percent(metric.margin)} margin", Cause.BEYOND_MARGIN)
    if change.size + change.above(1 - alpha) < -margin:
        return Ruling(Verdict.IMPROVED, f"better by more than {percent(metric.margin)}", Cause.BETTER)
    if change.size + change.above(1 - beta) <= detect:
        return Ruling(Verdict.OK, f"a worsening of {percent(metric.detect)} is ruled out")
    what = f"documents differ too much to rule out {percent(metric.detect)}"
    return Ruling(Verdict.INCONCLUSIVE, what, Cause.FEW_DOCUMENTS)
