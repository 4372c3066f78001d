"""Verdicts on noisy metrics: their evidence against the bars that the gate's error rates set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from perfgate.evidence import Evidence, padded, weigh
from perfgate.levels import OnLevels, heavy_tail
from perfgate.metrics import Better, Metric
from perfgate.modes import Modes, find_modes
from perfgate.noise import Floats, Sessions, Store, learn, store_of_pairs
from perfgate.percent import percent
from perfgate.question import Question
from perfgate.terms import Gate, Pairing
from perfgate.verdict import Cause, MetricVerdict, Ruling, Verdict
from perfgate.wild import tame, tame_sessions

FRESH = 2  # baseline rounds of today, or pairs, below which nothing is condemned
ROBUST_SLACK = 1.0  # log e-value that leaving out the most telling round may cost a red verdict
OK_SLACK = 4.0  # log e-value that leaving out the most telling round of the baseline's engine may cost an ok verdict
LEAN = 0.0  # log evidence against a change of the margin's size above which nothing is called ok
EDGE = math.log(20.0)  # log evidence against a change of the margin's size that a red verdict needs
LEAST = 1e-12  # probability that stands for none
INTERVAL = 0.99  # confidence of the interval that is reported beside a verdict


def judge_noisy(
    questions: Sequence[Question], gate: Gate, tests: int, rerunnable: Sequence[str]
) -> list[MetricVerdict]:
    """A verdict on each question; `tests`: over how many the gate's alpha is shared."""
    known = _Known(questions, gate, frozenset(rerunnable))
    is_paired = gate.pairing is Pairing.INTERLEAVED
    found = (known.by_stored(), known.by_pairs()) if is_paired else (known.by_rounds(),)
    bar = _Bar.of(gate, tests + len(known.two_levels), len(found))
    return [_verdict(_Weighed(known, found, i), bar) for i in range(len(questions))]


@dataclass(frozen=True, slots=True)
class NoiseKnown:
    """What the judge takes a metric's noise to be (standard deviations of log values), with its degrees of freedom.

    day_sd: of today's level about the expected one. shape: two levels or heavy tails in words, or nothing.
    """

    round_sd: float
    round_df: float
    day_sd: float
    shape: str


def known_noise(questions: Sequence[Question], gate: Gate, rerunnable: Sequence[str]) -> list[NoiseKnown]:
    """The noise with which `judge_noisy` judges the same questions."""
    known = _Known(questions, gate, frozenset(rerunnable))
    sds, days = np.sqrt(known.store.round_var), np.sqrt(known.store.day_var)
    return [
        NoiseKnown(float(sds[i]), float(known.store.df[i]), float(days[i]), known.shape(i))
        for i in range(len(questions))
    ]


def can_acquit(questions: Sequence[Question], gate: Gate) -> list[bool]:
    """Whether stored rounds alone could ever acquit each question.

    However many rounds are added, the session effect remains: ln E can reach detect^2 / (2 tau^2).
    """
    known = _Known(questions, gate, frozenset())
    return [bool(one) for one in known.detect**2 / (2 * known.store.day_var) >= math.log(2 / gate.beta)]


def _worse(metric: Metric, values: Sequence[float] | Floats) -> Floats:
    """ln(value), signed so that larger is worse."""
    return np.log(np.asarray(values, dtype=np.float64)) * (1.0 if metric.better is Better.LOWER else -1.0)


