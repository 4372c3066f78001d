"""The judge: rounds in, verdicts out; pure, total and vectorised over metrics.

Noisy metrics are judged on e-values (see `perfgate.evidence`):

    regressed      mean E >= M/alpha (Bonferroni over the M tests of the gate, valid under any
                   dependence), and, within e^-1, without any single round or pair; from stored
                   rounds alone only where the baseline engine cannot be run again
    ok             1/E(detect, not worse) >= 2/beta: a worsening of `detect` is ruled out, by the
                   stored rounds or by the pairs (half of beta each)
    improved       ok, and the mirrored test finds the engine faster by more than the margin
    inconclusive   else: more rounds are wanted

Exact metrics are compared with their margin. Paired metrics (perplexity) are judged on the
differences of per-document scores by a t interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from perfgate.baselines import Baseline, BaselineCase, documents_of
from perfgate.evidence import Evidence, Floats, learn, stack, store_of_pairs, weigh
from perfgate.metrics import Better, Kind, Metric, needed_samples
from perfgate.paired import paired_change
from perfgate.record import CaseInfo, DocumentScore, Round, Run, Side
from perfgate.suite import Gate
from perfgate.verdict import MetricVerdict, Verdict

MIN_PAIRS = 2  # below this a verdict rests on the stored rounds
ROBUST_SLACK = 1.0  # log e-value that leaving out the most telling round may cost a red verdict
INTERVAL = 0.99  # confidence of the interval that is reported beside a verdict


def judge(run: Run, baseline: Baseline | None, gate: Gate) -> tuple[MetricVerdict, ...]:
    """Judge every gated metric of every measured case."""
    parts = _by_engine(run)
    questions = [
        _question(parts[case.engine], case, metric, baseline)
        for case in run.cases
        for metric in gated(parts[case.engine], case, gate)
    ]
    noisy = [q for q in questions if q.fault is None and q.metric.kind is Kind.NOISY]
    tests = max(1, sum(q.fault is None and q.metric.kind is not Kind.EXACT for q in questions))
    judged = dict(zip(map(id, noisy), _judge_noisy(noisy, gate, tests, run.rerunnable), strict=True)) if noisy else {}
    return tuple(judged.get(id(q)) or _judge_other(q, gate, tests) for q in questions)


def _by_engine(run: Run) -> dict[str, Run]:
    """The run with each engine's rounds alone, so that questions about one need not search all."""
    rounds: dict[str, list[Round]] = {case.engine: [] for case in run.cases}
    for one in run.rounds:
        rounds.setdefault(one.engine, []).append(one)
    return {engine: replace(run, rounds=tuple(mine)) for engine, mine in rounds.items()}


def gated(run: Run, case: CaseInfo, gate: Gate) -> list[Metric]:
    """The gate's metrics that this kind of case measures; none where the case is skipped.

    An optional metric that no round gave is left out: the machine or the engine cannot tell it.
    """
    mine = [metric for metric in gate.metrics if metric.work == case.kind and case.skip is None]
    return [m for m in mine if not m.is_optional or run.values(case.id, m.name, Side.CANDIDATE)]


@dataclass(frozen=True, slots=True)
class _Question:
    """One metric of one case with its data; `fault` says why it cannot be compared."""

    case: CaseInfo
    metric: Metric
    candidate: tuple[float, ...]
    pairs: tuple[tuple[float, float], ...]  # baseline and candidate, run next to each other
    sessions: tuple[tuple[float, ...], ...]  # stored baseline rounds
    documents: tuple[Mapping[str, DocumentScore], Mapping[str, DocumentScore]]  # stored, candidate
    fault: tuple[Verdict, str] | None

    def verdict(self, verdict: Verdict, reason: str, **numbers: float | None) -> MetricVerdict:
        metric = self.metric
        known: dict[str, float | int | None] = {
            "baseline": _centre(
                [a for a, _ in self.pairs] or [value for session in self.sessions for value in session]
            ),
            "candidate": _centre(self.candidate),
            "rounds_stored": sum(map(len, self.sessions)),
            "rounds_baseline": len(self.pairs),
            "rounds_candidate": len(self.candidate),
        } | numbers
        return MetricVerdict(
            self.case.id, metric.name, verdict, reason, metric.unit, metric.better, metric.margin, metric.detect,
            **known,  # type: ignore[arg-type]
        )  # fmt: skip


