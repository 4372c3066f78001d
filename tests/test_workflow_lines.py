"""Text of engines and files begins no command of GitHub's runner; our own annotations are commands."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import perfgate.accepting  # noqa: F401 - with numpy, which cannot be imported anew after pytester
from conftest import Project
from perfgate.cli import main
from perfgate.errors import PerfgateError, SuiteError
from perfgate.workflow_lines import Command, Inert, InertStream, inert_streams

SAMPLE = Path(__file__).parent / "samples" / "485cca3"
HOSTILE = "::stop-commands::pwn ##[error]x"
PIECES = st.sampled_from(["::", "::error::x", "##[", "a", " ", "\t", "\r", "\n", "\u034f", "\u00a0", ":"])


def obeyed(line: str) -> bool:
    """Whether the runner looks for a command: after blanks and what a culture's comparison looks past, or anywhere."""
    return line.lstrip(" \t\u00a0\u034f").startswith("::") or "##[" in line


def _lines(text: str) -> list[str]:
    return text.replace("\r", "\n").split("\n")


@settings(max_examples=50)
@given(st.lists(PIECES, max_size=8).map("".join))
def test_no_text_begins_a_command(text: str) -> None:
    shown = Inert()(text)

    assert not any(map(obeyed, _lines(shown)))
    assert shown.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["::a::b"], ": :a::b"),
        (["x", "::a::b\n", " ", "::a::b"], "x::a::b\n : :a::b"),
        (["test_a.py", "::test_b PASSED\n"], "test_a.py::test_b PASSED\n"),
        ([Command("::error::ours"), "\n", "::error::theirs"], "::error::ours\n: :error::theirs"),
        (["a ##[error]b"], "a ## [error]b"),
        (["[::1]:8000 # [x]"], "[::1]:8000 # [x]"),
    ],
)
def test_what_stands_on_the_line_before_counts(pieces: Sequence[str], shown: str) -> None:
    inert = Inert()

    assert "".join(map(inert, pieces)) == shown


def test_a_stream_is_the_one_within_but_for_commands() -> None:
    within = io.StringIO()
    stream = InertStream(within)

    stream.writelines(["::a::b\n", "c\n"])

    assert within.getvalue() == stream.getvalue() == ": :a::b\nc\n"


@pytest.mark.parametrize(("value", "shown"), [("true", ": :a::b\n"), ("", "::a::b\n")])
def test_streams_are_inert_in_a_step_of_github_alone(
    value: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", value)
    with inert_streams():
        sys.stdout.write("::a::b\n")
        sys.stderr.write("::a::b\n")

    assert tuple(capsys.readouterr()) == (shown, shown)


def test_a_break_from_outside_ends_no_line_of_an_error() -> None:
    assert str(PerfgateError("not accepted: x\n::error::y\r\n z")) == "not accepted: x ::error::y   z"
    assert len(str(SuiteError([])).splitlines()) == 1
    assert str(PerfgateError("two faults:\n  a\n  b")) == "two faults:\n  a\n  b"


@pytest.fixture
def hostile_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that somebody else made, in the working folder of a step of GitHub's."""
    run = json.loads((SAMPLE / "run.json").read_text())
    run["rounds"] = [one | {"fault": f"x\n::error::y\n  {HOSTILE}"} for one in run["rounds"]]
    (tmp_path / "run.json").write_text(json.dumps(run))
    shutil.copy(SAMPLE / "suite.yaml", tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "texts.jsonl").write_text('{"id": "d0", "text": "any"}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


@pytest.mark.usefixtures("hostile_run")
@pytest.mark.parametrize(
    ("command", "commands"),
    [(["baseline", "accept", "run.json", "--reason", "x"], set()), (["judge", "run.json"], {"::error"})],
)
def test_of_what_the_command_line_says_our_annotations_alone_are_commands(
    command: list[str], commands: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*command, "--suite", "suite.yaml", "--policy", "ci"])

    said = "".join(capsys.readouterr())
    assert "x ::error::y" in said
    assert "stop-commands::pwn" in said
    assert {line.split()[0] for line in _lines(said) if obeyed(line)} == commands


def test_of_what_pytest_says_our_annotations_alone_are_commands(
    pytester: pytest.Pytester, small_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project(f'  bad: {{engine_args: {{fail: build, say: "{HOSTILE}"}}}}\n')
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    found = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--perfgate-rounds", "1", "-k", "bad-build", "-rA")

    assert "stop-commands::pwn" in str(found.stdout)
    lines = [*found.outlines, *found.errlines]
    assert {line.split()[0] for line in lines if obeyed(line)} == {"::error"}