class _Known:
    """The questions with what earlier sessions tell of their metrics: level, noise, and its shape."""

    def __init__(self, questions: Sequence[Question], gate: Gate, rerunnable: frozenset[str]) -> None:
        self.questions, self._noise, self.two_modes = questions, gate.noise, gate.noise.two_modes
        self.margin = np.log1p([q.metric.margin for q in questions])
        self.detect = np.log1p([q.metric.detect for q in questions])
        self.is_rerunnable = np.array([q.case.engine in rerunnable for q in questions])
        self._a = [_worse(q.metric, q.beside) for q in questions]
        self._b = [_worse(q.metric, q.candidate) for q in questions]
        names = {name: number for number, name in enumerate(dict.fromkeys(q.case.engine for q in questions))}
        self._engines = np.array([names[q.case.engine] for q in questions])
        self._stored = [_sessions(q) for q in questions]
        self._sessions = [tame_sessions(stored) for stored in self._stored]
        today = [(tame(a), tame(b)) for a, b in zip(self._a, self._b, strict=True)]
        self.store = learn(self._sessions, today, self._engines, self._noise)
        alone = self.store.alone()
        self._wider = np.where(self.is_rerunnable, 1.0, np.sqrt(alone.day_var / self.store.day_var))
        self._modes = list(self._find_modes())
        self.two_levels = self._on_levels(self._a)
        for row, sides in enumerate(today):
            levels = self.two_levels.get(row)
            self._a[row], self._b[row] = map(levels.tame, (self._a[row], self._b[row])) if levels else sides

    def _find_modes(self) -> Iterator[tuple[list[int], Modes]]:
        """Rows of one engine with the modes in which it runs."""
        for rows in self._of_one_engine():
            about = np.stack([self._sessions[row].values - self.store.level[row] for row in rows])
            modes = find_modes(about, self._sessions[rows[0]].sizes, self.store.day_var[rows])
            if modes is not None:
                yield rows, modes

    def _on_levels(self, side_a: Sequence[Floats]) -> dict[int, OnLevels]:
        """Rows with two levels, as today's rounds of both engines tell them."""
        out: dict[int, OnLevels] = {}
        for rows, modes in self._modes:
            a, b = (np.stack([side[row] - self.store.level[row] for row in rows]) for side in (side_a, self._b))
            out |= {rows[i]: self._with_caution(rows[i], levels) for i, levels in modes.today(a, b).items()}
        return out

    def _with_caution(self, row: int, levels: OnLevels) -> OnLevels:
        """The same caution that `_cautious` takes with metrics of one level."""
        return levels if self.is_rerunnable[row] else levels.alone(float(self._wider[row]))

    def _of_one_engine(self) -> Iterator[list[int]]:
        """Rows whose rounds are those of one engine, in the past and today."""
        alike: dict[tuple[int, tuple[int, ...], int, int], list[int]] = {}
        for row, engine in enumerate(self._engines):
            key = (int(engine), self._sessions[row].sizes, len(self._a[row]), len(self._b[row]))
            alike.setdefault(key, []).append(row)
        yield from alike.values()

    def by_rounds(self) -> Evidence:
        """Today's rounds of both engines, with the stored level where sessions are stored."""
        a = padded(self._a)
        store = self._cautious(self.store.seen_today(a, self._engines))
        return weigh(store, a, padded(self._b), self.margin, self.detect, self.two_levels)

    def by_stored(self) -> Evidence:
        """Today's rounds of the candidate against the stored ones."""
        nothing = np.empty((len(self._b), 0))
        levels = self._on_levels(list(nothing))
        return weigh(self._cautious(self.store), nothing, padded(self._b), self.margin, self.detect, levels)

    def _cautious(self, store: Store) -> Store:
        """What is known, with the caution due where the baseline's engine cannot be run."""
        return Store.choose(self.is_rerunnable, store, self.store.alone())

    def by_pairs(self) -> Evidence:
        """The differences within pairs."""
        rows = [
            _worse(q.metric, [b for _, b in q.pairs]) - _worse(q.metric, [a for a, _ in q.pairs])
            for q in self.questions
        ]
        store = store_of_pairs(len(rows), self._noise)
        return weigh(store, np.empty((len(rows), 0)), padded(rows), self.margin, self.detect)

    def shape(self, row: int) -> str:
        """Words for noise that has two levels or heavy tails."""
        return self.two_levels[row].words if row in self.two_levels else heavy_tail(self._stored[row].values)


def _sessions(q: Question) -> Sessions:
    return Sessions(_worse(q.metric, q.stored.values), q.stored.sizes, q.stored.pinned)


