"""Distance to the limit: the device's measured limits, and how near each case came, as text and as cells of tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from perfgate.distances import Nearness, Phase, nearness
from perfgate.record import Run
from perfgate.report.figures import ABSENT, plain, share
from perfgate.report.page import shortened
from perfgate.roofline import Bound, Ceilings, Rate

TITLE = "Distance to the limit"
ABOUT = (
    "MBU: weights and KV cache that a decode step reads, over its time (by the clock of the client where no note says "
    "the device's own) and the copy bandwidth of this device. MFU: "
    "FLOPs of a prompt, over the time to its first token and the matrix rate. 'x least': times as long as the device "
    "needs at its limits; below half of either limit most of the time goes to overhead."
)
HEADER = ("case", "MBU decode", "decode goes to", "x least", "MFU prefill", "prefill goes to", "x least")
_LONGEST_CASE = 40
WORDS = {Bound.MEMORY: "memory", Bound.COMPUTE: "compute", Bound.NEITHER: "overhead"}


@dataclass(frozen=True, slots=True)
class Told:
    """The section of a run: what the device reaches, rows as HEADER names them, and what to know before reading them.

    notes: a sentence with the cases that it is about.
    """

    ceilings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def told(run: Run) -> Told | None:
    """The section; None where the run knows no limits or no case has a demand."""
    found = nearness(run, run.limits) if run.limits else []
    if run.limits is None or not found:
        return None
    return Told(tuple(ceiling_lines(run.limits.ceilings)), tuple(map(_row, found)), tuple(_notes(found)))


def ceiling_lines(ceilings: Ceilings) -> Iterator[str]:
    """What the device reaches, one figure a line, and what of it is not known."""
    made = ", ".join(f"{name} {version}" for name, version in sorted(ceilings.made_with.items()))
    yield plain(f"{ceilings.device} ({ceilings.product}), measured {ceilings.measured} with {made}")
    yield f"copies: {_rate(ceilings.copy_bytes_per_s, 1e9, 'GB/s')}, bytes read and written"
    for name, rate in ceilings.matrix_flops.items():
        yield plain(f"{name} matrices: {_rate(rate, 1e12, 'TFLOP/s')}")
    if ceilings.cache_bytes is not None:
        yield f"last-level cache: {ceilings.cache_bytes / 1e6:.1f} MB"
    if ceilings.doubt:
        yield f"too low? {ceilings.doubt}: measure again with --fresh when nothing else runs"
    for name, why in ceilings.untold.items():
        yield plain(f"{name}: not measured: {why}")


def _rate(rate: Rate, scale: float, unit: str) -> str:
    low, high = (f"{one / scale:.4g}" for one in (rate.low, rate.high))
    return f"{rate.median / scale:.4g} {unit} ({low} to {high} in {rate.repeats} timings)"


def text_block(run: Run, *, has_ceilings: bool = False) -> list[str]:
    """The section as lines of aligned columns; none where there is nothing to tell."""
    found = told(run)
    if found is None:
        return []
    rows = [HEADER, *((shortened(row[0], _LONGEST_CASE), *row[1:]) for row in found.rows)]
    ceilings = [f"  {line}" for line in found.ceilings] if has_ceilings else []
    return [TITLE.lower() + ":", *ceilings, *aligned(rows, of_text=(0,)), *(f"  {note}" for note in found.notes)]


def one_line(run: Run) -> str:
    """The whole section in a line; empty where there is nothing to tell."""
    found = nearness(run, run.limits) if run.limits else []
    parts = [
        _span([one.decode.share for one in found], "decode {} of the copy bandwidth"),
        _span([one.prefill.share for one in found], "prefill {} of the matrix rate"),
    ]
    said = ", ".join(filter(None, parts))
    return f"{TITLE.lower()}: {said} (summary.txt has each case)" if said else ""


def _span(values: Iterable[float | None], words: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = share(min(known)), share(max(known))
    return words.format(low if low == high else f"{low} to {high}")


def _row(one: Nearness) -> tuple[str, ...]:
    return (plain(one.case), *_cells(one.decode), *_cells(one.prefill))


def _cells(phase: Phase) -> Iterator[str]:
    shown = share(phase.share)
    yield f">= {shown}" if phase.is_least and phase.share is not None else shown
    yield WORDS[phase.bound] if phase.bound else ABSENT
    yield f"{phase.distance.times:.3g}" if phase.distance else ABSENT


def _notes(found: Sequence[Nearness]) -> Iterator[str]:
    phases = (
        (one.case, name, phase) for one in found for name, phase in (("decode", one.decode), ("prefill", one.prefill))
    )
    yield from gathered((f"{name}: {note}", case) for case, name, phase in phases for note in phase.notes)


def gathered(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each of (sentence, whom it is about) once, with all those that it is about."""
    said: dict[str, list[str]] = {}
    for sentence, about in notes:
        said.setdefault(plain(sentence), []).append(plain(about))
    for sentence, names in said.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""  # noqa: PLR2004 - enough to see which
        yield f"{sentence} ({', '.join(names[:3])}{more})"


def aligned(rows: Sequence[Sequence[str]], of_text: Sequence[int]) -> Iterator[str]:
    """Rows as lines of columns; those of text begin at the left, numbers end at the right."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        sized = enumerate(zip(row, sizes, strict=True))
        cells = [cell.ljust(size) if number in of_text else cell.rjust(size) for number, (cell, size) in sized]
        yield f"  {'  '.join(cells)}".rstrip()
