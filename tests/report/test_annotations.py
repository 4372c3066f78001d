from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from examples import case, comparison, hostile, verdict
from hypothesis import given
from hypothesis import strategies as st

from perfgate.report.annotations import Level, Place, annotation_lines, command, place_of
from perfgate.report.figures import plain
from perfgate.suite_lines import line_of, lines_of
from perfgate.verdict import Verdict
from perfgate.workflow_lines import is_asked

PLACE = Place("suites/a.yaml", {"engines.int8": 7, "workloads.batch": 12})
SUITE = """schema: 1
engines:
  fp32: {}
  "odd name": {}
workloads:

  chat: {kind: latency}
"""


def test_each_level_has_its_lines_gravest_first() -> None:
    lines = annotation_lines(comparison(), PLACE)

    head = re.compile(r"::(\w+) file=suites/a.yaml,line=(\d+),title=perfgate%3A (\S+) ([\w-]+)::")
    heads = map(head.match, lines)
    assert [found.groups() for found in heads if found] == [
        ("error", "7", "int8-chat", "regressed"),
        ("error", "12", "int4-batch", "invalid"),
        ("warning", "12", "fp32-batch", "inconclusive"),
    ]


def test_what_a_test_expects_to_fail_and_what_is_waived_are_notices() -> None:
    made = case("int8-chat", verdict("int8-chat", "ttft_p50", Verdict.REGRESSED, waived="waived until 2027-01-01: x"))
    borne = replace(made, outcome="waived")

    expected = annotation_lines(comparison(), PLACE, ["int8-chat", "int4-batch"])
    (waived,) = annotation_lines(comparison(borne), PLACE)

    assert [line.split()[0] for line in expected] == ["::warning", "::notice", "::notice"]
    assert waived.startswith("::notice file=suites/a.yaml,line=7,title=perfgate%3A int8-chat waived::")
    assert "waived until 2027-01-01" in waived


def test_above_ten_of_a_level_the_tenth_counts_the_rest() -> None:
    cases = [case(f"e{i}-w", verdict(f"e{i}-w", "ttft_p50", Verdict.REGRESSED)) for i in range(25)]

    lines = annotation_lines(comparison(*cases), PLACE)

    assert len(lines) == 10
    assert "title=perfgate%3A 16 more cases::16 more cases: the step summary and report.html have them all" in lines[-1]


def test_ten_are_all_shown() -> None:
    cases = [case(f"e{i}-w", verdict(f"e{i}-w", "ttft_p50", Verdict.REGRESSED)) for i in range(10)]

    assert not any("more case" in line for line in annotation_lines(comparison(*cases), PLACE))


def test_nothing_is_said_of_a_green_gate() -> None:
    assert annotation_lines(comparison(case("a-b", verdict("a-b", "ttft_p50"))), PLACE) == []


def test_escaping_is_that_of_the_toolkit() -> None:
    line = command(Level.ERROR, "a,b:c%.yaml", 3, "t:1,2%", "50% of a:b,c\nnext")

    assert line == "::error file=a%2Cb%3Ac%25.yaml,line=3,title=t%3A1%2C2%25::50%25 of a:b,c%0Anext"


@given(st.text(), st.text(), st.text())
def test_any_text_is_one_command_that_reads_back(file: str, title: str, text: str) -> None:
    line = command(Level.ERROR, file, 3, title, text)

    found = re.fullmatch(r"::error file=([^:,\r\n]*),line=3,title=([^:,\r\n]*)::([^\r\n]*)", line)
    assert found
    assert [_unescaped(part) for part in found.groups()] == [
        file, plain(title), "\n".join(map(plain, text.split("\n")))
    ]  # fmt: skip


def _unescaped(text: str) -> str:
    for code, char in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def test_hostile_texts_start_no_line_of_their_own() -> None:
    _, made = hostile("x\n::set-output name=a::b\r::stop-commands::t")

    lines = "\n".join(annotation_lines(made, PLACE)).splitlines()

    assert lines
    assert {line.split()[0] for line in lines} <= {"::error", "::warning"}


@pytest.mark.parametrize(("value", "asked"), [("true", True), ("", False), (None, False), ("false", False)])
def test_only_a_step_of_github_asks(value: str | None, asked: bool) -> None:  # noqa: FBT001
    assert is_asked({} if value is None else {"GITHUB_ACTIONS": value}) is asked


def test_lines_are_those_of_the_file_and_paths_those_of_the_repository(tmp_path: Path) -> None:
    file = tmp_path / "suites" / "a.yaml"
    file.parent.mkdir()
    file.write_text(SUITE)

    place = place_of(file, {"GITHUB_WORKSPACE": str(tmp_path)})

    assert place.file == "suites/a.yaml"
    assert place.lines == {"engines.fp32": 3, "engines.odd name": 4, "workloads.chat": 7}
    assert [line_of(place.lines, *names) for names in (("fp32", "fp32-chat"), ("x", "x-chat"), ("x", "x-y"))] == [
        3,
        7,
        1,
    ]


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "engines: 3", "engines: &a {x: *a}", "\x00"])
def test_what_is_no_suite_has_no_lines(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)

    assert set(lines_of(file)) <= {"engines.x"}


def test_a_suite_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "gone.yaml") == {}
