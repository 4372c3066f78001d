"""The self-test's arithmetic: which gates in which order, and what their verdicts come to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median

from perfgate.metrics import LOSS
from perfgate.percent import percent
from perfgate.plant import Plant
from perfgate.verdict import Verdict

SELFTEST_SCHEMA = 1


class What(StrEnum):
    """What is planted; nothing, in A/A gates."""

    NOTHING = "nothing"
    DECODE = "decode"
    PERPLEXITY = "perplexity"


# Metrics that a plant moves, by how their names begin. Time to first token is not among them, and
# CPU time per token neither: the planted wait keeps one core busy, whatever the engine uses.
_MOVED = {
    What.NOTHING: ("",),
    What.DECODE: ("itl_", "tpot_", "e2el_", "output_tokens_per_s", "total_tokens_per_s", "requests_per_s"),
    What.PERPLEXITY: ("perplexity", "bits_per_byte"),
}
# Those that it moves by its whole size; prefill dilutes the others, and noise on logits has its size as a bound.
_WHOLE = {What.NOTHING: (), What.DECODE: ("itl_", "tpot_"), What.PERPLEXITY: ()}


@dataclass(frozen=True, slots=True)
class Planted:
    """A kind of gate: what is planted and how much (0.05 is 5 % worse)."""

    what: What = What.NOTHING
    size: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.what} +{100 * self.size:.4g} %" if self.size else "unchanged"

    @property
    def plant(self) -> Plant:
        return Plant(**({str(self.what): 1 + self.size} if self.size else {}))

    def moves(self, metric: str) -> bool:
        """Whether a metric must show it; every metric stands for a gate where nothing is planted.

        The loss against a reference engine does not: what is planted hits both alike, and nothing stored is asked.
        """
        return metric != LOSS and metric.startswith(_MOVED[self.what])

    def effect(self, metric: str, measured: float | None) -> float:
        """How much worse a metric truly is: the size, but for diluted metrics no more than was measured on average."""
        return self.size if metric.startswith(_WHOLE[self.what]) else min(self.size, measured or 0.0)


UNCHANGED = Planted()


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict as the self-test keeps it; the fields are those of `perfgate.verdict.MetricVerdict`."""

    case: str
    metric: str
    verdict: Verdict
    margin: float
    detect: float
    change: float | None = None
    evidence: float | None = None
    more_rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished gate. seconds: of the process that ended it, where a gate was taken up again."""

    planted: Planted
    started: str  # UTC, ISO 8601
    rounds: int
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def red(self) -> frozenset[str]:
        """Metrics that were red in any case."""
        return frozenset(one.metric for one in self.findings if one.verdict is Verdict.REGRESSED)

    @property
    def concerned(self) -> tuple[Finding, ...]:
        """Findings on the metrics that the plant moves."""
        return tuple(one for one in self.findings if self.planted.moves(one.metric))

    @property
    def answer(self) -> Verdict:
        """What the gate says of what is planted: regressed is 'found', ok is 'missed'."""
        seen = {one.verdict for one in self.concerned}
        if Verdict.REGRESSED in seen:
            return Verdict.REGRESSED
        if not seen or seen & {Verdict.INVALID, Verdict.BROKEN, Verdict.NO_BASELINE}:
            return Verdict.INVALID
        return Verdict.INCONCLUSIVE if Verdict.INCONCLUSIVE in seen else Verdict.OK

    @property
    def more_rounds(self) -> int | None:
        """Further rounds after which all that is undecided should be decided."""
        return max((one.more_rounds for one in self.concerned if one.more_rounds is not None), default=None)


# ------------------------------------------------------------------ order


def left_to_do(planted: Sequence[Planted], gates: int, done: Iterable[Outcome]) -> list[Planted]:
    """The gates still to run, kinds in turn (A/A first), so that a drift of the machine hits all alike."""
    counts = Counter(one.planted for one in done)
    return [one for number in range(gates) for one in (UNCHANGED, *planted) if counts[one] <= number]


# ------------------------------------------------------------------ tally


@dataclass(frozen=True, slots=True)
class Share:
    """A count with the Wilson 95 % interval of the share behind it; 0 to 1 where nothing was counted."""

    count: int
    of: int
    low: float
    high: float


def share_of(count: int, of: int) -> Share:
    """Wilson's score interval (Wilson, J. Am. Stat. Assoc. 22, 1927), which also holds at 0 and at `of`."""
    if of == 0:
        return Share(0, 0, 0.0, 1.0)
    z, p = 1.959964, count / of
    centre, spread = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = ((centre + sign * spread) / (1 + z * z / of) for sign in (-1, 1))
    return Share(count, of, max(0.0, low) if count else 0.0, min(1.0, high) if count < of else 1.0)


