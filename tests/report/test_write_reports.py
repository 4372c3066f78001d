from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from examples import case, comparison, hostile, run, verdict

from perfgate.comparison import COMPARISON_SCHEMA, Comparison
from perfgate.record import RUN_SCHEMA, Run, read_record
from perfgate.report import table, write_reports

NAMES = [
    "run.json",
    "comparison.json",
    "comparison.csv",
    "summary.txt",
    "summary.md",
    "report.html",
    "benchmark.json",
]


def test_every_file_is_written_and_returned(tmp_path: Path) -> None:
    made = comparison()

    paths = write_reports(run(made), made, tmp_path / "new" / "out")

    assert [path.name for path in paths] == NAMES
    assert all(path.stat().st_size > 100 for path in paths)
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(NAMES)


def test_the_records_are_read_back_equal(tmp_path: Path) -> None:
    made = comparison()

    write_reports(run(made), made, tmp_path)

    assert read_record(tmp_path / "run.json", Run, RUN_SCHEMA) == run(made)
    assert read_record(tmp_path / "comparison.json", Comparison, COMPARISON_SCHEMA) == made


def test_earlier_files_are_replaced(tmp_path: Path) -> None:
    write_reports(run(comparison()), comparison(), tmp_path)
    fine = comparison(case("fp32-chat", verdict("fp32-chat", "ttft_p50")))

    write_reports(run(fine), fine, tmp_path)

    assert "REGRESSED" not in (tmp_path / "summary.txt").read_text()
    assert "REGRESSED: " not in (tmp_path / "report.html").read_text()


def test_the_written_summary_has_every_metric(tmp_path: Path) -> None:
    made = comparison()

    write_reports(run(made), made, tmp_path)

    assert (tmp_path / "summary.txt").read_text() == table(made, verbose=True, width=120, colour=False)


def test_reports_come_without_jinja_until_html_is_written() -> None:
    code = "import sys, perfgate.report; sys.exit('jinja2' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], check=False)

    assert done.returncode == 0


def test_no_file_of_a_run_full_of_markup_holds_any(tmp_path: Path) -> None:
    """Names and lines of logs with markup and control sequences, through all reports at once."""
    paths = write_reports(*hostile(), tmp_path)

    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    assert [name for name, text in texts.items() if "\x1b" in text] == []
    assert [name for name, text in texts.items() if "\u202e" in text and not name.endswith(".json")] == []
    assert not any("<script>alert" in texts[name] or "<img" in texts[name] for name in ("report.html", "summary.md"))
