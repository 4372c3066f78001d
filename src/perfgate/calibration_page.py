"""A calibration on a terminal, as Markdown, and as a block for the suite file."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from perfgate.calibration import LOSS, Calibration, Outcome
from perfgate.calibration_levers import lever_section
from perfgate.calibration_words import (
    MOST_DETECT,
    Section,
    choice_sentences,
    detection_section,
    machine_sentences,
    noise_section,
    sample_sentences,
    shape_sentences,
)
from perfgate.needs import MARGIN_SHARE, Noisy, detectable
from perfgate.percent import percent
from perfgate.pinning import parse_cpus
from perfgate.record import write_atomic
from perfgate.spread import Spread
from perfgate.terms import Gate

_GAP = "  "


def text(found: Calibration, gate: Gate, width: int) -> str:
    """For a terminal of `width` columns: tables are never wrapped, sentences are."""
    parts = [line for section in _sections(found, gate) for line in _plain(section, width)]
    return "\n".join([*parts, "For the suite file:", "", suite_block(found, gate)])


def _sections(found: Calibration, gate: Gate) -> list[Section]:
    """All that is told, in order; those without contents are left out."""
    every = [
        noise_section(found),
        detection_section(found, gate),
        Section("Which summary of a round is least noisy", sentences=tuple(choice_sentences(found))),
        Section("Samples in a round", sentences=tuple(sample_sentences(found))),
        Section("Shape of the noise", sentences=tuple(shape_sentences(found))),
        lever_section(found, gate),
        Section("The machine", sentences=tuple(machine_sentences(found))),
    ]
    return [one for one in every if one.table or one.sentences]


def _plain(section: Section, width: int) -> Iterator[str]:
    yield section.title
    yield from (f"{_GAP}{line}" for line in _columns(section.table))
    for sentence in section.sentences:
        yield from textwrap.wrap(
            sentence, max(width, 40), initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
        )
    yield ""


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()


def markdown(found: Calibration, gate: Gate) -> str:
    """The same as a Markdown page."""
    lines = [f"# Calibration of {found.suite} on {found.environment.device}", "", f"Made {found.started}.", ""]
    for section in _sections(found, gate):
        lines += [f"## {section.title}", ""]
        if section.table:
            head, *rows = (f"| {' | '.join(row)} |" for row in section.table)
            lines += [head, f"|{' --- |' * len(section.table[0])}", *rows, ""]
        if section.sentences:
            lines += [*(f"- {sentence}" for sentence in section.sentences), ""]
    return "\n".join([*lines, "## For the suite file", "", "```yaml", suite_block(found, gate), "```", ""])


def write_markdown(found: Calibration, gate: Gate, out: Path) -> Path:
    """Write `calibration.md`."""
    path = out / "calibration.md"
    write_atomic(path, markdown(found, gate).encode())
    return path


def suite_block(found: Calibration, gate: Gate) -> str:
    """`gate.noise`, limits that the suite's most rounds can keep, and cores, as YAML.

    noise: root mean square over the gated metrics, so that the noisier count more: noise that is
    assumed too small costs false alarms. detect: what `most_rounds` pairs find in a metric's noisiest
    case, were its noise at the upper end of what the calibration allows.
    """
    lines = ["gate:", "  noise:", *_noise_lines(found), "  metrics:"]
    worst: dict[str, Spread] = {}
    for one in found.gated:
        if one.pairs and (one.metric not in worst or one.pairs.high > worst[one.metric].high):
            worst[one.metric] = one.pairs
    finds = detectable([Noisy(one.high, one.df) for one in worst.values()], gate.most_rounds, gate, found.tests)
    lines += [_limit_line(name, size, gate) for name, size in zip(worst, finds, strict=True)]
    return "\n".join([*lines, *_cpu_lines(found)])


def _noise_lines(found: Calibration) -> Iterator[str]:
    for name, spreads in (
        ("round_sd", [one.rounds for one in found.gated]),
        ("session_sd", [one.sessions for one in found.gated]),
        ("pair_sd", [one.pairs for one in found.gated]),
    ):
        known = [one.sd for one in spreads if one is not None]
        if known:
            # Above zero: a metric that did not vary at all in few rounds may yet.
            size = max(math.sqrt(sum(sd**2 for sd in known) / len(known)), 0.001)
            yield f"    {name}: {_yaml_share(size)}"
        else:
            yield f"    # {name}: not known from one session; keep yours"


def _limit_line(name: str, size: float | None, gate: Gate) -> str:
    if size is None or size > MOST_DETECT:
        found = f"{gate.most_rounds} pairs find no change of it up to {percent(MOST_DETECT, 0)}"
        return f"    # {name}: {found}; do not gate it here"
    margin = min(gate.metric(name).margin, MARGIN_SHARE * size)
    return f"    {name}: {{margin: {_yaml_share(margin)}, detect: {_yaml_share(size)}}}"


def _yaml_share(share: float) -> str:
    """Rounded up to two digits that count: '4.1%', '0.35%'."""
    if share <= 0:
        return "0%"
    digits = 1 - math.floor(math.log10(share * 100))
    return f"{math.ceil(round(share * 100 * 10**digits, 6)) / 10**digits:.10g}%"


def _cpu_lines(found: Calibration) -> Iterator[str]:
    """The cores of the lever 'pin', where it helped some metric and harmed none, neither noise nor level."""
    for lever in found.levers:
        outcomes = {lever.outcome(metric) for metric in lever.pooled or {}}
        cpus = parse_cpus(lever.what.rpartition(" ")[2])
        harmed = Outcome.WORSE in outcomes or lever.loss > LOSS
        if lever.name == "pin" and cpus and Outcome.HELPED in outcomes and not harmed:
            yield f"  cpus: [{', '.join(map(str, cpus))}]"