@dataclass(frozen=True, slots=True)
class _Bar:
    """What a verdict needs: log e-values for red and for ok, and the levels of the matching quantiles."""

    red: float
    ok: float
    red_level: float
    ok_level: float

    @staticmethod
    def of(gate: Gate, tests: int, sources: int) -> _Bar:
        """The bars of a gate that shares alpha over its tests, and beta over sources of evidence."""
        red, ok = math.log(tests / gate.alpha), math.log(sources / gate.beta)
        return _Bar(red, ok, 1 - gate.alpha / tests, 1 - gate.beta)

    def detectable(self, df: float, error: float) -> float:
        """The change in log units that evidence of this precision would have shown."""
        return float((special.stdtrit(df, self.red_level) + special.stdtrit(df, self.ok_level)) * error)

    def rounds_needed(self, change: float, error: float, detect: float, count: float) -> float:
        """Rounds after which a verdict is to be expected, if the change is what it seems to be.

        ln E grows by (detect change - detect^2/2)/error^2, and the error falls with the root of the
        rounds (Wald 1947). Never more than a test of fixed size needs: (z error / detect)^2.
        """
        z = float(special.ndtri(self.red_level) + special.ndtri(self.ok_level))
        pull = detect * change - detect**2 / 2
        expected = (self.red if pull > 0 else self.ok) * error**2 / max(abs(pull), 1e-12)
        return count * min(expected, (z * error / detect) ** 2)


