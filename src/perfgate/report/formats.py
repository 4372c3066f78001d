"""Further files of a judged run, for who asks: other tools' formats and a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import assert_never

from perfgate.comparison import Comparison
from perfgate.errors import UsageError
from perfgate.metrics import Better
from perfgate.record import Run, write_atomic
from perfgate.report.junit import render_junit
from perfgate.report.trackers import bencher, github_benchmark


class Format(StrEnum):
    """What `--format` takes."""

    JUNIT = "junit"
    PNG = "png"
    GITHUB_BENCHMARK = "github-action-benchmark"
    BENCHER = "bencher"


def parse_formats(where: str, text: str | None) -> tuple[Format, ...]:
    """Formats of 'png,bencher'; each once, none of nothing.

    Raises:
        UsageError: with `where` it stands, what was found and what is allowed; or a package is not installed.
    """
    wanted = [name.strip() for name in (text or "").split(",") if name.strip()]
    if wrong := [name for name in wanted if name not in set(Format)]:
        raise UsageError(f"{where}: found '{', '.join(wrong)}', allowed: {', '.join(Format)}")
    if Format.PNG in wanted and find_spec("matplotlib") is None:
        raise UsageError(f"{where}: png needs matplotlib: pip install 'pytest-perfgate[figures]'")
    return tuple(dict.fromkeys(map(Format, wanted)))


def write_formats(
    wanted: Iterable[Format], run: Run, comparison: Comparison, out: Path, failed_claims: Sequence[str] = ()
) -> list[Path]:
    """Write each format's files into `out`, atomically; returns their paths.

    failed_claims: a line for each claim of the field that fails the gate.
    """
    files: dict[str, bytes] = {}
    for one in wanted:
        files |= _files(one, run, comparison, failed_claims)
    for name, data in files.items():
        write_atomic(out / name, data)
    return [out / name for name in files]


def _files(one: Format, run: Run, comparison: Comparison, failed_claims: Sequence[str]) -> Mapping[str, bytes]:
    match one:
        case Format.JUNIT:
            return {"comparison-junit.xml": render_junit(comparison, failed_claims)}
        case Format.PNG:
            from perfgate.report.comparison_png import comparison_png

            return {"comparison.png": comparison_png(comparison)}
        case Format.GITHUB_BENCHMARK:
            return {
                f"github-benchmark-{name}.json": github_benchmark(run, comparison, better)
                for name, better in (("smaller", Better.LOWER), ("bigger", Better.HIGHER))
            }
        case Format.BENCHER:
            return {"bencher.json": bencher(run, comparison)}
        case _:
            assert_never(one)
