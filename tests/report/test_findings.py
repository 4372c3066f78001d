from __future__ import annotations

from dataclasses import replace

from examples import ENVIRONMENT, case, comparison, verdict

from perfgate.boundness import waits_for
from perfgate.comparison import CaseVerdict
from perfgate.fault_kinds import ProcessFault
from perfgate.report.answers import answers
from perfgate.report.behind import Behind
from perfgate.report.cases import Line
from perfgate.report.findings import UNMEASURED, findings, headline, host_bound, next_steps, planted
from perfgate.report.markdown import render_markdown
from perfgate.report.next_step import accept
from perfgate.report.text import table
from perfgate.verdict import Cause, MetricVerdict, Verdict


def test_the_gravest_finding_stands_first() -> None:
    found = [one.verdict for one in findings(comparison())]

    assert found == [
        Verdict.REGRESSED,
        Verdict.INVALID,
        Verdict.INCONCLUSIVE,
        Verdict.NO_BASELINE,
        Verdict.IMPROVED,
    ]


def test_the_command_that_accepts_a_run_names_where_it_lies() -> None:
    made = comparison()

    assert accept(made) == "perfgate baseline accept perfgate-out/run.json --reason '...'"
    assert "perfgate-out/own-tests/run.json" in accept(replace(made, suite="own-tests"))


def test_one_cause_in_many_cases_is_one_finding() -> None:
    missing = [case(f"c{i}", verdict(f"c{i}", "ttft_p50", Verdict.NO_BASELINE, reason="none yet")) for i in range(5)]

    (found,) = findings(comparison(*missing))

    assert found.where == "c0: ttft_p50; c1: ttft_p50; c2: ttft_p50; and 2 more cases"
    assert list(found.cases) == ["c0", "c1", "c2", "c3", "c4"]


def noisy(name: str, metric: str, detect: int) -> MetricVerdict:
    reason = f"too noisy to rule a worsening of {detect} % in or out"
    return verdict(name, metric, Verdict.INCONCLUSIVE, reason=reason, cause=Cause.NOISE, change=detect / 100)


def test_one_cause_with_figures_of_each_metric_is_one_finding_with_one_next() -> None:
    made = comparison(
        case("a", noisy("a", "ttft_p50", 5), noisy("a", "itl_p50", 20)), case("b", noisy("b", "load_s", 9))
    )

    (found,) = findings(made)

    assert found.where == "a: ttft_p50, itl_p50; b: load_s"
    told = "a itl_p50: too noisy to rule a worsening of 20 % in or out; the others alike, with figures of their own"
    assert found.reason == told
    assert table(made, verbose=False, width=120, colour=False).count("next: ") == 1
    assert render_markdown(made).count("Next: ") == 1
    assert len(answers(made, Behind())) == 1


def test_other_causes_and_other_waivers_are_other_findings() -> None:
    one, other = noisy("a", "ttft_p50", 5), noisy("a", "itl_p50", 5)
    wild, waived = replace(other, cause=Cause.WILD_ROUND), replace(other, waived="waived until 2027")

    assert [len(findings(comparison(case("a", one, two)))) for two in (other, wild, waived)] == [1, 2, 2]


def test_rounds_that_failed_alike_are_one_finding_and_otherwise_two() -> None:
    def lost(name: str, kind: ProcessFault) -> CaseVerdict:
        reason = f"other programs took {len(name) * 80} % of the CPU while it was timed"
        mine = verdict(name, "ttft_p50", Verdict.INVALID, reason=reason, cause=Cause.ROUNDS_FAILED)
        return replace(case(name, mine), faults={kind: 2})

    alike = findings(comparison(lost("a", ProcessFault.DISTURBED), lost("bb", ProcessFault.DISTURBED)))
    otherwise = findings(comparison(lost("a", ProcessFault.DISTURBED), lost("bb", ProcessFault.DEADLINE)))

    assert [one.where for one in alike] == ["a: ttft_p50; bb: ttft_p50"]
    assert len(otherwise) == 2


