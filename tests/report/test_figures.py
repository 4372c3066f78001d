from __future__ import annotations

import math
from dataclasses import replace

import pytest
from examples import case, comparison, verdict
from hypothesis import given, settings
from hypothesis import strategies as st

from perfgate.metrics import Unit
from perfgate.report import figures
from perfgate.report.text import table
from perfgate.verdict import Verdict


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (12.5, Unit.SECONDS, "12.50 s"),
        (0.01248, Unit.SECONDS, "12.48 ms"),
        (0.0000345, Unit.SECONDS, "34.50 us"),
        (2e-10, Unit.SECONDS, "0.2000 ns"),
        (0.0, Unit.SECONDS, "0 s"),
        (1_234_567_890, Unit.BYTES, "1,235 MB"),
        (512, Unit.BYTES, "512 B"),
        (768.0, Unit.TOKENS, "768 tokens"),
        (767.5, Unit.TOKENS, "767.5 tokens"),
        (2450.4, Unit.TOKENS_PER_S, "2,450 tokens/s"),
        (0.00123, Unit.JOULES_PER_TOKEN, "0.001230 J/token"),
        (28.134, Unit.RATIO, "28.13"),
        (1e12, Unit.TOKENS, "1.000e+12 tokens"),
        (math.inf, Unit.SECONDS, "inf s"),
        (math.nan, Unit.SECONDS, "-"),
        (None, Unit.SECONDS, "-"),
    ],
)
def test_quantity_is_shown_in_the_unit_that_fits(value: float | None, unit: Unit, shown: str) -> None:
    assert figures.quantity(value, unit) == shown


def test_two_sides_of_a_comparison_share_a_unit() -> None:
    assert figures.quantity(0.99, Unit.SECONDS, like=1.02) == "0.9900 s"


def test_brief_quantity_keeps_scaled_units_alone() -> None:
    shown = [figures.quantity(2450.0, unit, brief=True) for unit in (Unit.TOKENS_PER_S, Unit.SECONDS)]

    assert shown == ["2,450", "2,450 s"]


@pytest.mark.parametrize(
    ("change", "words", "sign"),
    [
        (0.248, "24.8 % worse", "+24.8 %"),
        (-0.031, "3.1 % better", "-3.1 %"),
        (0.0, "no change", "+0.0 %"),
        (-0.0004, "no change", "+0.0 %"),
        (9.0, "900.0 % worse", "+900.0 %"),
        (12.345, "> 10x worse", "> 10x"),
        (math.inf, "> 10x worse", "> 10x"),
        (math.nan, "-", "-"),
        (None, "-", "-"),
    ],
)
def test_change_toward_worse_is_positive_and_named(change: float | None, words: str, sign: str) -> None:
    assert (figures.worsening(change), figures.signed(change)) == (words, sign)


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.192, 0.309, "[19.2, 30.9]"),
        (-0.137, 1264.284, "[-13.7, > 10x]"),
        (-0.0001, math.inf, "[0.0, > 10x]"),
        (None, 0.1, "-"),
        (0.1, math.nan, "-"),
    ],
)
def test_interval_is_in_per_cent(low: float | None, high: float | None, shown: str) -> None:
    assert figures.interval(low, high) == shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            32.298,
            "20.04 ms against 20.00 ms (medians); over all rounds > 10x worse (99 % interval -5.0 % to > 10x); why",
        ),
        (0.0001, "20.04 ms against 20.00 ms (medians); over all rounds no change (99 % interval -5.0 % to > 10x); why"),
        (0.002, "20.04 ms against 20.00 ms; 0.2 % worse (99 % interval -5.0 % to > 10x); why"),
    ],
)
def test_a_sentence_spells_a_change_as_the_table_does(change: float, said: str) -> None:
    one = verdict("a", "itl_p50", reason="why", baseline=0.02, candidate=0.02004, change=change, low=-0.05, high=99.0)

    assert figures.against(one) + one.sentence == said
    assert figures.worsening(change) in said


def test_tables_say_what_a_change_is_where_it_is_not_that_between_the_medians() -> None:
    alike = verdict("a", "itl_p50", baseline=0.02, candidate=0.021, change=0.05)
    shown = [table(comparison(case("a", one)), verbose=True, width=99, colour=False).replace("\n  ", " ")
             for one in (alike, replace(alike, change=-0.001))]  # fmt: skip

    assert [figures.ESTIMATOR in one for one in shown] == [False, True]


def test_of_a_rate_that_fell_by_half_the_medians_say_twice_as_bad() -> None:
    one = verdict("a", "output_tokens_per_s", baseline=100.0, candidate=50.0, change=1.0)

    assert not figures.is_estimated(one)
    assert figures.is_estimated(replace(one, candidate=200.0))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (192.4, "3 min 12 s"),
        (3599.7, "1 h 00 min"),
        (7512.0, "2 h 05 min"),
        (math.nan, "-"),
    ],
)
def test_duration_never_shows_sixty_of_a_unit(seconds: float, shown: str) -> None:
    assert figures.duration(seconds) == shown


def test_every_verdict_has_a_word() -> None:
    assert set(figures.WORDS) == set(Verdict)


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(Unit), st.floats(allow_nan=True))
def test_any_number_can_be_shown(value: float, unit: Unit, like: float) -> None:
    shown = [
        figures.quantity(value, unit, like=like),
        figures.worsening(value),
        figures.signed(value),
        figures.interval(value, like),
        figures.duration(value),
    ]

    assert all(0 < len(one) < 330 for one in shown)


@settings(deadline=None)
@given(st.floats(min_value=1e-6, max_value=1e6))
def test_a_shown_duration_reads_back_within_half_of_its_last_digit(seconds: float) -> None:
    number, unit = figures.quantity(seconds, Unit.SECONDS).split(" ")

    shown = float(number.replace(",", "")) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]

    assert shown == pytest.approx(seconds, rel=6e-4)


@settings(deadline=None)
@given(st.text(st.characters(codec=None)))
def test_plain_text_is_one_printable_line_that_can_be_encoded(text: str) -> None:
    shown = figures.plain(text)

    assert len(shown.splitlines()) <= 1
    assert not any(sign in shown for sign in "\x00\x1b\x9b\u202e\u2066\u200b\ufeff")
    assert shown.encode("utf-8").decode("utf-8") == shown


@settings(deadline=None)
@given(st.text("abcXYZ 0123-_/.é中"))
def test_plain_text_keeps_ordinary_letters(text: str) -> None:
    assert figures.plain(text) == text
