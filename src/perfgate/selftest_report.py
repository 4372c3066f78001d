"""The self-test's outcome for people: two tables and sentences, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perfgate.report.figures import count, duration, plain, share, signed
from perfgate.selftest import SELFTEST_SCHEMA, UNCHANGED, Expected, MetricTally, Share, Tally

Row = tuple[str, ...]

_RIGHT = {Expected.OK: "ok", Expected.EITHER: "ok or red", Expected.FOUND: "red"}


@dataclass(frozen=True, slots=True)
class Report:
    """What a self-test found: `selftest.json`."""

    suite: str
    device: str
    product: str
    started: str  # UTC, ISO 8601
    cases: tuple[str, ...]
    gates: int  # asked for, of each kind
    tallies: tuple[Tally, ...]
    sentences: tuple[str, ...]
    schema: int = SELFTEST_SCHEMA


def gate_rows(tallies: Sequence[Tally]) -> list[Row]:
    """A row per kind of gate, after a header."""
    header = (
        "planted",
        "gates",
        "red at all",
        "found",
        "called ok",
        "inconclusive",
        "not measured",
        "rounds",
        "a gate takes",
    )
    return [header, *(_gate_row(one) for one in tallies)]


def _gate_row(one: Tally) -> Row:
    is_planted = one.planted != UNCHANGED
    wait = f" (median: {one.more_rounds:g} more)" if one.more_rounds is not None else ""
    found = _counted(one.found) if is_planted else "-"
    head = (one.planted.label, str(one.gates), _counted(one.red), found, _counted(one.ok))
    return (*head, f"{one.inconclusive.count}{wait}", str(one.invalid), f"{one.rounds:.1f}", duration(one.seconds))


def _counted(one: Share) -> str:
    return f"{one.count} ({100 * one.low:.0f} to {100 * one.high:.0f} %)" if one.of else "-"


def metric_rows(tallies: Sequence[Tally]) -> list[Row]:
    """A row per kind of gate and metric that its plant moves, after a header; empty where no gate is done."""
    rows = [_metric_row(one, metric) for one in tallies for metric in one.metrics]
    header = ("planted", "metric", "margin", "detect", "measured", "right is", "red", "ok", "inconclusive", "invalid")
    return [header, *rows] if rows else []


def _metric_row(one: Tally, metric: MetricTally) -> Row:
    counts = map(str, (metric.red, metric.ok, metric.inconclusive, metric.invalid))
    right = "not red" if one.planted == UNCHANGED else _RIGHT[metric.expected]
    limits = (share(metric.margin), share(metric.detect), signed(metric.change))
    return (one.planted.label, metric.metric, *limits, right, *counts)


# ------------------------------------------------------------------ sentences


def sentences(tallies: Sequence[Tally]) -> list[str]:
    """The outcome in words: planted kinds from the largest, then the unchanged gates."""
    planted = [one for one in tallies if one.planted != UNCHANGED and one.gates]
    ordered = sorted(planted, key=lambda one: (one.planted.what, -one.planted.size))
    unchanged = [_unchanged(one) for one in tallies if one.planted == UNCHANGED and one.gates]
    return [*map(_planted, ordered), *unchanged]


def _planted(one: Tally) -> str:
    found = f"{one.planted.label} was found in {one.found.count} of {count(one.gates, 'gate')}"
    called = f"called ok in {one.ok.count}" if one.ok.count else "never called ok"
    return ", ".join([found, called, *_undecided(one)]) + _right(one)


def _undecided(one: Tally) -> list[str]:
    wait = f" (wanting {one.more_rounds:g} more rounds in the median)" if one.more_rounds is not None else ""
    words = [f"undecided in {one.inconclusive.count}{wait}"] if one.inconclusive.count else []
    return words + ([f"not measured in {one.invalid}"] if one.invalid else [])


def _right(one: Tally) -> str:
    """Why a size that was not found may be no miss."""
    expected = {metric.expected for metric in one.metrics}
    if Expected.FOUND in expected or not expected:
        return ""
    if expected == {Expected.OK}:
        return f": it is within the margin of {_named(one.metrics)}, so ok is right"
    return f": less than this suite promises to find ({_promised(one.metrics)}), so ok is allowed"


def _named(metrics: Sequence[MetricTally]) -> str:
    return ", ".join(f"{one.metric} ({share(one.margin)})" for one in metrics)


def _promised(metrics: Sequence[MetricTally]) -> str:
    return ", ".join(f"{one.metric} {share(one.detect)}" for one in metrics)


def _unchanged(one: Tally) -> str:
    blame = ", ".join(f"{metric} ({times})" for metric, times in one.red_metrics.items())
    red = f"{one.red.count}" if one.red.count else "none"
    alarm = f"{red} of {count(one.gates, 'unchanged gate')} was red" + (f" (by {blame})" if blame else "")
    effort = f"a gate took {one.rounds:.1f} rounds and {duration(one.seconds)} on average"
    return ", ".join([alarm, *_undecided(one)]) + f"; {effort}"


# ------------------------------------------------------------------ files


def render_text(report: Report) -> str:
    """Both tables and the sentences, for a terminal."""
    blocks = [_aligned(gate_rows(report.tallies)), _aligned(metric_rows(report.tallies))]
    return "\n\n".join(["\n".join(block) for block in blocks if block] + ["\n".join(report.sentences)]) + "\n"


def _aligned(rows: Sequence[Row]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows]


def render_markdown(report: Report) -> str:
    """The same with where it was measured, as GitHub-flavoured Markdown."""
    where = f"Suite {report.suite} on {report.device} ({plain(report.product)}), begun {report.started}; "
    cases = f"cases: {', '.join(report.cases)}."
    tables = [_piped(gate_rows(report.tallies)), _piped(metric_rows(report.tallies))]
    points = "\n".join(f"- {one}" for one in report.sentences)
    blocks = ["# Self-test of the gate", where + cases, points, *("\n".join(one) for one in tables if one)]
    return "\n\n".join(blocks) + "\n"


def _piped(rows: Sequence[Row]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]] if rows else []
