"""Reports: the files of a judged run, for people, for CI and for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perfgate.claim_findings import Finding
from perfgate.comparison import Comparison
from perfgate.errors import UsageError
from perfgate.record import Run, encode_pretty, pretty_pieces, write_atomic
from perfgate.report import claims, limits
from perfgate.report.behind import NOTHING_BEHIND, Behind
from perfgate.report.benchmark_json import benchmarks
from perfgate.report.claims_csv import render_claims
from perfgate.report.csv import render_csv
from perfgate.report.markdown import render_markdown
from perfgate.report.quality import render_quality
from perfgate.report.text import table

__all__ = ["Behind", "beside", "forget_reports", "table", "write_reports"]

SUMMARY_WIDTH = 120
VERDICTS = ("comparison.json", "comparison.csv", "summary.txt", "summary.md", "report.html", "benchmark.json")


def forget_reports(out: Path) -> None:
    """Remove what tells a verdict of an earlier run before another begins, which may end without one.

    Raises:
        UsageError: it cannot be removed.
    """
    for name in VERDICTS:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as exc:
            raise UsageError(f"{out / name} of an earlier run cannot be removed: {exc.strerror}") from exc


def write_reports(
    run: Run, comparison: Comparison, out: Path, behind: Behind | None = None, found: Sequence[Finding] = ()
) -> list[Path]:
    """Write every report file into `out`, each atomically; returns their paths, the complete record first.

    behind: what report.html draws beside the run, where it is known. found: what became of claims of the field.
    """
    from perfgate.report.html import render_html  # Jinja2 takes longer to import than all of perfgate

    write_atomic(out / "run.json", pretty_pieces(run))
    contents = {
        "comparison.json": encode_pretty(comparison),
        "comparison.csv": _utf8(render_csv(comparison, run)),
        "summary.txt": _utf8(_summary(run, comparison, found, behind or NOTHING_BEHIND)),
        "summary.md": _utf8(render_markdown(comparison, run, found, behind or NOTHING_BEHIND)),
        **({"quality.csv": _utf8(render_quality(comparison))} if comparison.quality else {}),
        **({"claims.csv": _utf8(render_claims(comparison, found))} if claims.is_told(found) else {}),
        "report.html": _utf8(render_html(_prepared_here(run), comparison, behind, found)),
        "benchmark.json": encode_pretty(benchmarks(run, comparison)),
    }
    for name, data in contents.items():
        write_atomic(out / name, data)
    return [out / name for name in ("run.json", *contents)]


def _summary(run: Run, comparison: Comparison, found: Sequence[Finding], behind: Behind) -> str:
    """The table, and what stands beside it."""
    judged = table(comparison, verbose=True, width=SUMMARY_WIDTH, colour=False, behind=behind)
    blocks = (limits.text_block(run, has_ceilings=True), claims.text_block(found))
    return "\n".join([judged, *("\n".join([*block, ""]) for block in blocks if block)])


def beside(run: Run, found: Sequence[Finding], *, verbose: bool) -> list[str]:
    """What a terminal shows after the table of verdicts: every case and check, or a line for all of them."""
    if verbose:
        return [*limits.text_block(run), *claims.text_block(found)]
    return list(filter(None, [limits.one_line(run), claims.one_line(found)]))


def _prepared_here(run: Run) -> Run:
    """Without the engines of imported figures, of whose preparing nothing is known."""
    imported = {case.engine for case in run.cases if case.origin}
    return replace(run, prepared=tuple(one for one in run.prepared if one.engine not in imported))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8")
