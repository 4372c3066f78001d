from __future__ import annotations

from dataclasses import replace

import pytest
from examples import BASELINE, ENVIRONMENT, HOSTILE, case, comparison, verdict

from perfgate.measured import Point
from perfgate.report.answers import MOST_LINES, Answer, answers, parts
from perfgate.report.behind import Behind
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.watch import Commits, Signal, SignalKind


def red(name: str = "int8-chat", metric: str = "ttft_p50", change: float = 0.25) -> MetricVerdict:
    return verdict(name, metric, Verdict.REGRESSED, reason="worse", change=change, baseline=0.01, candidate=0.0125)


def answer(*metrics: MetricVerdict, behind: Behind | None = None, signals: tuple[Signal, ...] = ()) -> Answer:
    found = metrics or (red(),)
    return answers(comparison(case("int8-chat", *found), signals=signals), behind or Behind())[0]


def test_the_largest_worsening_comes_first_and_the_rest_is_counted() -> None:
    names = ("ttft_p50", "ttft_p90", "tpot_p50", "itl_p50", "itl_p90", "e2el_p50", "e2el_p90")

    found = answer(*(red(metric=name, change=0.1 + i / 100) for i, name in enumerate(names)))

    assert found.worst[0].metric == "e2el_p90"
    assert (len(found.worst), found.more) == (MOST_LINES, 2)


def test_how_sure_names_evidence_and_rounds() -> None:
    found = answer(replace(red(), evidence=1234.5, needed_evidence=700.0))

    assert found.sure == (
        "evidence 1,234 to 1 for worse than the 2.0 % margin, 700 is needed; "
        "3 rounds against 3 of the baseline beside and 9 stored"
    )


@pytest.mark.parametrize("evidence", [1e12, float("inf")])
def test_huge_evidence_is_not_spelt_out(evidence: float) -> None:
    assert "over a billion to 1" in answer(replace(red(), evidence=evidence)).sure


def test_since_when_is_told_by_a_signal_of_this_metric() -> None:
    step = Signal(SignalKind.CHANGE_POINT, "int8-chat", "ttft_p50", 0.2, "2026-01-20", Commits("c7", "c8"), "")
    other = replace(step, metric="tpot_p50", started="2025-12-24")

    assert answer(signals=(other, step)).since == "2026-01-20: a step, commits c7..c8"


def test_since_when_is_told_by_the_last_session_within_the_margin() -> None:
    trail = tuple(Point("", f"2026-01-{day}", f"c{day}", "k", level) for day, level in ((10, 0.01), (11, 0.0125)))

    found = answer(behind=Behind({}, {("int8-chat", "ttft_p50"): trail}))

    assert found.since.startswith("between 2026-01-10, commit c10, which was within the margin, and this run, 2026")
    assert found.since.endswith("; 2026-01-11, commit c11, was beyond it, which may be noise")


def test_since_when_names_its_metric_where_others_have_another() -> None:
    step = Signal(SignalKind.CHANGE_POINT, "int8-chat", "ttft_p50", 0.2, "2026-01-20", Commits("c7", "c8"), "")

    since = answer(red(), red(metric="tpot_p50", change=0.1), signals=(step,)).since

    assert since.endswith("commits c7..c8 (int8-chat ttft_p50; 1 other has another: `perfgate explain CASE METRIC`)")


def test_without_history_since_when_is_between_the_baseline_and_this_run() -> None:
    assert answer().since.startswith(
        "between the baseline of 2026-01-14, commit a9b8c7d, and this run, 2026-02-03 04:05 UTC, "
    )


def test_commands_name_both_commits() -> None:
    assert answer().commands == (
        "git log --oneline a9b8c7d..0b1c2d3",
        "perfgate ab @commit:a9b8c7d @commit:0b1c2d3",
    )


@pytest.mark.parametrize("commit", ["", "$(reboot)", "a; b", HOSTILE, "0b1c2d3"])
def test_no_command_is_made_of_what_is_no_other_commit(commit: str) -> None:
    made = comparison(
        case("int8-chat", red()), baseline=replace(BASELINE, commit=commit), environment=replace(ENVIRONMENT)
    )

    assert answers(made, Behind())[0].commands == ()


def test_commands_in_a_sentence_are_told_apart() -> None:
    found = parts(
        "raise `requests`, or --perfgate-rounds 8; if meant: "
        "perfgate baseline accept perfgate-out/run.json --reason '...'"
    )

    assert [part.text for part in found if part.is_command] == [
        "requests",
        "--perfgate-rounds 8",
        "perfgate baseline accept perfgate-out/run.json --reason '...'",
    ]
    assert "".join(part.text for part in found).startswith("raise requests, or ")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("measure more than one round: leave --perfgate-rounds to the suite", "--perfgate-rounds"),
        (
            "would decide: --perfgate-rounds 37 --perfgate-budget 14min; or",
            "--perfgate-rounds 37 --perfgate-budget 14min",
        ),
        ("give it --perfgate-budget 90s, for about", "--perfgate-budget 90s"),
        ("more than --perfgate-budget TIME allows", "--perfgate-budget TIME"),
        ("nothing; --perfgate-thorough judges for smaller changes", "--perfgate-thorough"),
    ],
)
def test_the_word_after_an_option_is_no_value_of_it(text: str, command: str) -> None:
    assert [part.text for part in parts(text) if part.is_command] == [command]