def test_what_an_earlier_finding_said_to_do_is_said_once() -> None:
    changed = case("b", verdict("b", "ttft_p50", Verdict.NO_BASELINE, reason="the case was changed"))
    missing = case("a", verdict("a", "ttft_p50", Verdict.NO_BASELINE, reason="none yet"))
    found = findings(comparison(missing, changed))

    assert [one.next_step for one in found] == [found[0].next_step] * 2
    assert next_steps(found) == [found[0].next_step, "as above"]


def test_a_case_without_any_metric_is_a_finding() -> None:
    (found,) = findings(comparison(case("silent")))

    assert (found.verdict, found.reason, found.where) == (Verdict.INVALID, UNMEASURED, "silent")


def test_a_skipped_case_is_no_finding() -> None:
    assert findings(comparison(case("fp8", skip="no fp8 here"))) == []


def test_inconclusive_says_how_many_rounds_to_ask_for() -> None:
    noisy = verdict("c", "ttft_p50", Verdict.INCONCLUSIVE, reason="noisy", more_rounds=5, rounds_candidate=12)

    (found,) = findings(comparison(case("c", noisy)))

    assert "--perfgate-rounds 17" in found.next_step
    assert found.detectable == "a worsening of 5.2 % or more would have shown"


def test_unknown_detectable_is_left_out() -> None:
    noisy = verdict("c", "ttft_p50", Verdict.INCONCLUSIVE, reason="noisy", detectable=float("nan"))

    (found,) = findings(comparison(case("c", noisy)))

    assert found.detectable == ""


def test_a_regression_names_both_commits() -> None:
    found = findings(comparison())[0]

    assert "between a9b8c7d and 0b1c2d3" in found.next_step


def test_a_regression_without_baseline_information_names_no_commit() -> None:
    found = findings(comparison(baseline=None))[0]

    assert "look at what changed; " in found.next_step


def test_headline_counts_outcomes_gravest_first() -> None:
    assert headline(comparison()) == "REGRESSED: 2 failed, 1 warned, 1 recorded, 1 passed, 1 skipped"


def test_a_gate_that_measured_nothing_is_not_ok() -> None:
    nothing = replace(comparison(), cases=())

    assert headline(nothing) == "INVALID: no case was asked for"


def test_a_planted_slowdown_is_told() -> None:
    made = comparison(environment=replace(ENVIRONMENT, inject={"ttft": 1.25}))

    assert planted(made) == "A SLOWDOWN WAS PLANTED (ttft=1.25): these verdicts test the gate, not the engine."
    assert planted(comparison()) == ""


def working(name: str, busy: float) -> CaseVerdict:
    return replace(case(name, verdict(name, "itl_p50")), waits=waits_for(is_gpu=True, busy=busy, rounds=None))


def test_a_case_that_waits_for_the_host_is_named_with_its_share() -> None:
    said = host_bound(comparison(working("b1", 0.35), working("b64", 0.99)))

    assert said == "b1 waits for the host: the GPU worked 35 % of the time and waited for the host otherwise"


def test_many_cases_that_wait_for_the_host_share_a_line() -> None:
    said = host_bound(comparison(*(working(f"b{n}", 0.3) for n in range(5))))

    assert said.startswith("b0, b1, b2 and 2 more cases wait for the host")


def test_where_nothing_tells_nobody_waits() -> None:
    assert host_bound(comparison()) == ""


def test_an_absurd_number_of_rounds_is_not_asked_for() -> None:
    noisy = verdict("c", "ttft_p50", Verdict.INCONCLUSIVE, reason="noisy", more_rounds=404, detectable=143.309)

    (found,) = findings(comparison(case("c", noisy)))

    assert found.next_step.startswith("more than 100 more rounds a side would be needed: a quieter machine")
    assert found.detectable == "a worsening of more than 10x would have shown"


def test_a_single_round_asks_for_more_than_one() -> None:
    noisy = verdict("c", "ttft_p50", Verdict.INCONCLUSIVE, reason="one", rounds_candidate=1, detectable=None)

    (found,) = findings(comparison(case("c", noisy)))

    assert found.next_step == "measure more than one round: leave --perfgate-rounds to the suite"
    assert found.detectable == ""


