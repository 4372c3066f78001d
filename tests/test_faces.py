"""What people read stays readable on whatever they read it: narrow encodings, logs, terminals."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "report"))

from examples import comparison

import perfgate.gate  # noqa: F401 - pytester forgets what a test imports first, and numpy comes only once a process
from conftest import Project
from perfgate.cli import main
from perfgate.pytest_session import print_closing

PERFGATE = (sys.executable, "-c", "import sys; from perfgate.cli import main; sys.exit(main())")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_narrow_encoding_spells_what_it_lacks_and_ends_as_any_other(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    small_project("  two: {engine_args: {refuse: no kernel \N{BALLOT X}}}")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)

    plan = pytester.run(*PERFGATE, "plan", "--suite", "suite.yaml")

    assert plan.ret == 0
    plan.stdout.fnmatch_lines(["*two-b1 *skip: no kernel \\u2717"])


def test_the_closing_table_is_told_line_by_line() -> None:
    """pytest spells a whole text anew, its line breaks too, where the stream lacks one letter of it."""
    told: list[str] = []
    config = SimpleNamespace(
        get_terminal_writer=lambda: SimpleNamespace(hasmarkup=False),
        invocation_params=SimpleNamespace(dir=Path("/here")),
    )
    reporter: Any = SimpleNamespace(config=config, verbosity=0, write_line=told.append)

    print_closing(comparison(), [Path("run.json")], Path("/here/perfgate-out"), reporter)

    assert [line for line in told if "\n" in line] == []
    assert told[-2:] == ["", "reports: perfgate-out/ (run.json)"]
    assert "measured 4 of 6 cases, 1 invalid, 1 skipped; 24 rounds, 1 invalid, 3 min 12 s" in told


def test_a_gate_that_its_budget_ended_says_so_in_its_comparison(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytester.path)
    small_project()

    main(["run", "--suite", "suite.yaml", "--budget", "0.1s"])

    assert json.loads(Path("perfgate-out/comparison.json").read_bytes())["out_of_time_s"] == 0.1