class Expected(StrEnum):
    """What a right verdict on a planted metric is."""

    OK = "ok"  # the size lies within the margin: red would be wrong
    EITHER = "either"  # beyond the margin, but less than the gate promises to find
    FOUND = "found"  # at least `detect`: ok would be wrong


@dataclass(frozen=True, slots=True)
class MetricTally:
    """One planted metric over all cases and gates of a kind; each verdict counts once.

    change: mean measured change toward worse. effect: how much worse it truly is, see `Planted.effect`.
    """

    metric: str
    margin: float
    detect: float
    red: int
    ok: int
    inconclusive: int
    invalid: int
    change: float | None
    effect: float

    @property
    def expected(self) -> Expected:
        if self.effect <= self.margin:
            return Expected.OK
        return Expected.FOUND if self.effect >= self.detect else Expected.EITHER


@dataclass(frozen=True, slots=True)
class Tally:
    """All gates of a kind. `found`, `ok`, `inconclusive` and `invalid` add up to the gates.

    red: gates with any red metric, moved by the plant or not; `red_metrics` has their metrics.
    found: gates in which a planted metric was red. ok: every one was called ok in every case.
    more_rounds: median over inconclusive gates.
    """

    planted: Planted
    gates: int
    red: Share
    found: Share
    ok: Share
    inconclusive: Share
    invalid: int
    red_metrics: Mapping[str, int]
    more_rounds: float | None
    rounds: float  # mean of a gate
    seconds: float
    metrics: tuple[MetricTally, ...]


def tally(planted: Sequence[Planted], outcomes: Sequence[Outcome]) -> tuple[Tally, ...]:
    """What the gates of each kind came to: A/A first, then in the order asked for."""
    return tuple(_tally(one, [out for out in outcomes if out.planted == one]) for one in (UNCHANGED, *planted))


def _tally(planted: Planted, outcomes: Sequence[Outcome]) -> Tally:
    answers = Counter(one.answer for one in outcomes)
    undecided = [one for one in outcomes if one.answer is Verdict.INCONCLUSIVE]
    wanted = [one.more_rounds for one in undecided if one.more_rounds is not None]
    total = len(outcomes)
    return Tally(
        planted, total,
        red=share_of(sum(bool(one.red) for one in outcomes), total),
        found=share_of(answers[Verdict.REGRESSED], total),
        ok=share_of(answers[Verdict.OK], total),
        inconclusive=share_of(len(undecided), total),
        invalid=answers[Verdict.INVALID],
        red_metrics=dict(sorted(Counter(metric for one in outcomes for metric in one.red).items())),
        more_rounds=median(wanted) if wanted else None,
        rounds=_mean(one.rounds for one in outcomes) or 0.0,
        seconds=_mean(one.seconds for one in outcomes) or 0.0,
        metrics=_by_metric(planted, [finding for one in outcomes for finding in one.concerned]),
    )  # fmt: skip


def _by_metric(planted: Planted, findings: Sequence[Finding]) -> tuple[MetricTally, ...]:
    names = dict.fromkeys(one.metric for one in findings)
    return tuple(_metric_tally(planted, [one for one in findings if one.metric == name]) for name in names)


def _metric_tally(planted: Planted, mine: Sequence[Finding]) -> MetricTally:
    counts = Counter(one.verdict for one in mine)
    change = _mean(one.change for one in mine if one.change is not None)
    first = mine[0]
    return MetricTally(
        first.metric, first.margin, first.detect,
        red=counts[Verdict.REGRESSED],
        ok=counts[Verdict.OK] + counts[Verdict.IMPROVED],
        inconclusive=counts[Verdict.INCONCLUSIVE],
        invalid=counts[Verdict.INVALID] + counts[Verdict.BROKEN] + counts[Verdict.NO_BASELINE],
        change=change,
        effect=planted.effect(first.metric, change),
    )  # fmt: skip


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


def faults(tallies: Sequence[Tally]) -> list[str]:
    """What must not be: an alarm on nothing, a gate not measured, ok for twice what is promised to be found."""
    out = [
        f"{one.red.count} of {one.gates} unchanged gates were red"
        for one in tallies
        if one.planted == UNCHANGED and one.red.count
    ]
    out += [
        f"{one.invalid} of {one.gates} gates of {one.planted.label} were not measured" for one in tallies if one.invalid
    ]
    return out + [
        f"{one.planted.label} was called ok by {metric.metric} {metric.ok} times, though it promises to find "
        f"{percent(metric.detect, 0)}"
        for one in tallies
        for metric in one.metrics
        if one.planted != UNCHANGED and metric.ok and metric.effect >= 2 * metric.detect
    ]
