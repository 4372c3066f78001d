"""The quality of every engine that scored a text: perplexity, its loss against a reference, and whether it may be."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import fields

from perfgate.comparison import Comparison
from perfgate.metrics import Unit
from perfgate.quality import QualityLine, Standing
from perfgate.report.csv import cell
from perfgate.report.figures import ABSENT, count, interval, plain, quantity, share, signed
from perfgate.report.page import Page, shortened

HEADER = (
    "text", "perplexity", "bits/byte", "against", "loss", "99 % interval", "allowed", "top-1", "KL >=", "verdict",
)  # fmt: skip
COLUMNS = ("suite", "device", *(field.name for field in fields(QualityLine)))
_TEXT = ("text", "against", "verdict")  # aligned left
_WORDS = {Standing.EXCEEDED: "EXCEEDED", Standing.REGRESSED: "REGRESSED", Standing.BROKEN: "BROKEN"}

# From the fullest to the leanest.
_LAYOUTS = (
    HEADER,
    tuple(name for name in HEADER if name != "against"),
    ("text", "perplexity", "loss", "99 % interval", "allowed", "verdict"),
    ("text", "loss", "allowed", "verdict"),
    ("text", "verdict"),
)


def cells(line: QualityLine) -> tuple[str, ...]:
    """One line as text, in the order of `HEADER`."""
    return (
        plain(line.case),
        quantity(line.perplexity, Unit.RATIO),
        quantity(line.bits_per_byte, Unit.BITS_PER_BYTE, brief=True),
        plain(line.reference or ABSENT),
        signed(line.loss),
        interval(line.low, line.high),
        share(line.allowed),
        share(line.top1_agreement),
        quantity(line.kl, Unit.NATS_PER_TOKEN, brief=True),
        _WORDS.get(line.standing, str(line.standing)),
    )


def remarks(lines: Sequence[QualityLine]) -> list[str]:
    """What would decide, and why figures are missing, each reason once."""
    found: dict[str, list[str]] = {}
    for one in lines:
        for why in filter(None, (_more(one), one.unlike and f"no top-1 agreement or KL: {one.unlike}")):
            found.setdefault(plain(why), []).append(plain(one.case))
    return [f"{', '.join(cases)}: {why}" for why, cases in found.items()]


def _more(line: QualityLine) -> str:
    if line.standing is not Standing.INCONCLUSIVE or line.loss is None:
        return ""
    if line.more_documents is None:
        return "the loss is too close to the allowed one for any sensible number of documents to decide"
    return f"about {count(line.more_documents, 'more document')} would decide"


def quality_table(lines: Sequence[QualityLine], page: Page) -> Iterator[str]:
    """A heading, one line per text and remarks; nothing where no suite named a reference and nothing broke."""
    if not any(one.reference or one.standing is Standing.BROKEN for one in lines):
        return
    rows = [dict(zip(HEADER, cells(one), strict=True)) for one in lines]
    sizes = {name: max(len(name), *(len(row[name]) for row in rows)) for name in HEADER}
    layout = next((one for one in _LAYOUTS if _total(one, sizes) <= page.width), _LAYOUTS[-1])
    widths = {name: sizes[name] for name in layout}
    widths["text"] = max(4, widths["text"] - max(0, _total(layout, sizes) - page.width))
    yield _line([_aligned(name, name, size) for name, size in widths.items()])
    for line, row in zip(lines, rows, strict=True):
        shown = {name: _aligned(name, shortened(row[name], size), size) for name, size in widths.items()}
        yield _line([page.painted(one, line.tone) if name == "verdict" else one for name, one in shown.items()])
    for remark in remarks(lines):
        yield from page.wrapped(remark, " ", "  ")


def _total(layout: Sequence[str], sizes: dict[str, int]) -> int:
    return sum(sizes[name] for name in layout) + 2 * len(layout) - 1


def _aligned(name: str, text: str, size: int) -> str:
    return text.ljust(size) if name in _TEXT else text.rjust(size)


def _line(columns: Sequence[str]) -> str:
    return f" {'  '.join(columns)}".rstrip()


def render_quality(comparison: Comparison) -> str:
    """quality.csv: one row per text and engine, fractions as they are (0.05 is 5 %), an empty cell where not known."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in comparison.quality:
        told = [getattr(one, name) for name in COLUMNS[2:]]
        writer.writerow([_cell(value) for value in (comparison.suite, comparison.environment.device, *told)])
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else cell(str(value))
