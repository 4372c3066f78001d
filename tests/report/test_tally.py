"""What was skipped or does not count is told by name and with its reason, in every face of a gate."""

from __future__ import annotations

from dataclasses import replace

from examples import LOST, case, comparison, run, verdict

from perfgate.fault_kinds import ProcessFault
from perfgate.record import Side
from perfgate.report.html import render_html
from perfgate.report.markdown import escaped, render_markdown
from perfgate.report.tally import MOST_REASONS, counted, tallies
from perfgate.report.text import table
from perfgate.verdict import Verdict


def test_every_face_names_what_does_not_count_and_why() -> None:
    made = comparison()
    case_lost = "24 samples a round, ttft_p99 needs 662: raise `requests`"
    html = render_html(run(made), made)

    text = table(made, verbose=False, width=160, colour=False)
    summary = render_markdown(made)

    for names, why in (("int4-batch", case_lost), ("round 3 of int4", LOST.why)):
        assert f"invalid  {names}: {why}" in text
        assert f"- invalid {escaped(names)}: {escaped(why)}" in summary
        assert f"<li>invalid: {names}: {why}</li>" in html
    assert f"{counted(made)}." in summary
    assert counted(made) in html


def test_alike_faults_stand_in_one_line_that_names_a_few() -> None:
    busy = replace(LOST, kind=ProcessFault.DISTURBED, why="others took 90 % of the CPU")
    rounds = [replace(busy, index=at, why=f"others took {90 + at} % of the CPU") for at in range(7)]

    (one,) = tallies(comparison(case("c", verdict("c", "itl_p50")), uncounted=tuple(rounds)))

    assert one.names == "round 0 of int4, round 1 of int4, round 2 of int4 and 4 more"
    assert one.why == "others took 90 % of the CPU"


def test_a_case_stands_with_the_rounds_that_it_lost() -> None:
    lost = replace(LOST, kind=ProcessFault.KILLED, side=Side.BASELINE, case="c")
    mine = replace(case("c", verdict("c", "itl_p50", Verdict.INVALID)), faults={ProcessFault.KILLED: 1})

    assert [one.names for one in tallies(comparison(mine, uncounted=(lost,)))] == ["c, round 3 of int4, baseline, c"]


def test_many_reasons_are_cut_and_counted() -> None:
    rounds = [replace(LOST, index=at, why=f"fault {at}") for at in range(MOST_REASONS + 2)]

    *_, last = tallies(comparison(case("c", verdict("c", "itl_p50")), uncounted=tuple(rounds)))

    assert (last.names, last.why) == ("more", "for 2 other reasons, see report.html")


def test_a_round_is_counted_once_whatever_it_lost() -> None:
    both = (replace(LOST, case="int4-chat"), replace(LOST, case="int4-batch"))

    assert "24 rounds, 1 invalid, 3 min 12 s" in counted(comparison(uncounted=both))
    assert counted(comparison(case("c", verdict("c", "itl_p50")), uncounted=())) == (
        "measured 1 of 1 case; 24 rounds, 3 min 12 s"
    )


def test_what_was_recorded_takes_a_line_a_case_and_no_row_a_metric() -> None:
    names = ("ttft_p50", "tpot_p50", "itl_p50", "e2el_p50")
    first = case("one", *(verdict("one", name, Verdict.NO_BASELINE, candidate=0.0125, baseline=None) for name in names))
    made = comparison(first)

    brief, whole = (table(made, verbose=verbose, width=120, colour=False) for verbose in (False, True))
    summary = render_markdown(made)

    assert "recorded  one: ttft_p50 12.50 ms, tpot_p50 12.50 ms, itl_p50 12.50 ms and 1 more" in brief
    assert "verdict" not in brief
    assert whole.splitlines()[4].split()[:2] == ["one", "e2el_p50"]
    assert f"- recorded {escaped('one: ttft_p50 12.50 ms')}" in summary
    assert summary.count("| one |") == len(names)  # in the folded table of all metrics
