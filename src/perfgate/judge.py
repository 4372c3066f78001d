"""The judge: rounds in, verdicts out; pure, total and vectorised over metrics.

Noisy metrics
-------------
The unit of evidence is a round (one process). Its value enters as y = ln(value), signed so that
larger is worse. Rounds of one gate share an unknown session effect s, so that

    y = mu + s + delta * [candidate] + e,    s ~ N(0, tau^2),    e ~ N(0, sigma^2)

with mu, tau and sigma learnt from the baseline's sessions and a stated prior worth `PRIOR_DF`
degrees of freedom. Integrating sigma out under its scaled inverse-chi-squared distribution
(nu degrees of freedom, scale sigma_p^2) makes the likelihood a multivariate t, and the ratio for
a slowdown d against a slowdown m

    ln E(d, m) = -(nu + n)/2 * ln[(nu sigma_p^2 + Q(d)) / (nu sigma_p^2 + Q(m))]
    Q(d) = sum r^2 - lambda/(1 + n lambda) (sum r)^2,   lambda = tau^2/sigma_p^2,
    r = (y_A - mu, y_B - mu - d)

Under 'no worse than the margin m' E is a non-negative martingale, so that by Ville's inequality
P(E ever reaches 1/a) <= a whatever the stopping rule and the order of the rounds (Ville 1939;
Ramdas et al., 'Game-theoretic statistics and safe anytime-valid inference', 2023). The average of
E over several alternatives is such a martingale too: it is taken over `ALTERNATIVES` x detect, so
that a large slowdown is found as fast as a small one.

    regressed      mean E >= M/alpha (Bonferroni over the M noisy metrics of the gate, valid under
                   any dependence), also, within e^-3, without any single candidate round, and with
                   two fresh rounds of the baseline engine wherever that engine can still be run
    ok             1/E(detect, not worse) >= 1/beta: a worsening of `detect` is ruled out
    improved       ok, and the mirrored test finds the engine faster by more than the margin
    inconclusive   else: more rounds are wanted

Exact metrics are compared with their margin. Paired metrics (perplexity) are judged on the
differences of per-document scores by a t interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import special

from perfgate.baselines import Baseline, BaselineCase, documents_of
from perfgate.metrics import Better, Kind, Metric, needed_samples
from perfgate.record import CaseInfo, DocumentScore, Run, Side
from perfgate.suite import Gate, Noise

Floats = NDArray[np.float64]

PRIOR_DF = 4.0  # weight of the suite's stated noise against rounds seen, in degrees of freedom
ALTERNATIVES = (1.0, 1.5, 2.5, 5.0)  # slowdowns tested for, in units of ln(1 + detect)
LEVEL_WINDOW = 10  # sessions whose median is the level expected today
INTERVAL = 0.99  # confidence of the interval that is reported beside a verdict


class Verdict(StrEnum):
    """What is known of one metric, in order of gravity (worst last)."""

    OK = "ok"
    IMPROVED = "improved"
    NO_BASELINE = "no-baseline"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    REGRESSED = "regressed"


GRAVITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True)
class MetricVerdict:
    """The verdict on one metric of one case, and the numbers behind it.

    change, low, high: relative change toward worse (0.05 is 5 % worse) and its 99 % interval.
    evidence: e-value of 'worse than the margin'; red needs `needed_evidence`.
    detectable: the smallest worsening that these rounds could have shown (at alpha/M and beta).
    more_rounds: estimate of the further rounds that a verdict needs; only when inconclusive.
    """

    case: str
    metric: str
    verdict: Verdict
    reason: str
    unit: str
    better: Better
    margin: float
    detect: float
    baseline: float | None = None
    candidate: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: float | None = None
    needed_evidence: float | None = None
    detectable: float | None = None
    more_rounds: int | None = None
    rounds_stored: int = 0
    rounds_baseline: int = 0
    rounds_candidate: int = 0

    @property
    def sentence(self) -> str:
        """How much, how sure and why, in one line."""
        if self.change is None or self.low is None or self.high is None:
            return self.reason
        much = f"{abs(self.change):.1%} {'worse' if self.change > 0 else 'better'}"
        if self.low == self.high:
            return f"{much}; {self.reason}"
        return f"{much} (99 % interval {self.low:+.1%} to {self.high:+.1%}); {self.reason}"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of some verdicts; nothing measured is never ok."""
    return max(verdicts, key=GRAVITY.__getitem__, default=Verdict.INVALID)


