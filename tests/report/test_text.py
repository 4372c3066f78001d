from __future__ import annotations

import re
from dataclasses import replace

import pytest
from examples import ENVIRONMENT, case, comparison, hostile, numberless, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.comparison import Comparison
from perfgate.report.text import table
from perfgate.verdict import Verdict

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def shown(made: Comparison, *, verbose: bool = False, width: int = 160, colour: bool = False) -> str:
    return table(made, verbose=verbose, width=width, colour=colour)


def line_with(text: str, *words: str) -> str:
    return next(line for line in text.splitlines() if all(word in line for word in words))


def test_a_regression_is_one_row_with_all_its_numbers() -> None:
    row = line_with(shown(comparison()), "int8-chat", "[")

    cells = ["int8-chat", "ttft_p50", "10.00 ms", "12.48 ms", "24.8 % worse", "[19.2, 30.9]", "REGRESSED", "5.2 %"]
    assert re.split(r"  +", row.strip()) == cells


def test_by_default_ok_metrics_are_counted_not_listed() -> None:
    text = shown(comparison())

    assert "5 other metrics ok (-v shows all)" in text
    assert "tpot_p50" not in text


def test_columns_that_would_say_nothing_are_left_out() -> None:
    first = verdict(
        "a-b", "ttft_p50", Verdict.NO_BASELINE,
        baseline=None, candidate=0.0101, change=None, low=None, high=None, detectable=None,
    )  # fmt: skip

    head = shown(comparison(case("a-b", first, outcome="warned"))).splitlines()[0]

    assert head.split() == ["case", "metric", "now", "verdict"]


def test_verbose_lists_every_metric_once() -> None:
    rows = [line for line in shown(comparison(), verbose=True).splitlines() if re.match(r" \w+-\w+ ", line)]

    assert len(rows) == len(comparison().metrics)
    assert sum("tpot_p50" in row for row in rows) == 3


def test_what_is_not_ok_has_its_reason_and_a_next_step() -> None:
    text = shown(comparison())

    assert "worse than the 2.0 % margin against 3 fresh baseline rounds" in text
    assert "--perfgate-rounds 8" in text
    assert text.count("next: ") == 5


def test_the_end_counts_cases_rounds_and_time() -> None:
    *_, effort, outcome = shown(comparison()).splitlines()

    assert effort == "measured 4 of 6 cases, 1 invalid, 1 skipped; 24 rounds, 1 invalid, 3 min 12 s"
    assert outcome == "REGRESSED: 2 failed, 1 warned, 1 recorded, 1 passed, 1 skipped"


def test_a_skip_is_listed_with_its_reason() -> None:
    assert "skipped  fp8-chat: fp8 needs sm_89 or newer" in shown(comparison())


def test_skips_of_one_reason_share_a_line() -> None:
    skips = [case(name, skip="no fp8 here") for name in ("a", "b")]

    assert "skipped  a, b: no fp8 here" in shown(comparison(*skips))


def test_a_planted_slowdown_is_the_first_line() -> None:
    made = comparison(environment=replace(ENVIRONMENT, inject={"ttft": 1.25}))

    assert shown(made).startswith("!!! A SLOWDOWN WAS PLANTED (ttft=1.25)")


def test_notes_are_shown() -> None:
    assert "note: the host was busy" in shown(comparison(notes=("the host was busy",)))


def test_a_comparison_that_is_all_ok_shows_its_figures() -> None:
    text = shown(comparison(case("fp32-chat", verdict("fp32-chat", "ttft_p50"))))

    assert "ttft_p50" in text
    assert "next: " not in text
    assert "other metric" not in text


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 120])
def test_no_line_is_wider_than_asked(width: int) -> None:
    lines = shown(comparison(), verbose=True, width=width).splitlines()

    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [1, 40, 60, 80, 160])
def test_the_change_and_the_verdict_survive_any_width(width: int) -> None:
    row = line_with(shown(comparison(), width=width), "24.8 %")

    assert "REGRESSED" in row


def test_at_80_columns_both_values_and_the_interval_remain() -> None:
    row = line_with(shown(comparison(), width=80), "REGRESSED", "[")

    assert re.split(r"  +", row.strip()) == ["ttft_p50", "10.00 ms", "12.48 ms", "+24.8 %", "[19.2, 30.9]", "REGRESSED"]


@settings(deadline=None)
@given(st.text(min_size=1, max_size=300), st.integers(40, 130))
def test_names_of_any_length_fit(name: str, width: int) -> None:
    made = comparison(case(name, verdict(name, "ttft_p50"), verdict(name, "tpot_p50")), case("x", skip=name))

    lines = [line for verbose in (True, False) for line in shown(made, verbose=verbose, width=width).splitlines()]

    assert max(map(len, lines)) <= width


def test_a_word_wider_than_the_page_is_cut() -> None:
    made = comparison(case("x", skip="y" * 200))

    assert max(map(len, shown(made, width=60).splitlines())) == 60


def test_colour_changes_nothing_but_colour() -> None:
    coloured = shown(comparison(), colour=True)

    assert "\x1b[31;1mREGRESSED" in coloured
    assert ANSI.sub("", coloured).split() == shown(comparison()).split()


def test_no_colour_without_asking() -> None:
    assert "\x1b" not in shown(comparison(), verbose=True)


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    text = shown(hostile()[1], verbose=True)

    assert not set(text) & set("\x1b\r\x07\u202e")


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf"), 0.0])
def test_unknown_numbers_do_not_stop_the_table(value: float | None) -> None:
    _, made = numberless(value)

    assert "REGRESSED" in shown(made, verbose=True)


def test_figures_have_their_units_where_there_is_room() -> None:
    one = case("c", verdict("c", "energy_j_per_token", baseline=0.5, candidate=0.512))

    assert " 0.5120 J/token " in table(comparison(one), verbose=True, width=160, colour=False)


def test_since_when_is_told_of_what_regressed_alone() -> None:
    made = comparison(case("int8-chat", verdict("int8-chat", "ttft_p50", Verdict.REGRESSED)))

    shown = " ".join(table(made, verbose=False, width=120, colour=False).split())

    assert f"since: between the baseline of {made.baseline.accepted if made.baseline else ''}, commit" in shown
    fine = comparison(case("int8-chat", verdict("int8-chat", "ttft_p50", Verdict.INCONCLUSIVE)))
    assert "since:" not in table(fine, verbose=False, width=120, colour=False)
