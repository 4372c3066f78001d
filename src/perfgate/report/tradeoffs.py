"""The files of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfgate.errors import UsageError
from perfgate.record import encode_pretty, write_atomic
from perfgate.report.tradeoff_csv import field_csv, rich_csv
from perfgate.report.tradeoff_html import render_tradeoffs
from perfgate.report.tradeoff_png import tradeoffs_png
from perfgate.report.tradeoff_text import text
from perfgate.sweep import Sweep
from perfgate.tradeoffs import Tradeoffs


def write_tradeoffs(found: Tradeoffs, sweep: Sweep, out: Path, tell: Callable[[str], None]) -> list[Path]:
    """Write everything into `out`; returns the paths. Without matplotlib there is no picture, and that is told."""
    files = {
        "trtllm_tradeoffs.csv": field_csv(found, sweep).encode(),
        "tradeoffs.csv": rich_csv(found).encode(),
        "tradeoffs.json": encode_pretty(found),
        "tradeoffs.txt": text(found).encode(),
        "tradeoffs.html": render_tradeoffs(found).encode(),
    }
    for name, data in files.items():
        write_atomic(out / name, data)
    picture = out / "tradeoffs.png"
    picture.unlink(missing_ok=True)  # one of an earlier sweep would belong to other figures
    paths = [out / name for name in files]
    if found.options:
        try:
            write_atomic(picture, tradeoffs_png(found))
            paths.append(picture)
        except UsageError as exc:
            tell(str(exc))
    return paths
