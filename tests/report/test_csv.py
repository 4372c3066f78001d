from __future__ import annotations

import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from examples import HOSTILE, case, comparison, hostile, numberless, run, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.record import CaseRound, Round, Side
from perfgate.report import csv as report_csv
from perfgate.report.csv import COLUMNS, render_csv
from perfgate.report.figures import plain

TEXT_COLUMNS = ["suite", "device", "case", "engine", "kind", "metric", "unit", "better", "verdict", "reason", "outcome"]


def test_pandas_reads_every_metric_and_column_in_one_line() -> None:
    table = pd.read_csv(io.StringIO(render_csv(comparison())))

    assert tuple(table.columns) == COLUMNS
    assert list(table["metric"].dropna()) == [metric.metric for metric in comparison().metrics]
    assert all(pd.api.types.is_numeric_dtype(table[name]) for name in COLUMNS if name not in TEXT_COLUMNS)


def test_numbers_are_exact() -> None:
    row = pd.read_csv(io.StringIO(render_csv(comparison()))).iloc[0]

    numbers = row[["baseline", "candidate", "change_worse", "low", "high", "margin", "evidence", "detectable"]]
    assert list(numbers) == [0.010, 0.01248, 0.248, 0.192, 0.309, 0.02, 51_234.5, 0.052]


def test_what_is_not_known_is_missing() -> None:
    table = pd.read_csv(io.StringIO(render_csv(comparison()))).set_index("verdict")

    assert table.loc["no-baseline", ["baseline", "change_worse", "evidence"]].isna().all()


def test_every_column_is_documented() -> None:
    documented = (report_csv.__doc__ or "").replace("rounds_*", "rounds_stored rounds_baseline rounds_candidate")

    assert [name for name in COLUMNS if name not in documented] == []


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n@", "  =", "\uff1d", "\xa0="])
def test_a_cell_never_starts_a_formula(start: str) -> None:
    name = f"{start}HYPERLINK(1)"

    cell = pd.read_csv(io.StringIO(render_csv(comparison(case(name, verdict(name, "ttft_p50"))))))["case"][0]

    assert cell == f"'{plain(name)}"


def test_negative_numbers_stay_numbers() -> None:
    table = pd.read_csv(io.StringIO(render_csv(comparison()))).set_index("verdict")

    assert table.loc["improved", "change_worse"] == -0.086


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_back_but_for_controls_and_formulas(text: str) -> None:
    made = comparison(case("a-b", verdict("a-b", "ttft_p50", reason=f"x{text}")), suite=text)

    table = pd.read_csv(io.StringIO(render_csv(made)), keep_default_na=False)

    assert table.shape == (1, len(COLUMNS))
    assert table["reason"][0] == f"x{plain(text)}"
    assert str(table["suite"][0]).lstrip()[:1] not in {"=", "+", "-", "@"} or pd.api.types.is_numeric_dtype(
        table["suite"]
    )


def test_hostile_text_adds_no_row() -> None:
    _, made = hostile()

    table = pd.read_csv(io.StringIO(render_csv(made)))

    assert list(table["case"].unique()) == [plain(HOSTILE)]
    assert len(table) == len(made.metrics) + 1  # the case that was skipped


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
def test_unknown_numbers_are_read_as_numbers(value: float | None) -> None:
    _, made = numberless(value)

    table = pd.read_csv(io.StringIO(render_csv(made)))

    read = table["change_worse"][table["metric"].notna()].astype(float)
    assert (read.isna() | (read == value)).all()
    assert read.isna().any() == (value is None or math.isnan(value))


def test_a_comparison_without_metrics_is_a_header() -> None:
    nothing = replace(comparison(), cases=())

    assert render_csv(nothing) == ",".join(COLUMNS) + "\n"


def test_a_case_that_was_not_measured_has_a_row_with_its_reason() -> None:
    table = pd.read_csv(io.StringIO(render_csv(comparison()))).set_index("case")

    skipped = table.loc["fp8-chat"]
    assert (skipped["outcome"], skipped["reason"]) == ("skipped", "fp8 needs sm_89 or newer")
    assert pd.isna(skipped["metric"])


def test_what_is_measured_and_not_gated_has_its_medians_and_no_verdict() -> None:
    made = comparison(case("c", verdict("c", "ttft_p50")))
    values = {"ttft_p50": 0.01, "device_decode_step_p50": 0.002, "mbu_decode": 0.61, "rows_per_s": 5.0}
    rounds = tuple(
        Round(
            "e", side, index, "", 1.0, (CaseRound("c", {name: value * (1 + index) for name, value in values.items()}),)
        )
        for side, index in ((Side.BASELINE, 0), (Side.CANDIDATE, 1), (Side.CANDIDATE, 2), (Side.CANDIDATE, 3))
    )

    table = pd.read_csv(io.StringIO(render_csv(made, run(made, rounds=rounds)))).set_index("metric")

    assert sorted(table.index) == sorted(values)
    ungated = table.drop(index="ttft_p50")
    assert ungated["verdict"].isna().all()
    assert set(ungated["reason"]) == {"not gated"}
    assert table.loc["rows_per_s", ["baseline", "candidate", "rounds_candidate"]].tolist() == [5.0, 15.0, 3]
    assert list(table.loc[["device_decode_step_p50", "mbu_decode"], "unit"]) == ["s", "share"]