def short_of_time(**numbers: int | None) -> str:
    """The next step of a gate that its budget of 90 s ended: 4 rounds, two of either side, in 80 s."""
    noisy = verdict("c", "ttft_p50", Verdict.INCONCLUSIVE, reason="noisy", **numbers)
    (found,) = findings(comparison(case("c", noisy), seconds=80.0, rounds=4, out_of_time_s=90.0))
    return found.next_step


def test_where_the_budget_ended_it_the_rounds_asked_for_come_with_the_time_they_take() -> None:
    said = short_of_time(more_rounds=35, rounds_candidate=2)

    assert "--perfgate-rounds 37 --perfgate-budget 30min;" in said  # 37 x 2 sides x 20 s, and a fifth


def test_where_the_budget_ended_it_after_one_round_it_is_the_budget_that_is_too_short() -> None:
    said = short_of_time(rounds_candidate=1, detectable=None)

    assert said.startswith("the budget ended it after one round: --perfgate-budget 4min")
    assert "--perfgate-rounds" not in said


def test_a_planted_run_is_not_said_to_become_the_baseline() -> None:
    missing = case("c", verdict("c", "ttft_p50", Verdict.NO_BASELINE, reason="none yet"), outcome="warned")

    (found,) = findings(comparison(missing, environment=replace(ENVIRONMENT, inject={"decode": 1.5})))

    assert found.next_step.startswith("run once without the planted regression")


def test_a_regression_that_was_planted_is_nobodys_to_accept() -> None:
    (found,) = findings(
        comparison(
            case("a", verdict("a", "itl_p50", Verdict.REGRESSED)),
            environment=replace(ENVIRONMENT, inject={"decode": 1.5}),
        )
    )

    assert found.next_step == "nothing: a regression was planted; a run without it judges the engine"


def test_an_engine_without_a_round_asks_for_time_and_not_for_a_cause_to_remove() -> None:
    missing = verdict("a", "itl_p50", Verdict.INVALID, reason="there was no round of a", cause=Cause.NO_ROUND)

    (found,) = findings(comparison(case("a", missing)))

    assert found.next_step.startswith("give it more time (--perfgate-budget)")


def test_what_is_red_stands_on_top_and_what_to_do_stands_above_the_table() -> None:
    undecided = [case(name, noisy(name, "ttft_p50", 5)) for name in ("a", "b", "c")]
    made = comparison(*undecided, case("z", verdict("z", "ttft_p50", Verdict.REGRESSED, reason="worse")))
    whole, summary = table(made, verbose=True, width=120, colour=False), render_markdown(made)

    assert [line.split()[0] for line in whole.splitlines()[1:5]] == ["z", "a", "b", "c"]
    assert [line[2] for line in summary.splitlines() if line.startswith("| ")][2:6] == ["z", "a", "b", "c"]
    assert summary.index("Next: ") < summary.index("| case |")


def test_a_text_that_is_worse_and_loses_too_much_is_one_finding() -> None:
    text = verdict(
        "t", "perplexity", Verdict.REGRESSED, reason="worse than the 0.5 % margin", cause=Cause.BEYOND_MARGIN
    )
    loss = verdict(
        "t", "perplexity_loss", Verdict.REGRESSED, reason="exceeds 1 %", cause=Cause.BEYOND_LOSS, change=0.05
    )  # fmt: skip
    made = comparison(case("t", text, loss))

    (found,) = answers(made, Behind())

    assert found.finding.reason == "worse than the 0.5 % margin; t perplexity_loss: exceeds 1 %"
    assert "another:" not in found.since  # a loss is against another engine: since when is the text's
    assert found.finding.next_step.endswith(
        "--reason '...'; and state another allowed loss under the suite's `quality`"
    )
    shown = [Line(one, None, None).unplotted for one in (loss, text)]
    assert shown == ["judged from the scores of both engines", "no valid round"]
