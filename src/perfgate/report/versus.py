"""The files of a comparison of backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perfgate.errors import UsageError
from perfgate.record import write_atomic
from perfgate.report.versus_png import comparison_png
from perfgate.report.versus_text import summary
from perfgate.versus import Versus


def write_versus(versus: Versus, out: Path, tell: Callable[[str], None]) -> list[Path]:
    """Write benchmark_summary.txt and benchmark_comparison.png into `out`; returns the paths written.

    Without matplotlib there is no picture: that is told, the text is written all the same.
    """
    paths = [out / "benchmark_summary.txt", out / "benchmark_comparison.png"]
    write_atomic(paths[0], summary(versus).encode())
    try:
        write_atomic(paths[1], comparison_png(versus))
    except UsageError as exc:
        paths[1].unlink(missing_ok=True)  # one of an earlier comparison would belong to other figures
        tell(str(exc))
        return paths[:1]
    return paths
