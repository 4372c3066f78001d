"""Writers of reports killed at random moments: every file is whole, an old one or a new one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

from examples import comparison, run

from killing import fork_and_kill, half_written
from perfgate.record import RUN_SCHEMA, Run, read_record
from perfgate.report import write_reports

KILLS = 25
LONGEST_S = 0.1  # all files take about so long


def test_reports_are_whole_files(tmp_path: Path) -> None:
    seed = time.time_ns() % 10**9
    print(f"seed {seed}")  # noqa: T201 - pytest shows it where the test fails
    rng = random.Random(seed)  # noqa: S311 - moments to kill at
    made = comparison()
    judged = run(made)
    write_reports(judged, made, tmp_path / "out")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    for _ in range(KILLS):

        def work(say: Callable[[int], None]) -> None:
            for number in range(10**6):
                say(number)
                write_reports(judged, made, tmp_path / "out")

        fork_and_kill(work, rng.uniform(0, LONGEST_S))

        assert read_record(tmp_path / "out" / "run.json", Run, RUN_SCHEMA) == judged
        found = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.name in whole}
        assert {name: len(data) for name, data in found.items()} == {name: len(data) for name, data in whole.items()}

    write_reports(judged, made, tmp_path / "out")
    assert half_written(tmp_path) == []
