"""benchmark_summary.txt: what was compared, a table for each concurrency, what was left out, and a line a metric."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from perfgate.metrics import Metric
from perfgate.report.figures import ABSENT, plain
from perfgate.report.versus_words import (
    amount,
    bounds,
    cautions,
    conclusion,
    explained,
    in_words,
    left_out,
    own,
    phrased,
    ratio_digits,
    shared,
    title,
    unit,
)
from perfgate.versus import COMPARED, Side, Versus, geometric_mean

WIDTH = 120


def summary(versus: Versus) -> str:
    """The whole text; every line but a table's is wrapped at 120 columns."""
    blocks = [_header(versus), *(_table(versus, level) for level in versus.concurrencies)]
    blocks += [_listed("Left out", left_out(versus)), _conclusions(versus)]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _header(versus: Versus) -> list[str]:
    reference = versus.reference
    names = ", ".join(side.name for side in versus.sides[1:])
    lines = [f"{names} against {reference.name} (the reference): ratios are {names} / {reference.name}"]
    if len(versus.sides) > 2:  # noqa: PLR2004 - more than one beside the reference
        lines = [f"{names}, each against {reference.name} (the reference): ratios are SIDE / {reference.name}"]
    lines += _wrapped(f"  alike: {phrased(shared(versus))}")
    lines += [line for side in versus.sides for line in _wrapped(f"  {side.name}: {own(versus, side)}")]
    lines += _wrapped(explained())
    return lines + [line for note in cautions(versus) for line in _wrapped(f"note: {note}")]


def _wrapped(text: str) -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.wrap(plain(text).lstrip(), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")


def _table(versus: Versus, level: int) -> list[str]:
    """Rows of metrics: a figure for each side, then for each other side its ratio, interval and words."""
    others = versus.sides[1:]
    head = ["", *(side.name for side in versus.sides)]
    for side in others:
        head += [f"{side.name} / {versus.reference.name}" if len(others) > 1 else "ratio", "interval", "in words"]
    rows = [head, *(_row(versus, metric, level) for metric in COMPARED)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rounds = ", ".join(f"{side.name} {_rounds(side, level)}" for side in versus.sides)
    return [f"concurrency {level}: {rounds}", *(_line(row, widths) for row in rows)]


def _rounds(side: Side, level: int) -> str:
    """'3 rounds', '2 of 3 rounds valid', 'not measured'."""
    found = side.at(level)
    valid = sum(not one.invalid for one in found)
    if not found:
        return "not measured"
    word = "round" if len(found) == 1 else "rounds"
    return f"{valid} {word}" if valid == len(found) else f"{valid} of {len(found)} {word} valid"


def _row(versus: Versus, metric: Metric, level: int) -> list[str]:
    out = [f"{title(metric)}, {unit(metric)}" if unit(metric) == "ms" else title(metric)]
    out += [_figure(side, metric, level) for side in versus.sides]
    for side in versus.sides[1:]:
        found = versus.cell(metric.name, level, side.name).ratio
        out += [ratio_digits(found.value), bounds(found), in_words(metric, found.value)] if found else [ABSENT] * 3
    return out


def _figure(side: Side, metric: Metric, level: int) -> str:
    values = side.values(metric.name, level)
    if values:
        return amount(metric, geometric_mean(values))
    found = side.at(level)
    return "invalid" if found and all(one.invalid for one in found) else ABSENT


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "  ".join([f"  {first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in rest)]).rstrip()


def _listed(heading: str, lines: Iterator[str]) -> list[str]:
    found = [line for text in lines for line in _wrapped(f"  {text}")]
    return [f"{heading}:", *found] if found else []


def _conclusions(versus: Versus) -> list[str]:
    lines = (conclusion(versus, metric, side.name) for side in versus.sides[1:] for metric in COMPARED)
    return _listed("Conclusions, by concurrency", lines)
