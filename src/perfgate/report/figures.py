"""How values are shown to people: quantities in fitting units, changes, intervals, durations and verdict words."""

from __future__ import annotations

import math
import re
from typing import TypeGuard

from perfgate import percent
from perfgate.metrics import Better, Unit
from perfgate.verdict import MetricVerdict, Verdict

ABSENT = "-"

_MINUTE, _HOUR, _LONGEST_S = 60, 3600, 1e10
_PLAIN_FROM, _PLAIN_TO = 1e-6, 1e9  # outside, digits would not be counted but an exponent be read
_MOST_PERCENT = 1e7
_ROUNDED = 0.0015  # relative: a tenth of a per cent of the change, four digits of either value

ESTIMATOR = (
    "changes are estimated over all rounds and the stored ones, or over pairs of rounds, with wild rounds drawn in; "
    "baseline and now are medians"
)

WORDS = {
    Verdict.OK: "ok",
    Verdict.IMPROVED: "improved",
    Verdict.NO_BASELINE: "no baseline",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.INVALID: "INVALID",
    Verdict.REGRESSED: "REGRESSED",
    Verdict.BROKEN: "BROKEN",
}

_SCALES: dict[str, tuple[tuple[float, str], ...]] = {  # largest first
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    Unit.BYTES: ((1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    Unit.RATIO: ((1.0, ""),),
    Unit.SHARE: ((0.01, "%"),),
}
_COUNTS = (Unit.BYTES, Unit.TOKENS)
_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]+")
# Controls start terminal escapes; format characters (bidi marks, zero-width, tags) make a text read as another.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
    "\ufdd0-\ufdef"  # not characters, nor the last two of each plane: readers of Markdown change them
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def verdict_word(metric: MetricVerdict) -> str:
    """The verdict, and that it is waived where it is."""
    return f"{WORDS[metric.verdict]}, waived" if metric.waived else WORDS[metric.verdict]


def plain(text: str) -> str:
    """Text from outside as one printable line: breaks become spaces, controls a replacement sign."""
    return _UNSEEN.sub("\ufffd", _BREAKS.sub(" ", text))


def quantity(value: float | None, unit: str, *, like: float | None = None, brief: bool = False) -> str:
    """A value in the unit that fits it, or that fits `like`, so that two values can be read side by side.

    brief: leaves out units that are not scaled ('2,450' for '2,450 tokens/s'); the metric's name has them.
    """
    if not _is_known(value):
        return ABSENT
    factor, name = _scale(value if not _is_known(like) or not like else like, unit)
    is_count = unit in _COUNTS and factor == 1 and float(value).is_integer() and abs(value) < _PLAIN_TO
    shown = f"{value:,.0f}" if is_count else _digits(value / factor)
    return shown if brief and unit not in _SCALES else f"{shown} {name}".rstrip()


def against(one: MetricVerdict) -> str:
    """'12.48 ms against 10.00 ms; ', or nothing where one is not known; told to be medians where the change is not."""
    if one.baseline is None or one.candidate is None:
        return ""
    now, before = quantity(one.candidate, one.unit), quantity(one.baseline, one.unit, like=one.candidate)
    return f"{now} against {before}" + (" (medians); over all rounds " if is_estimated(one) else "; ")


def worsening(change: float | None) -> str:
    """A change toward worse in words: 0.248 is '24.8 % worse', -0.031 is '3.1 % better'."""
    return percent.worsening(change) if _is_known(change) else ABSENT


def signed(change: float | None) -> str:
    """The same with a sign, where a heading says that worse is positive: '+24.8 %'."""
    return percent.changed_by(change, sign="+") if _is_known(change) else ABSENT


def share(value: float | None) -> str:
    """A fraction as per cent: 0.052 is '5.2 %'."""
    return f"{_percent(value)} %" if _is_known(value) else ABSENT


def detects(size: float | None) -> str:
    """The smallest worsening that would have shown: '5.2 %', or '> 10x' where per cents would not be read."""
    return percent.changed_by(size) if _is_known(size) else ABSENT


def interval(low: float | None, high: float | None) -> str:
    """The interval of a change in per cent, worse is positive: '[19.2, 30.9]', or '[19.2, > 10x]'."""
    if not _is_known(low) or not _is_known(high):
        return ABSENT
    return f"[{', '.join(percent.changed_by(one).removesuffix(' %') for one in (low, high))}]"


def is_estimated(one: MetricVerdict) -> bool:
    """Whether the change is not what the two values beside it say, by more than these are rounded."""
    if not (one.change and one.baseline and one.candidate) or one.baseline * one.candidate <= 0:
        return False
    if not math.isfinite(one.change) or one.change <= -1:
        return False
    between = math.log(one.candidate / one.baseline) * (1 if one.better is Better.LOWER else -1)
    return not abs(math.log1p(one.change) - between) <= _ROUNDED


def duration(seconds: float) -> str:
    """A duration for people: '12.3 s', '3 min 12 s', '2 h 05 min'."""
    if not 0 <= seconds < _LONGEST_S:
        return ABSENT
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    if round(seconds) < _HOUR:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def count(number: int, noun: str) -> str:
    """'1 round', '12 rounds'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def effort(rounds: int, seconds: float) -> str:
    """'8 rounds, 1 min 2 s'; without a time where none was taken, as of a run that is judged anew."""
    return count(rounds, "round") + (f", {duration(seconds)}" if seconds else "")


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


def _scale(value: float, unit: str) -> tuple[float, str]:
    scales = _SCALES.get(unit, ((1.0, plain(unit)),))
    return next((scale for scale in scales if abs(value) >= scale[0]), scales[-1] if value else scales[0])


def _digits(value: float) -> str:
    """Four significant digits, thousands separated, an exponent only where they would not be read."""
    if math.isinf(value) or value == 0:
        return f"{value:g}"
    if not _PLAIN_FROM <= abs(value) < _PLAIN_TO:
        return f"{value:.3e}"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def _percent(value: float) -> str:
    rounded = round(value * 100, 1) + 0.0  # adding 0.0 turns -0.0 into 0.0
    return f"{rounded:,.1f}" if abs(rounded) < _MOST_PERCENT else f"{rounded:.2g}"