def judge(run: Run, baseline: Baseline | None, gate: Gate, rerunnable: frozenset[str]) -> tuple[MetricVerdict, ...]:
    """Judge every gated metric of every measured case.

    rerunnable: engines whose baseline engine can be run again in this gate.
    """
    questions = [_question(run, case, metric, baseline) for case in run.cases for metric in gated(case, gate)]
    noisy = [q for q in questions if q.fault is None and q.metric.kind is Kind.NOISY]
    tests = max(1, sum(q.fault is None and q.metric.kind is not Kind.EXACT for q in questions))
    judged = dict(zip(map(id, noisy), _judge_noisy(noisy, gate, tests, rerunnable), strict=True)) if noisy else {}
    return tuple(judged.get(id(q)) or _judge_other(q, gate, tests) for q in questions)


def gated(case: CaseInfo, gate: Gate) -> list[Metric]:
    """The gate's metrics that this kind of case measures; none where the case is skipped."""
    return [metric for metric in gate.metrics if metric.work == case.kind and case.skip is None]


@dataclass(frozen=True, slots=True)
class _Question:
    """One metric of one case with its data; `fault` says why it cannot be compared."""

    case: CaseInfo
    metric: Metric
    candidate: tuple[float, ...]
    fresh: tuple[float, ...]  # baseline engine, run in this gate
    sessions: tuple[tuple[float, ...], ...]  # stored baseline rounds
    documents: tuple[Mapping[str, DocumentScore], Mapping[str, DocumentScore]]  # stored, candidate
    fault: tuple[Verdict, str] | None

    def verdict(self, verdict: Verdict, reason: str, **numbers: float | int | None) -> MetricVerdict:
        metric = self.metric
        known: dict[str, float | int | None] = {
            "baseline": _centre(self.fresh or tuple(v for session in self.sessions for v in session)),
            "candidate": _centre(self.candidate),
            "rounds_stored": sum(map(len, self.sessions)),
            "rounds_baseline": len(self.fresh),
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
    fresh = tuple(run.values(case.id, metric.name, Side.BASELINE))
    return _Question(case, metric, candidate, fresh, series.sessions if series else (), documents, fault)


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


@dataclass(frozen=True, slots=True)
class _Store:
    """What the stored sessions tell of each metric: arrays [metric], in log units."""

    level: Floats  # mu
    round_var: Floats  # sigma_p^2
    day_var: Floats  # tau^2, the error of mu included
    df: Floats  # nu


@dataclass(frozen=True, slots=True)
class _Data:
    """Residuals against the stored level: [metric, round], NaN-padded, larger is worse."""

    a: Floats
    b: Floats


def _judge_noisy(questions: list[_Question], gate: Gate, tests: int, rerunnable: frozenset[str]) -> list[MetricVerdict]:
    store = _stack([learn([_worse(q.metric, s) for s in q.sessions], gate.noise) for q in questions])
    data = _Data(*(_padded([_worse(q.metric, rows) for q, rows in zip(questions, side, strict=True)]) - store.level[:, None]
                   for side in ([q.fresh for q in questions], [q.candidate for q in questions])))  # fmt: skip
    margin = np.log1p([q.metric.margin for q in questions])
    detect = np.log1p([q.metric.detect for q in questions])
    found = _evidence(store, data, margin, detect)
    change, half, spread = _estimate(store, data)
    needed = math.log(tests / gate.alpha)
    detectable = _detectable(store, spread, gate, tests) + margin
    out = []
    for i, q in enumerate(questions):
        may_condemn = len(q.fresh) >= 2 or q.case.engine not in rerunnable
        verdict = _decide(found, i, needed, math.log(1 / gate.beta), may_condemn)
        more = _more_rounds(math.sqrt(store.round_var[i]), detect[i] - margin[i], len(q.candidate), gate, tests)
        out.append(q.verdict(
            verdict, _reason(verdict, found, i, needed, may_condemn, q),
            change=math.expm1(change[i]), low=math.expm1(change[i] - half[i]), high=math.expm1(change[i] + half[i]),
            evidence=math.exp(min(found.worse[i], 700.0)), needed_evidence=tests / gate.alpha,
            detectable=math.expm1(detectable[i]), more_rounds=more if verdict is Verdict.INCONCLUSIVE else None,
        ))  # fmt: skip
    return out


def _worse(metric: Metric, values: Sequence[float]) -> Floats:
    """ln(value), signed so that larger is worse."""
    return np.log(np.asarray(values, dtype=np.float64)) * (1.0 if metric.better is Better.LOWER else -1.0)


def _padded(rows: Sequence[Floats]) -> Floats:
    width = max((len(row) for row in rows), default=0)
    out = np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def learn(sessions: Sequence[Floats], noise: Noise) -> tuple[float, float, float, float]:
    """Level, round variance, day variance and degrees of freedom of one metric's stored sessions.

    The stated noise counts as `PRIOR_DF` observations in both variances. The day variance comes
    from one-step errors of the running level, so that it covers drift and the level's own error.
    """
    means = np.array([session.mean() for session in sessions])
    df = PRIOR_DF + sum(len(session) - 1 for session in sessions)
    square = sum(float(((session - session.mean()) ** 2).sum()) for session in sessions)
    round_var = (PRIOR_DF * noise.round_sd**2 + square) / df
    size = np.mean([len(session) for session in sessions])
    errors = [means[i] - np.median(means[max(0, i - LEVEL_WINDOW) : i]) for i in range(1, len(means))]
    seen = sum(error**2 for error in errors) - len(errors) * round_var / size
    day_var = (PRIOR_DF * noise.session_sd**2 + max(0.0, seen)) / (PRIOR_DF + len(errors))
    level_var = round_var / (size * min(len(means), LEVEL_WINDOW))
    return float(np.median(means[-LEVEL_WINDOW:])), round_var, max(day_var + level_var, 0.05 * round_var), df


def _stack(learnt: Sequence[tuple[float, float, float, float]]) -> _Store:
    return _Store(*(np.array(column) for column in zip(*learnt, strict=True)))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Log e-values per metric: [metric]."""

    worse: Floats  # of a worsening beyond the margin
    worse_robust: Floats  # the same without its most telling candidate round
    better: Floats  # of an improvement beyond the margin
    better_robust: Floats
    fine: Floats  # of 'not worse' against a worsening of `detect`


def _evidence(store: _Store, data: _Data, margin: Floats, detect: Floats) -> _Evidence:
    alternatives = [factor * detect for factor in ALTERNATIVES]
    nulls = [margin, np.zeros_like(margin), -detect, -2 * detect]

    def against(sign: float, fit: Callable[[Floats], Floats]) -> Floats:
        null = fit(sign * margin)
        return _log_mean_exp([fit(sign * d) - null for d in alternatives])

    def robust(sign: float) -> Floats:
        left_out = against(sign, lambda d: _log_likelihood_left_out(store, data, d))
        lowest = np.where(np.isfinite(data.b), left_out, np.inf).min(axis=1)
        return np.where(np.isfinite(data.b).sum(axis=1) > 1, lowest, -np.inf)

    def whole(d: Floats) -> Floats:
        return _log_likelihood(store, data, d)

    fine = _log_mean_exp([whole(d) for d in nulls]) - whole(detect)
    return _Evidence(against(1, whole), robust(1), against(-1, whole), robust(-1), fine)


def _log_mean_exp(parts: Sequence[Floats]) -> Floats:
    return np.asarray(special.logsumexp(np.stack(parts), axis=0) - math.log(len(parts)))


def _sums(data: _Data) -> tuple[Floats, Floats, Floats, Floats]:
    """Counts (all, candidate), sum and sum of squares of the residuals at delta = 0."""
    n_b = np.isfinite(data.b).sum(axis=1).astype(float)
    n = n_b + np.isfinite(data.a).sum(axis=1)
    total = np.nansum(data.a, axis=1) + np.nansum(data.b, axis=1)
    square = np.nansum(data.a**2, axis=1) + np.nansum(data.b**2, axis=1)
    return n, n_b, total, square


def _log_likelihood(store: _Store, data: _Data, delta: Floats) -> Floats:
    """ln of the multivariate-t density at a slowdown of delta, up to a constant: [metric]."""
    n, n_b, total, square = _sums(data)
    lam = store.day_var / store.round_var
    sum_b = np.nansum(data.b, axis=1)
    q = square - 2 * delta * sum_b + n_b * delta**2 - lam / (1 + n * lam) * (total - n_b * delta) ** 2
    return np.asarray(-(store.df + n) / 2 * np.log(store.df * store.round_var + q))


def _log_likelihood_left_out(store: _Store, data: _Data, delta: Floats) -> Floats:
    """The same without candidate round j: [metric, j]; NaN where there is no such round."""
    n, n_b, total, square = _sums(data)
    lam = store.day_var / store.round_var
    sum_b = np.nansum(data.b, axis=1)
    r = data.b - delta[:, None]
    q = (square - 2 * delta * sum_b + n_b * delta**2)[:, None] - r**2
    q = q - (lam / (1 + (n - 1) * lam))[:, None] * ((total - n_b * delta)[:, None] - r) ** 2
    return np.asarray(-((store.df + n - 1) / 2)[:, None] * np.log((store.df * store.round_var)[:, None] + q))


def _estimate(store: _Store, data: _Data) -> tuple[Floats, Floats, Floats]:
    """Change (log), half-width of its interval, and its standard error: the minimum of Q and its curvature."""
    n, n_b, total, square = _sums(data)
    lam = store.day_var / store.round_var
    k = lam / (1 + n * lam)
    sum_b = np.nansum(data.b, axis=1)
    curve = n_b * (1 - k * n_b)
    change = (sum_b - k * n_b * total) / curve
    lowest = square - k * total**2 - curve * change**2
    df = store.df + n - 1
    error = np.sqrt((store.df * store.round_var + np.maximum(lowest, 0.0)) / df / curve)
    return change, special.stdtrit(df, (1 + INTERVAL) / 2) * error, error


def _detectable(store: _Store, error: Floats, gate: Gate, tests: int) -> Floats:
    return np.asarray((special.stdtrit(store.df, 1 - gate.alpha / tests) + special.stdtrit(store.df, 1 - gate.beta)) * error)


def _more_rounds(sd: float, gap: float, have: int, gate: Gate, tests: int) -> int:
    """Further rounds a side for a fixed-size test of this gap: n = 2 (z sd / gap)^2 pairs."""
    z = special.ndtri(1 - gate.alpha / tests) + special.ndtri(1 - gate.beta)
    return max(1, math.ceil(2 * (z * sd / max(gap, 1e-6)) ** 2) - have)


def _decide(found: _Evidence, i: int, needed: float, enough: float, may_condemn: bool) -> Verdict:
    if found.worse[i] >= needed and found.worse_robust[i] >= needed - 3 and may_condemn:
        return Verdict.REGRESSED
    if found.fine[i] < enough:
        return Verdict.INCONCLUSIVE
    if found.better[i] >= needed and found.better_robust[i] >= needed - 3 and may_condemn:
        return Verdict.IMPROVED
    return Verdict.OK


def _reason(verdict: Verdict, found: _Evidence, i: int, needed: float, may_condemn: bool, q: _Question) -> str:
    against = f"{len(q.fresh)} fresh baseline rounds" if q.fresh else "stored rounds only"
    match verdict:
        case Verdict.REGRESSED:
            return f"worse than the {q.metric.margin:.1%} margin against {against}; odds {_odds(found.worse[i])} to 1"
        case Verdict.IMPROVED:
            return f"better than before against {against}; odds {_odds(found.better[i])} to 1"
        case Verdict.OK:
            return f"a worsening of {q.metric.detect:.0%} is ruled out; odds {_odds(found.fine[i])} to 1"
        case _ if found.worse[i] >= needed and not may_condemn:
            return "looks worse; not red before two fresh rounds of the baseline engine agree"
        case _:
            return f"too noisy to rule a worsening of {q.metric.detect:.0%} in or out"


def _odds(log_e: float) -> str:
    return f"{math.exp(min(log_e, 13.8)):,.0f}" if log_e < 13.8 else "over 1,000,000"


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
    if {name: (s.tokens, s.text_bytes) for name, s in stored.items()} != {name: (s.tokens, s.text_bytes) for name, s in now.items()}:
        return q.verdict(Verdict.INVALID, "other documents or tokens were scored than in the baseline; accept a new one")
    if any(not math.isfinite(score.nll) for score in (*stored.values(), *now.values())):
        return q.verdict(Verdict.INVALID, "a document's score is not a number")
    change, error, df = paired_change(q.metric.name, stored, now)
    t_red, t_ok, t_shown = (float(special.stdtrit(df, p)) for p in (1 - gate.alpha / tests, 1 - gate.beta, (1 + INTERVAL) / 2))
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


def paired_change(
    metric: str, stored: Mapping[str, DocumentScore], now: Mapping[str, DocumentScore]
) -> tuple[float, float, int]:
    """Log-ratio of a score, its standard error over documents, and degrees of freedom.

    perplexity: the difference of mean NLL per token; bits per byte: the log-ratio of summed NLL.
    Both are ratios of sums; the error is the linearised one (Cochran, Sampling Techniques, 6.3).
    """
    names = sorted(stored)
    old, new = (np.array([side[name].nll for name in names]) for side in (stored, now))
    if metric == "perplexity":
        weight = np.array([stored[name].tokens for name in names], dtype=float)
        change = (new - old).sum() / weight.sum()
        rest = (new - old - change * weight) / weight.sum()
    else:
        change = math.log(new.sum() / old.sum())
        rest = new / new.sum() - old / old.sum()
    n = len(names)
    error = math.sqrt(float((rest**2).sum()) * n / max(n - 1, 1))
    return float(change), error if n > 1 else math.inf, max(n - 1, 1)
