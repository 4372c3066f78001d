"""What levers did to the noise, in words: helped or not, and the bill before and after."""

from __future__ import annotations

from collections.abc import Iterator

from perfgate.calibration import LOSS, Calibration, LeverCase, LeverFigures, Outcome
from perfgate.calibration_words import Section, briefly, pairs_text
from perfgate.needs import Noisy, pairs_needed
from perfgate.percent import percent
from perfgate.report.figures import duration
from perfgate.terms import Gate


def lever_section(found: Calibration, gate: Gate) -> Section:
    head = ("lever", "metric", "pair spread", "outcome", "pairs to find", "time an engine", "level")
    rows = [row for lever in found.levers for row in _lever_rows(lever, found, gate)]
    return Section("What lowers the noise", (head, *rows) if rows else (), tuple(_lever_words(found)))


def _lever_rows(lever: LeverFigures, found: Calibration, gate: Gate) -> Iterator[tuple[str, ...]]:
    """One row per metric, its noisiest case: spreads, and the bill before and after."""
    for metric in lever.pooled or {}:
        one = max((case for case in lever.cases if case.metric == metric), key=lambda case: case.unchanged.sd)
        detect = gate.metric(metric).detect
        noises = [Noisy(spread.sd, spread.df) for spread in (one.unchanged, one.changed)]
        before, after = pairs_needed([(noise, detect) for noise in noises], gate, found.tests)
        seconds = (
            duration(pairs * each) if pairs else "-"
            for pairs, each in ((before, lever.unchanged_pair_s), (after, lever.pair_s))
        )
        yield (
            lever.name, f"{metric} ({one.case})", f"{briefly(one.unchanged.sd)} -> {briefly(one.changed.sd)}",
            lever.outcome(metric), f"{briefly(detect)}: {pairs_text(before)} -> {pairs_text(after)}",
            " -> ".join(seconds), _level_words(one),
        )  # fmt: skip


def _price(lever: LeverFigures) -> str:
    """A word of warning where a lever makes the figures themselves worse."""
    if lever.loss <= LOSS:
        return ""
    other = "another operating point, not the same one measured better"
    return f" But it makes figures worse by up to {percent(lever.loss, 0)}: {other}."


def _level_words(one: LeverCase) -> str:
    """What a lever did to the figure itself: noise apart, another level needs another baseline."""
    worse_by = one.level_change
    if not one.is_level_clear:
        return "no clear change"
    return f"{percent(worse_by, 0)} worse" if worse_by > 0 else f"{percent(-worse_by, 0)} better"


def _lever_words(found: Calibration) -> Iterator[str]:
    for lever in found.levers:
        if lever.skipped:
            yield f"{lever.name}: not tried: {lever.skipped}."
            continue
        outcomes = {metric: lever.outcome(metric) for metric in lever.pooled or {}}
        told = "; ".join(
            f"{outcome} for {', '.join(names)}"
            for outcome in Outcome
            if (names := [metric for metric, mine in outcomes.items() if mine is outcome])
        )
        yield f"{lever.name} ({lever.what}): {told or 'no noise to compare'}.{_price(lever)}"
    if any(Outcome.NONE in map(lever.outcome, lever.pooled or {}) for lever in found.levers):
        ratio = max(one.high / one.value for lever in found.levers for one in (lever.pooled or {}).values()) ** 0.5
        yield (
            f"'{Outcome.NONE}' says little here: with these pairs a lever must change the spread"
            f" {ratio:.1f}-fold to be seen; more --rounds show smaller effects."
        )
