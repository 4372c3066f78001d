"""The files of a comparison of backends: of result folders, and of a run whose suite asks for one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from perfgate.errors import UsageError
from perfgate.record import Run, write_atomic
from perfgate.report.versus_png import comparison_png
from perfgate.report.versus_text import summary
from perfgate.suite import Suite
from perfgate.versus import Versus, compare_sides
from perfgate.versus_files import read_sides
from perfgate.versus_run import result_files, sides_of

RESULTS = "results"


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


def write_backends(run: Run, suite: Suite, out: Path, tell: Callable[[str], None]) -> tuple[Versus | None, list[Path]]:
    """Leave a run's load results in results/ENGINE/round_K/, and compare them where the suite names a reference.

    Returns the comparison, None where there is nothing to compare (that is told), and the paths of its files.
    """
    if suite.reference is None:
        return None, []
    for engine in {case.engine.name for case in suite.compared}:
        shutil.rmtree(out / RESULTS / engine, ignore_errors=True)  # rounds of an earlier run
    files = result_files(run, suite)
    for path, data in files.items():
        write_atomic(out / RESULTS / path, data)
    sides = sides_of(suite, [path.parts[0] for path in files])
    if not sides:
        tell(f"no comparison of backends: it needs results of '{suite.reference}' and of another engine")
        return None, []
    versus = _compared(sides, out)
    return versus, write_versus(versus, out, tell)


def read_backends(run: Run, suite: Suite, out: Path) -> Versus | None:
    """The comparison of a run whose load results were left in `out` before; None where there is none."""
    sides = sides_of(suite, [path.parts[0] for path in result_files(run, suite)]) if suite.reference else []
    return _compared(sides, out) if sides else None


def _compared(sides: Iterable[str], out: Path) -> Versus:
    return compare_sides(read_sides({name: out / RESULTS / name for name in sides}))