def _centre(values: Sequence[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else None


def _question(run: Run, case: CaseInfo, metric: Metric, baseline: Baseline | None) -> _Question:
    stored = baseline.cases.get(case.id) if baseline else None
    candidate = tuple(run.values(case.id, metric.name, Side.CANDIDATE))
    series = stored.metrics.get(metric.name) if stored else None
    documents = (stored.documents if stored else {}, documents_of(run, case.id, Side.CANDIDATE))
    fault = _invalid(run, case, metric, candidate) or _no_baseline(case, metric, stored)
    pairs = tuple(run.pairs(case.id, metric.name))
    return _Question(case, metric, candidate, pairs, series.sessions if series else (), documents, fault)


def _invalid(run: Run, case: CaseInfo, metric: Metric, candidate: tuple[float, ...]) -> tuple[Verdict, str] | None:
    if not candidate:
        return Verdict.INVALID, _why_absent(run, case, metric)
    if any(not math.isfinite(value) or value <= 0 for value in candidate):
        return Verdict.INVALID, f"measured {min(candidate):g}, which no {metric.name} can be"
    return None


def _why_absent(run: Run, case: CaseInfo, metric: Metric) -> str:
    """The best known reason why a metric has no value."""
    mine = [one for one in run.rounds if one.engine == case.engine and one.side is Side.CANDIDATE]
    faults = [one.fault for one in mine if one.fault]
    faults += [fault for one in mine for measured in one.cases if measured.case == case.id for fault in measured.faults]
    if faults:
        return faults[-1]
    counts = [len(s) for one in mine for m in one.cases if m.case == case.id for s in m.samples.values()]
    if counts and max(counts) < needed_samples(metric.name):
        return f"{max(counts)} samples a round, {metric.name} needs {needed_samples(metric.name)}: raise `requests`"
    return "not measured: no round gave this metric"


def _no_baseline(case: CaseInfo, metric: Metric, stored: BaselineCase | None) -> tuple[Verdict, str] | None:
    if stored is None:
        return Verdict.NO_BASELINE, "no baseline for this case on this device"
    if stored.hash != case.hash:
        return Verdict.NO_BASELINE, "the case was changed since its baseline was accepted; accept a new one"
    series = stored.metrics.get(metric.name)
    values = [value for session in series.sessions for value in session] if series else []
    if not values:
        return Verdict.NO_BASELINE, "the baseline of this case lacks this metric"
    if any(not math.isfinite(value) or value <= 0 for value in values):
        return Verdict.INVALID, "the baseline holds values that cannot be; accept a new one"
    return None


# ------------------------------------------------------------------ noisy metrics


def _judge_noisy(questions: list[_Question], gate: Gate, tests: int, rerunnable: Sequence[str]) -> list[MetricVerdict]:
    store = stack([_learn(q.metric, q.sessions, gate) for q in questions])
    margin = np.log1p([q.metric.margin for q in questions])
    detect = np.log1p([q.metric.detect for q in questions])
    stored = weigh(store, [_worse(q.metric, q.candidate) for q in questions], margin, detect)
    pairs = weigh(store_of_pairs(len(questions), gate.noise), [_differences(q) for q in questions], margin, detect)
    bar = _Bar(math.log(tests / gate.alpha), math.log(2 / gate.beta), 1 - gate.alpha / tests, 1 - gate.beta)
    return [
        _noisy_verdict(_Weighed(q, stored, pairs, i, q.case.engine in rerunnable), bar) for i, q in enumerate(questions)
    ]


def _worse(metric: Metric, values: Sequence[float]) -> Floats:
    """ln(value), signed so that larger is worse."""
    return np.log(np.asarray(values, dtype=np.float64)) * (1.0 if metric.better is Better.LOWER else -1.0)


def _learn(metric: Metric, sessions: Sequence[Sequence[float]], gate: Gate) -> tuple[float, float, float, float]:
    rounds = [value for session in sessions for value in session]
    return learn(_worse(metric, rounds), [len(session) for session in sessions if session], gate.noise)


def _differences(q: _Question) -> Floats:
    return _worse(q.metric, [b for _, b in q.pairs]) - _worse(q.metric, [a for a, _ in q.pairs])


def stored_suffices(kind: str, stored: BaselineCase, gate: Gate) -> bool:
    """Whether stored rounds could ever acquit the noisy metrics of a case.

    However many rounds are added, the session effect remains: ln(1/E) can reach detect^2 / (2 tau^2).
    """
    for metric in gate.metrics:
        series = stored.metrics.get(metric.name)
        if metric.kind is Kind.NOISY and metric.work == kind and series:
            _, _, day_var, _ = _learn(metric, series.sessions, gate)
            if math.log1p(metric.detect) ** 2 / (2 * day_var) < math.log(2 / gate.beta):
                return False
    return True


@dataclass(frozen=True, slots=True)
class _Bar:
    """What a verdict needs: log e-values for red and for ok, and the levels of the matching quantiles."""

    red: float
    ok: float
    red_level: float
    ok_level: float

    def detectable(self, df: float, error: float) -> float:
        """The change (log units, beyond the margin) that evidence of this precision would have shown."""
        return float((special.stdtrit(df, self.red_level) + special.stdtrit(df, self.ok_level)) * error)

    def rounds_needed(self, sd: float, gap: float) -> int:
        """Rounds (or pairs) for a fixed-size test of this gap: n = (z sd / gap)^2."""
        z = float(special.ndtri(self.red_level) + special.ndtri(self.ok_level))
        return math.ceil((z * sd / max(gap, 1e-6)) ** 2)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A question with its evidence from stored rounds and from pairs."""

    q: _Question
    stored: Evidence
    pairs: Evidence
    i: int
    is_rerunnable: bool

    @property
    def best(self) -> Evidence:
        """Pairs where there are two; else the stored rounds."""
        return self.pairs if self.pairs.count[self.i] >= MIN_PAIRS else self.stored

    @property
    def may_condemn(self) -> bool:
        """A stored level alone condemns nobody while the baseline engine can be asked."""
        return not self.is_rerunnable or self.best is self.pairs

    @property
    def fine(self) -> float:
        return float(max(self.stored.fine[self.i], self.pairs.fine[self.i]))

    def finds(self, whole: Floats, robust: Floats, bar: _Bar) -> bool:
        return bool(whole[self.i] >= bar.red and robust[self.i] >= bar.red - ROBUST_SLACK and self.may_condemn)

    @property
    def against(self) -> str:
        return f"{len(self.q.pairs)} pairs of rounds" if self.best is self.pairs else "stored rounds only"


def _noisy_verdict(w: _Weighed, bar: _Bar) -> MetricVerdict:
    found, i, metric = w.best, w.i, w.q.metric
    verdict, reason = _decide(w, bar)
    half = float(special.stdtrit(found.df[i], (1 + INTERVAL) / 2) * found.error[i])
    gap = math.log1p(metric.detect) - math.log1p(metric.margin)
    wanted = bar.rounds_needed(float(found.error[i] * math.sqrt(found.count[i])), gap) - int(found.count[i])
    return w.q.verdict(
        verdict,
        reason,
        change=math.expm1(found.change[i]),
        low=math.expm1(found.change[i] - half),
        high=math.expm1(found.change[i] + half),
        evidence=math.exp(min(found.worse[i], 700.0)),
        needed_evidence=math.exp(bar.red),
        detectable=math.expm1(bar.detectable(found.df[i], found.error[i]) + math.log1p(metric.margin)),
        more_rounds=max(1, wanted) if verdict is Verdict.INCONCLUSIVE else None,
    )


def _decide(w: _Weighed, bar: _Bar) -> tuple[Verdict, str]:
    found, metric = w.best, w.q.metric
    if w.finds(found.worse, found.worse_robust, bar):
        odds = _odds(found.worse[w.i])
        return Verdict.REGRESSED, f"beyond the {metric.margin:.1%} margin, by {w.against}; odds {odds} to 1"
    if w.fine < bar.ok:
        if found.worse[w.i] >= bar.red:
            return (
                Verdict.INCONCLUSIVE,
                "looks worse, but not red before pairs of rounds with the baseline engine agree",
            )
        gone = (
            "" if w.is_rerunnable else "; the baseline's engine cannot be run here, stored rounds alone were compared"
        )
        return Verdict.INCONCLUSIVE, f"too noisy to rule a worsening of {metric.detect:.0%} in or out{gone}"
    if w.finds(found.better, found.better_robust, bar):
        return Verdict.IMPROVED, f"better than before, by {w.against}; odds {_odds(found.better[w.i])} to 1"
    return Verdict.OK, f"a worsening of {metric.detect:.0%} is ruled out; odds {_odds(w.fine)} to 1"


def _odds(log_e: float) -> str:
    most = 1_000_000
    return f"{math.exp(log_e):,.0f}" if log_e < math.log(most) else f"over {most:,}"


# ------------------------------------------------------------------ exact and paired metrics


def _judge_other(q: _Question, gate: Gate, tests: int) -> MetricVerdict:
    if q.fault is not None:
        return q.verdict(*q.fault)
    if q.metric.kind is Kind.EXACT:
        return _judge_exact(q)
    return _judge_paired(q, gate, tests)


def _judge_exact(q: _Question) -> MetricVerdict:
    """No noise: the worst round against the newest stored session."""
    stored = float(np.median(q.sessions[-1]))
    changes = [q.metric.worse_by(stored, value) for value in q.candidate]
    change = max(changes, key=abs)
    verdict = Verdict.OK
    if abs(change) > q.metric.margin:
        verdict = Verdict.REGRESSED if change > 0 else Verdict.IMPROVED
    return q.verdict(verdict, f"compared exactly, margin {q.metric.margin:.1%}", change=change, low=change, high=change)


def _judge_paired(q: _Question, gate: Gate, tests: int) -> MetricVerdict:
    stored, now = q.documents
    if not now or not stored:
        return q.verdict(Verdict.INVALID, "per-document scores are missing; measure again")
    if {name: (s.tokens, s.text_bytes) for name, s in stored.items()} != {
        name: (s.tokens, s.text_bytes) for name, s in now.items()
    }:
        return q.verdict(
            Verdict.INVALID, "other documents or tokens were scored than in the baseline; accept a new one"
        )
    if any(not math.isfinite(score.nll) for score in (*stored.values(), *now.values())):
        return q.verdict(Verdict.INVALID, "a document's score is not a number")
    change, error, df = paired_change(q.metric.name, stored, now)
    t_red, t_ok, t_shown = (
        float(special.stdtrit(df, p)) for p in (1 - gate.alpha / tests, 1 - gate.beta, (1 + INTERVAL) / 2)
    )
    verdict, reason = _decide_paired(q.metric, change, t_red * error, t_ok * error)
    return q.verdict(
        verdict, f"{reason}, paired over {len(now)} documents",
        change=math.expm1(change), low=math.expm1(change - t_shown * error), high=math.expm1(change + t_shown * error),
        detectable=math.expm1((t_red + t_ok) * error) + q.metric.margin,
    )  # fmt: skip


def _decide_paired(metric: Metric, change: float, red: float, fine: float) -> tuple[Verdict, str]:
    margin, detect = math.log1p(metric.margin), math.log1p(metric.detect)
    if change - red > margin:
        return Verdict.REGRESSED, f"worse than the {metric.margin:.1%} margin"
    if change + red < -margin:
        return Verdict.IMPROVED, f"better by more than {metric.margin:.1%}"
    if change + fine <= detect:
        return Verdict.OK, f"a worsening of {metric.detect:.1%} is ruled out"
    return Verdict.INCONCLUSIVE, f"documents differ too much to rule out {metric.detect:.1%}; score more of them"
