"""A calibration in words: what this machine can detect, how long that takes, and what would lower the noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfgate.calibration import Calibration, Choice, MetricFigures
from perfgate.metrics import CATALOGUE
from perfgate.needs import MOST_PAIRS, Noisy, detectable, pairs_needed
from perfgate.percent import percent
from perfgate.report.figures import count, duration, quantity
from perfgate.sampling import SampleCurve
from perfgate.spread import CONFIDENCE, Spread
from perfgate.terms import Gate, Pairing

ASKED = (0.05, 0.02)  # slowdowns whose price is told beside the suite's own `detect`
CLEAR = 0.05  # p value below which one summary is called less noisy than another
WORTH = 0.8  # of the spread: what more samples must bring to be worth a word
PURE = 0.9  # share of the spread that is the process itself, from which more samples are called useless
MOST_DETECT = 1.0  # a `detect` above this is no promise worth making: a metric twice as bad would pass
CORRELATED = 0.5  # lag-1 correlation from which rounds are called alike


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a table (its first row are the column heads) and sentences; either may be empty."""

    title: str
    table: tuple[tuple[str, ...], ...] = ()
    sentences: tuple[str, ...] = ()


def briefly(share: float) -> str:
    """'0.42 %', '3.1 %', '25 %': two digits that count."""
    size = abs(share)
    digits = 2 if size < 0.01 else 1 if size < 0.1 else 0  # noqa: PLR2004 - 1 % and 10 %
    text = percent(share, digits)
    return text.replace(".0 %", " %") if size >= 0.01 else text  # noqa: PLR2004


# -------------------------------------------------------------------- noise


def noise_section(found: Calibration) -> Section:
    head = ("case", "metric", "level", "rounds vary by", "pairs by", "pairs, robust", "sessions by")
    rows = [
        (
            one.case, one.metric, quantity(one.level, CATALOGUE[one.metric].unit), spread_text(one.rounds),
            spread_text(one.pairs), _robust(one.pairs), _sessions(one),
        )
        for one in found.gated
    ]  # fmt: skip
    what = "in turns" if found.pairing is Pairing.INTERLEAVED else "one after the other"
    told = f"{count(len(found.pair_s), 'engine')} against itself, {count(found.pairs, 'pair')} of rounds {what} each"
    words = f"{told}{f' in each of {found.sessions} sessions' if found.sessions > 1 else ''}, {duration(found.seconds)}"
    note = f"In brackets: between which figures the true spread lies with {percent(CONFIDENCE, 0)} confidence."
    return Section(f"Noise: {words}", (head, *rows), (note, *_session_note(found)))


def spread_text(one: Spread | None) -> str:
    """'1.2 % (0.9-2.0 %)'."""
    if one is None:
        return "-"
    return f"{briefly(one.sd)} ({briefly(one.low).removesuffix(' %')}-{briefly(one.high)})"


def _robust(one: Spread | None) -> str:
    return "-" if one is None or one.robust is None else briefly(one.robust)


def _sessions(one: MetricFigures) -> str:
    return "-" if one.sessions is None else f"{briefly(one.sessions.sd)} of {one.session_count}"


def _session_note(found: Calibration) -> list[str]:
    if not any(one.sessions for one in found.gated):
        return ["Between sessions: not known from one session; gates that are kept in the history tell in time."]
    if found.sessions > 1:
        return ["Sessions of one calibration are close together: other days differ more than they do."]
    return []


# ---------------------------------------------------------------- detection


@dataclass(frozen=True, slots=True)
class _Price:
    """What finding changes of one metric of one case takes."""

    one: MetricFigures
    pair_s: float
    sizes: tuple[float, ...]  # the suite's `detect` first
    pairs: tuple[int | None, ...]  # for each size
    worst: int | None  # for `detect`, were the noise as large as the calibration allows
    finds: float | None  # with the suite's most rounds

    @property
    def pair_sd(self) -> float:
        return self.one.pairs.sd if self.one.pairs else 0.0

    def words(self, index: int) -> str:
        """'5 % with about 4 pairs, 40 s'."""
        pairs = self.pairs[index]
        if pairs is None:
            return f"{briefly(self.sizes[index])} with more than {MOST_PAIRS} pairs"
        return f"{briefly(self.sizes[index])} with about {pairs} pairs, {duration(pairs * self.pair_s)}"