def modes_apart(a: float, b: float, two_modes: float) -> float:
    """The largest log e-value of a change that two hidden modes do not explain as well.

    That all a rounds of the one engine were fast and all b of the other slow has the probability B(a+1, b+1), the
    share of slow rounds being unknown (uniform). Many rounds, stored ones too, rule that out; few do not.
    """
    return -float(special.betaln(a + 1, b + 1)) - math.log(max(two_modes, LEAST))


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A question with its evidence, weakest source first."""

    known: _Known
    sources: tuple[Evidence, ...]
    i: int

    @property
    def q(self) -> Question:
        return self.known.questions[self.i]

    @property
    def best(self) -> Evidence:
        """Pairs where there are enough; else the other rounds."""
        last = self.sources[-1]
        return last if last.rounds_b[self.i] >= FRESH else self.sources[0]

    @property
    def is_paired(self) -> bool:
        return len(self.sources) > 1 and self.best is self.sources[-1]

    @property
    def is_rerunnable(self) -> bool:
        return bool(self.known.is_rerunnable[self.i])

    @property
    def may_condemn(self) -> bool:
        """A stored level alone condemns nobody while the baseline engine can be asked."""
        return not self.is_rerunnable or self.is_paired or self.best.rounds_a[self.i] >= FRESH

    @property
    def is_single(self) -> bool:
        """One round condemns nobody, however slow it is, and has no scatter to estimate anything from."""
        return bool(self.best.rounds_b[self.i] < FRESH)

    def is_fine(self, bar: _Bar) -> bool:
        """Whether any source rules a worsening out, and not by a single wild round of the baseline's engine.

        Never while the rounds speak for a worsening beyond the margin, though a smaller one than `detect`.
        """
        bar_without_one = bar.ok - OK_SLACK
        is_fine = any(one.fine[self.i] >= bar.ok and one.fine_robust[self.i] >= bar_without_one for one in self.sources)
        return is_fine and bool(self.best.beyond[self.i] < LEAN)

    @property
    def fine(self) -> float:
        return max(float(one.fine[self.i]) for one in self.sources)

    @property
    def is_worse(self) -> tuple[Floats, Floats, Floats]:
        return self.best.worse, self.best.worse_robust, self.best.beyond

    @property
    def is_better(self) -> tuple[Floats, Floats, Floats]:
        return self.best.better, self.best.better_robust, self.best.better_beyond

    @property
    def modes_apart(self) -> float:
        """`modes_apart` of the rounds that there are; no bound where the levels are known."""
        if self.i in self.known.two_levels and not self.is_paired:
            return math.inf
        b = float(self.best.rounds_b[self.i])
        beside = b if self.is_paired else float(self.best.rounds_a[self.i])
        a = len(self.q.stored.values) + beside
        return modes_apart(a, b, self.known.two_modes)

    def finds(self, found: tuple[Floats, Floats, Floats], bar: _Bar) -> bool:
        whole, robust, beyond = (float(one[self.i]) for one in found)
        whole = min(whole, self.modes_apart)
        return whole >= bar.red and robust >= bar.red - ROBUST_SLACK and beyond >= EDGE and self.may_condemn

    @property
    def against(self) -> str:
        if self.is_paired:
            return f"{len(self.q.pairs)} pairs of rounds"
        beside = f"{len(self.q.beside)} rounds of the baseline's engine beside {len(self.q.candidate)}"
        return beside if self.q.beside else "stored rounds only"


def _verdict(w: _Weighed, bar: _Bar) -> MetricVerdict:
    found, i = w.best, w.i
    ruling = _decide(w, bar)
    change, error = float(found.change[i]), float(found.error[i])
    half = float(special.stdtrit(found.df[i], (1 + INTERVAL) / 2)) * error
    shape = w.known.shape(i)
    return w.q.verdict(
        replace(ruling, reason=f"{ruling.reason} ({shape})") if shape else ruling,
        change=math.expm1(change),
        low=math.expm1(change - half),
        high=math.expm1(change + half),
        evidence=math.exp(min(found.worse[i], 700.0)),
        needed_evidence=math.exp(bar.red),
        detectable=None if w.is_single else math.expm1(max(bar.detectable(found.df[i], error), w.known.margin[i])),
        more_rounds=_more_rounds(w, bar) if ruling.verdict is Verdict.INCONCLUSIVE and not w.is_single else None,
    )


def _more_rounds(w: _Weighed, bar: _Bar) -> int:
    """Estimate of the further candidate rounds (with as many of the baseline's engine) that a verdict needs."""
    found, i = w.best, w.i
    count = float(found.rounds_b[i])
    wanted = bar.rounds_needed(float(found.change[i]), float(found.error[i]), float(w.known.detect[i]), count)
    return max(1, math.ceil(wanted - count))


def _decide(w: _Weighed, bar: _Bar) -> Ruling:
    metric, looks_worse = w.q.metric, float(w.best.worse[w.i])
    if w.finds(w.is_worse, bar):
        what = f"beyond the {percent(metric.margin)} margin, by {w.against}; odds {_odds(looks_worse)} to 1"
        return Ruling(Verdict.REGRESSED, what, Cause.BEYOND_MARGIN)
    if not w.is_fine(bar):
        cause = _why_undecided(w, bar)
        return Ruling(Verdict.INCONCLUSIVE, _undecided(w, cause), cause)
    if w.finds(w.is_better, bar):
        what = f"better than before, by {w.against}; odds {_odds(w.best.better[w.i])} to 1"
        return Ruling(Verdict.IMPROVED, what, Cause.BETTER)
    return Ruling(Verdict.OK, f"a worsening of {percent(metric.detect, 0)} is ruled out; odds {_odds(w.fine)} to 1")


def _why_undecided(w: _Weighed, bar: _Bar) -> Cause:
    if w.is_single:
        return Cause.SINGLE_ROUND
    if not w.may_condemn and w.best.change[w.i] > w.known.detect[w.i]:
        return Cause.NOT_BESIDE
    if w.fine >= bar.ok and w.best.beyond[w.i] >= LEAN:
        return Cause.NEAR_MARGIN
    if w.best.worse[w.i] >= bar.red > w.modes_apart:
        return Cause.TWO_MODES
    return Cause.WILD_ROUND if w.best.worse[w.i] >= bar.red else Cause.NOISE


def _undecided(w: _Weighed, cause: Cause) -> str:
    """The cause in words, with the metric's figures."""
    margin, detect = f"the {percent(w.q.metric.margin)} margin", percent(w.q.metric.detect, 0)
    gone = "" if w.is_rerunnable else "; the baseline's engine cannot be run here, stored rounds alone were compared"
    words = {
        Cause.SINGLE_ROUND: f"a single round cannot show a worsening, nor rule one of {detect} out",
        Cause.NOT_BESIDE: "looks worse than the stored rounds, but not red before the baseline's engine is measured "
        "beside it",
        Cause.NEAR_MARGIN: f"{detect} worse is ruled out, but beyond {margin} is likelier than within",
        Cause.TWO_MODES: "worse, but with so few rounds two modes of the engine, taken in turns, may explain it",
        Cause.WILD_ROUND: f"worse, but a change within {margin} or a single wild round may explain it",
        Cause.NOISE: f"too noisy to rule a worsening of {detect} in or out{gone}",
    }
    return words[cause]


def _odds(log_e: float) -> str:
    most = 1_000_000
    return f"{math.exp(log_e):,.0f}" if log_e < math.log(most) else f"over {most:,}"
