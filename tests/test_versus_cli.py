from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfgate.errors import UsageError
from perfgate.versus_cli import parse_sides
from versus_examples import bench, write_side


def versus(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perfgate.cli", "versus", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_folders_become_a_summary(tmp_path: Path) -> None:
    slow = write_side(tmp_path / "slow", [{16: bench(16)}, {16: bench(16, 1.02)}])
    fast = write_side(tmp_path / "fast", [{16: bench(16, 0.5)}, {16: bench(16, 0.51)}])

    done = versus(f"torch={slow}", f"fast={fast}", "--out", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert "fast against torch (the reference)" in done.stdout
    assert (tmp_path / "out" / "benchmark_summary.txt").read_text() in done.stdout


def test_an_invalid_run_makes_the_exit_code_1(tmp_path: Path) -> None:
    good = write_side(tmp_path / "good", [{16: bench(16), 64: bench(64)}])
    bad = write_side(tmp_path / "bad", [{16: bench(16), 64: bench(64, failed=5)}])

    done = versus(f"a={good}", f"b={bad}", "--out", tmp_path / "out")

    assert done.returncode == 1
    assert "invalid: b, round 1, concurrency 64: 5 requests failed" in done.stdout


def test_a_missing_folder_is_one_line_and_exit_code_4(tmp_path: Path) -> None:
    done = versus(f"a={tmp_path / 'nowhere'}", f"b={tmp_path}", "--out", tmp_path / "out")

    assert done.returncode == 4
    assert done.stderr.startswith("perfgate: a: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a"], "found 'a', expected NAME=FOLDER"),
        (["=x", "b=y"], "found '=x', expected NAME=FOLDER"),
        (["a=", "b=y"], "found 'a=', expected NAME=FOLDER"),
        (["a=x", "a=y"], "the name 'a' is given twice"),
        (["a=x"], "expected two backends or more"),
        ([f"{'a' * 41}=x", "b=y"], "NAME: up to 40 letters"),
    ],
)
def test_words_that_name_no_sides_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_sides(words)


def test_a_folder_may_have_an_equals_sign() -> None:
    assert parse_sides(["a=x=1", "b=y"]) == {"a": Path("x=1"), "b": Path("y")}