def _prices(found: Calibration, gate: Gate) -> list[_Price]:
    figures = [one for one in found.gated if one.pairs is not None]
    noises = [Noisy(one.pairs.sd, one.pairs.df) for one in figures if one.pairs]
    sizes = [_sizes(gate.metric(one.metric).detect) for one in figures]
    wanted = [(noise, size) for noise, mine in zip(noises, sizes, strict=True) for size in mine]
    needed = iter(pairs_needed(wanted, gate, found.tests))
    high = [
        (Noisy(one.pairs.high, one.pairs.df), mine[0]) for one, mine in zip(figures, sizes, strict=True) if one.pairs
    ]
    worst = pairs_needed(high, gate, found.tests)
    smallest = detectable(noises, gate.most_rounds, gate, found.tests)
    return [
        _Price(one, found.pair_s[one.engine], mine, tuple(next(needed) for _ in mine), most, finds)
        for one, mine, most, finds in zip(figures, sizes, worst, smallest, strict=True)
    ]


def _sizes(detect: float) -> tuple[float, ...]:
    return (detect, *(size for size in ASKED if size < detect))


def detection_section(found: Calibration, gate: Gate) -> Section:
    prices = _prices(found, gate)
    head = ("case", "metric", "to find", "pairs", "at worst", "time an engine", f"{gate.most_rounds} pairs find")
    rows = [
        (
            one.one.case, one.one.metric, briefly(one.sizes[0]), pairs_text(one.pairs[0]), pairs_text(one.worst),
            duration(one.pairs[0] * one.pair_s) if one.pairs[0] else "-", _finds(one.finds),
        )
        for one in prices
    ]  # fmt: skip
    names = dict.fromkeys(price.one.metric for price in prices)
    noisiest = [max((one for one in prices if one.one.metric == name), key=lambda one: one.pair_sd) for name in names]
    return Section(
        "What this machine can detect",
        (head, *rows) if rows else (),
        (*(_sentence(price, gate) for price in noisiest), *_whole(prices, gate)),
    )


def pairs_text(count: int | None) -> str:
    return f"over {MOST_PAIRS}" if count is None else str(count)


def _finds(size: float | None) -> str:
    return "nothing" if size is None else briefly(size)


def _sentence(price: _Price, gate: Gate) -> str:
    one = price.one
    noise = f"in its noisiest case, {one.case}, pairs vary by {briefly(price.pair_sd)}"
    first = f"{one.metric}: {noise}. Found is a slowdown of"
    told = "; ".join([f"{price.words(0)} an engine", *(price.words(i) for i in range(1, len(price.sizes)))])
    return f"{first} {told}.{_beyond(price, gate)}"


def _beyond(price: _Price, gate: Gate) -> str:
    """What to do where the suite promises more than its rounds can keep."""
    needed = price.pairs[0]
    if needed is not None and needed <= gate.most_rounds:
        return ""
    if price.finds is None or price.finds > MOST_DETECT:
        return (
            f" The suite's {gate.most_rounds} pairs find no change up to {briefly(MOST_DETECT)}: do not gate it here."
        )
    more = "" if needed is None else f", or most_rounds to {needed}"
    return (
        f" The suite's {gate.most_rounds} pairs find {briefly(price.finds)} at best: it would stay inconclusive;"
        f" raise detect to {briefly(price.finds)}{more}, or lower the noise."
    )


