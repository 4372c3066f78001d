"""How near the cases of a run came: shares in rounds, distances of runs, and the words of their table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfgate.distances import nearness, with_shares
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side, decode, encode
from perfgate.report.limits import told
from perfgate.roofline import Bound, Demand, Limits, Work
from test_roofline import CEILINGS, DEMAND

VALUES = {"itl_p50": 0.0125, "ttft_p50": 0.4}


def limits(demand: Demand = DEMAND) -> Limits:
    return Limits(CEILINGS, {"e-b1": demand})


def measured(*values: dict[str, float], demand: Demand = DEMAND) -> Run:
    rounds = [Round("e", Side.CANDIDATE, index, "", 1.0, (CaseRound("e-b1", one),)) for index, one in enumerate(values)]
    known = limits(demand)
    info = CaseInfo("e-b1", "e", "latency", "00")
    return Run(
        "s",
        "",
        Environment("sm_90/x", "X", {}, ""),
        (info,),
        (),
        tuple(with_shares(one, known) for one in rounds),
        limits=known,
    )


def test_a_round_gets_its_shares() -> None:
    values = measured(VALUES).rounds[0].cases[0].values

    assert values["mbu_decode"] == pytest.approx(0.8)
    assert values["mfu_prefill"] == pytest.approx(0.25)


def test_a_faulty_case_and_a_run_without_limits_get_none() -> None:
    broken = Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-b1", VALUES, faults=("broken",)),))

    assert with_shares(broken, limits()) == broken
    assert with_shares(broken, None) is broken


def test_a_run_with_limits_survives_json_and_one_without_reads_as_before() -> None:
    run = measured(VALUES)

    assert decode(encode(run), Run, "here") == run
    assert decode(encode(replace(run, limits=None)).replace(b',"limits":null', b""), Run, "here").limits is None


def test_a_case_is_told_by_the_geometric_mean_of_its_rounds() -> None:
    (found,) = nearness(measured({"itl_p50": 0.01}, {"itl_p50": 0.0225}), limits())

    assert found.decode.share == pytest.approx(10 / 15)
    assert found.decode.bound is Bound.MEMORY
    assert found.prefill.share is None
    assert found.prefill.notes == ("not known: no valid round",)


def test_rows_say_share_bound_and_times_the_least() -> None:
    section = told(measured(VALUES))

    assert section is not None
    assert section.rows == (("e-b1", "80.0 %", "memory", "1.25", "25.0 %", "overhead", "4"),)
    assert "copies: 1000 GB/s (900 to 1100 in 10 timings), bytes read and written" in section.ceilings


@pytest.mark.parametrize(
    ("demand", "cells", "said"),
    [
        (
            replace(DEMAND, decode=Work(4e7, 1e7)),
            (),
            "decode: weights fit in the cache (50.0 MB)",
        ),
        (replace(DEMAND, decode=Work(2e10, 1e7)), ("160.0 %",), "decode: more than copies reach"),
        (replace(DEMAND, prefill=Work(1e10, 6e13)), ("150.0 %",), "prefill: more than the measured bf16 rate"),
        (replace(DEMAND, is_queued=True), (">= 25.0 %",), "prefill: prompts wait for steps of other requests"),
        (replace(DEMAND, rates=("fp8",)), ("-",), "prefill: not known: no fp8 matrix rate was measured"),
        (Demand(("bf16",), untold={"decode": "not known for this architecture (x)"}), ("-",), "architecture (x)"),
        (replace(DEMAND, is_speculative=True), ("-",), "does not tell how many tokens a step gave"),
    ],
    ids=["in the cache", "above the limit", "above the rate", "queued", "no rate", "architecture", "speculation"],
)
def test_what_a_share_cannot_say_is_said_in_words(demand: Demand, cells: tuple[str, ...], said: str) -> None:
    section = told(measured(VALUES, demand=demand))

    assert section is not None
    assert set(cells) <= set(section.rows[0])
    assert any(said in note and note.endswith("(e-b1)") for note in section.notes)


def test_mbu_is_of_the_device_s_own_step_where_a_run_has_it_and_the_rest_of_the_wall_clock() -> None:
    run = measured({**VALUES, "itl_p50": 0.04, "device_decode_step_p50": 0.0125})

    (found,) = nearness(run, limits())
    section = told(run)

    assert run.rounds[0].cases[0].values["mbu_decode"] == pytest.approx(0.8)
    assert found.decode.share == pytest.approx(0.8)
    assert found.decode.distance is not None
    assert found.decode.distance.times == pytest.approx(4.0)
    assert found.decode.bound is Bound.NEITHER
    assert section is not None
    assert any("the device's own step (device_decode_step_p50)" in note for note in section.notes)


def test_a_speculating_engine_whose_device_step_is_known_needs_no_acceptance_for_its_mbu() -> None:
    run = measured({"device_decode_step_p50": 0.0125}, demand=replace(DEMAND, is_speculative=True))

    (found,) = nearness(run, limits(replace(DEMAND, is_speculative=True)))

    assert found.decode.share == pytest.approx(0.8)
    assert found.decode.distance is None


def test_a_run_without_device_times_says_nothing_of_them() -> None:
    section = told(measured(VALUES))

    assert section is not None
    assert section.notes == ()
