"""JUnit, PNG and trackers, of every kind of verdict and of hostile texts."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib.figure  # noqa: F401 - first loaded within a test, pytester would forget a part of matplotlib
import pytest
from examples import HOSTILE, case, comparison, hostile, numberless, run, verdict
from hypothesis import example as hypothesis_example
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

from perfgate.errors import UsageError
from perfgate.metrics import Better
from perfgate.report import formats
from perfgate.report.comparison_png import MOST_ROWS, comparison_png
from perfgate.report.figures import plain
from perfgate.report.formats import Format, parse_formats, write_formats
from perfgate.report.junit import render_junit
from perfgate.report.picture import WIDTH_PX
from perfgate.report.trackers import bencher, github_benchmark
from perfgate.terms import Reaction, Watch
from perfgate.verdict import Verdict
from perfgate.watch import Signal, SignalKind


def suite_of(data: bytes) -> ET.Element:
    (suite,) = ET.fromstring(data)  # noqa: S314 - our own
    return suite


def outcomes(data: bytes) -> dict[str | None, str]:
    def outcome(test: ET.Element) -> str:
        return next((name for name in ("failure", "skipped") if test.find(name) is not None), "passed")

    return {test.get("name"): outcome(test) for test in suite_of(data).iterfind("testcase")}


# ------------------------------------------------------------------ JUnit


def test_a_case_is_a_test_with_the_outcome_that_pytest_would_give() -> None:
    data = render_junit(comparison())

    assert outcomes(data) == {
        "int8-chat": "failure",
        "fp32-chat": "passed",
        "fp32-batch": "skipped",
        "int4-chat": "skipped",
        "int4-batch": "failure",
        "fp8-chat": "skipped",
    }
    assert {name: suite_of(data).get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "6", "failures": "2", "skipped": "3", "errors": "0"
    }  # fmt: skip


def test_a_failure_says_what_and_how_much() -> None:
    failure = suite_of(render_junit(comparison())).find("testcase[@name='int8-chat']/failure")

    assert failure is not None
    assert failure.get("message") == "ttft_p50: worse than the 2.0 % margin against 3 fresh baseline rounds"
    assert str(failure.text).startswith("ttft_p50: regressed, 24.8 % worse (99 % interval +19.2 % to +30.9 %)")


def test_what_is_red_and_of_no_case_is_a_test_of_its_own() -> None:
    creep = Signal(SignalKind.CREEP, "a-b", "ttft_p50", 0.05, "2026-01-14", None, "a-b ttft_p50 creeps")
    made = comparison(
        case("a-b", verdict("a-b", "ttft_p50")), signals=(creep,), watch=replace(Watch(), creep=Reaction.FAIL)
    )

    assert outcomes(render_junit(made, ["int4-speed: does not hold here"])) == {
        "a-b": "passed", "watch": "failure", "claims": "failure"
    }  # fmt: skip


@given(st.text(max_size=60))
@hypothesis_example("\ufffe\uffff\ud800\x00<&]]>")
def test_any_text_is_read_back_from_the_xml(text: str) -> None:
    made = comparison(case(f"x{text}", verdict(f"x{text}", "ttft_p50", Verdict.REGRESSED, reason=text)), suite=text)

    (test,) = suite_of(render_junit(made)).iterfind("testcase")

    assert test.get("name") == _xml(plain(f"x{text}"))


def _xml(text: str) -> str:
    return text.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


# ------------------------------------------------------------------ trackers


def test_bencher_has_medians_with_the_lowest_and_the_highest_round() -> None:
    found = json.loads(bencher(run(comparison()), comparison()))

    assert found["smoke/int8-chat"]["ttft_p50"] == pytest.approx(
        {"value": 0.01248, "lower_value": 0.0123552, "upper_value": 0.0126048}
    )


def test_github_benchmark_splits_by_direction() -> None:
    made = comparison()

    smaller, bigger = (json.loads(github_benchmark(run(made), made, better)) for better in Better)

    assert [one["name"] for one in bigger] == ["smoke/fp32-batch output_tokens_per_s"]
    assert bigger[0] == {
        "name": "smoke/fp32-batch output_tokens_per_s", "unit": "tokens/s", "value": 2680.5,
        "range": "2653.7 to 2707.3", "extra": "improved (3 rounds) on cpu/x86_64-avx512",
    }  # fmt: skip
    assert {one["unit"] for one in smaller} == {"s"}


@pytest.mark.parametrize("kind", [Verdict.BROKEN, Verdict.INVALID])
def test_trackers_never_take_what_is_broken_for_a_level(kind: Verdict) -> None:
    made = comparison(case("a-b", verdict("a-b", "ttft_p50", kind), outcome="failed"))

    assert json.loads(bencher(run(made), made)) == {}
    assert json.loads(github_benchmark(run(made), made, Better.LOWER)) == []


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_left_out(value: float | None) -> None:
    measured, made = numberless(value)

    assert json.loads(bencher(measured, made)) == {}


def test_hostile_names_are_one_printable_line() -> None:
    measured, made = hostile()

    assert list(json.loads(bencher(measured, made))) == [plain(f"{HOSTILE}/{HOSTILE}")]


# ------------------------------------------------------------------ the picture


def picture(made: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = image.imread(io.BytesIO(comparison_png(made))).shape
    return shape


def test_the_picture_grows_with_what_is_not_ok_to_a_limit() -> None:
    def bad(number: int) -> Any:
        return comparison(*(case(f"e{i}-w", verdict(f"e{i}-w", "ttft_p50", Verdict.REGRESSED)) for i in range(number)))

    few, many, more = (picture(bad(number)) for number in (2, MOST_ROWS, 200))

    assert few[1] == many[1] == WIDTH_PX
    assert few[0] < many[0] == more[0]


@pytest.mark.parametrize(
    "made", [hostile()[1], numberless(math.inf)[1], numberless(None)[1], replace(comparison(), cases=())]
)
def test_anything_can_be_drawn(made: Any) -> None:
    assert picture(made)[1] == WIDTH_PX


# ------------------------------------------------------------------ what is asked


def test_formats_are_each_once() -> None:
    assert parse_formats("--format", " png,bencher,,png ") == (Format.PNG, Format.BENCHER)
    assert parse_formats("--format", None) == ()


def test_an_unknown_format_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match="format in the ini file: found 'gif', allowed: junit, png, "):
        parse_formats("format in the ini file", "png,gif")


def test_a_picture_without_matplotlib_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda _: None)

    with pytest.raises(UsageError, match=r"png needs matplotlib: pip install 'pytest-perfgate\[figures\]'"):
        parse_formats("--format", "png")


def test_nothing_is_written_but_what_was_asked_for(tmp_path: Path) -> None:
    made = comparison()

    paths = write_formats([Format.GITHUB_BENCHMARK], run(made), made, tmp_path)

    names = ["github-benchmark-smaller.json", "github-benchmark-bigger.json"]
    assert [path.name for path in paths] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