def _whole(prices: Sequence[_Price], gate: Gate) -> Iterator[str]:
    """How long a gate takes that finds every metric's `detect` on these engines."""
    engines: dict[str, float] = {}
    for price in prices:
        pairs = min(price.pairs[0] or gate.most_rounds, gate.most_rounds)
        pairs = max(pairs, gate.first_rounds)
        engines[price.one.engine] = max(engines.get(price.one.engine, 0.0), pairs * price.pair_s)
    total = sum(engines.values())
    if engines:
        fits = "within" if total <= gate.budget_s else "more than"
        yield (
            f"One slowdown of `detect` in each engine measured here ({len(engines)}) takes about {duration(total)}"
            f" to find (or to leave inconclusive), {fits} the suite's budget of {duration(gate.budget_s)};"
            " engines without one are done sooner."
        )


# ------------------------------------------------------------------ choices


def choice_sentences(found: Calibration) -> Iterator[str]:
    for one in found.choices:
        best, *others = one.spreads
        told = ", ".join(f"{one.stem}_{name} by {briefly(one.spreads[name].sd)}" for name in [best, *others])
        yield f"{one.case}: pairs of {told}. {_advice(one, best)}"


def _advice(one: Choice, best: str) -> str:
    if not one.gated:
        return f"The suite gates none of them; {one.stem}_{best} would be the least noisy."
    used = f"{one.stem}_{one.gated[0]}"
    if one.gated[0] == best:
        return f"{used} is gated: the least noisy."
    if one.p < CLEAR:
        return f"Gate on {one.stem}_{best} rather than {used} (p {one.p:.2g})."
    return f"{used} is gated; no clear difference (p {one.p:.2g})."


# ------------------------------------------------------------------ samples


def sample_sentences(found: Calibration) -> Iterator[str]:
    for one in found.gated:
        if one.curve is not None and one.pairs is not None and one.pairs.sd > 0:
            yield f"{one.metric} of {one.case}: {_curve(one.curve)}"


def _curve(curve: SampleCurve) -> str:
    now, twice, half = curve.at(curve.samples), curve.at(curve.samples * 2), curve.at(curve.samples / 2)
    floor = f"the process itself is {briefly(curve.floor)} of it" if curve.floor else "all of it from the samples"
    rest = f"{curve.samples} samples a round give {briefly(now)}; {floor}"
    if curve.floor >= PURE * now:
        return f"{rest}: more samples bring nothing; half of them would give {briefly(half)}."
    if twice <= WORTH * now:
        return f"{rest}: twice the samples would give {briefly(twice)}."
    return f"{rest}: twice the samples would give {briefly(twice)}, half of them {briefly(half)}."


# ------------------------------------------------------------------- shapes


def shape_sentences(found: Calibration) -> Iterator[str]:
    for one in found.gated:
        if one.shape:
            yield f"{one.metric} of {one.case}: {one.shape}."
        if one.trend is not None and one.trend.is_drift:
            yield (
                f"{one.metric} of {one.case}: rounds drifted by "
                f"{percent(math.expm1(one.trend.drift), 0, sign='+')} over the session;"
                " pairs cancel most of that, stored rounds do not."
            )
        if one.trend is not None and one.trend.lag1 > CORRELATED:
            yield (
                f"{one.metric} of {one.case}: a round is like the one before it (correlation {one.trend.lag1:.1f}):"
                " something disturbs the machine for longer than a round."
            )
    if not any(one.trend for one in found.gated):
        yield "Fewer than six rounds in a session, or rounds without any spread: drift cannot be told."


# ------------------------------------------------------------------ machine


def machine_sentences(found: Calibration) -> Iterator[str]:
    made = found.environment
    yield f"{made.product} ({made.device})."
    reasons: dict[str, list[str]] = {}
    for one in found.gated:
        reasons.setdefault(one.waits.reason, []).append(f"{one.metric} of {one.case}")
    for reason, names in reasons.items():
        yield f"{'All metrics' if len(reasons) == 1 else ', '.join(names)}: {reason}."
    if found.clocks_mhz is None:
        yield "Clocks: not readable here; nothing says whether they moved."
    else:
        low, high = found.clocks_mhz
        yield f"Clocks: {low:.0f} to {high:.0f} MHz after rounds (first core); perfgate sets none."
    yield from (f"Note: {note}." for note in found.notes)
