"""From simulated rounds of an engine against itself to figures, words and the noise model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from perfgate.boundness import Bound
from perfgate.calibration import (
    Calibration,
    Outcome,
    load_noise,
    noise_path,
    save_noise,
    write_calibration,
)
from perfgate.calibration_figures import choices, lever_figures, metric_figures, noisy_metrics
from perfgate.calibration_page import markdown, suite_block, text
from perfgate.case import Case, EngineSpec, LatencyWork
from perfgate.device import Device
from perfgate.errors import RecordError
from perfgate.floats import Floats
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side, read_record
from perfgate.suite import load_suite
from perfgate.terms import Gate, Pairing

DEVICE = Device("cpu/x", "A CPU")
CASE = Case(EngineSpec("e", Path("m")), LatencyWork("b1", Path("p.jsonl")))
METRICS = tuple(CATALOGUE[name].with_limits(0.02, 0.05) for name in ("itl_mean", "output_tokens_per_s"))
GATE = Gate(METRICS, pairing=Pairing.INTERLEAVED)


def _run(noise: float, pairs: int = 6, level: float = 0.01, seed: int = 29, calm: float = 0.1) -> Run:
    """Rounds whose means scatter by `noise` and whose tenth percentiles by `calm` times that."""
    rng, rounds = np.random.default_rng(seed), list[Round]()
    for number in range(2 * pairs):
        side = Side.CANDIDATE if number % 4 in (0, 3) else Side.BASELINE
        luck = noise * float(rng.standard_normal())
        values = {"itl_mean": level * math.exp(luck), "itl_p10": level * math.exp(calm * luck), "output_tokens": 9.0}
        values["output_tokens_per_s"] = math.exp(-luck) / level
        samples = {"itl": Floats(level * np.exp(luck + 0.1 * rng.standard_normal(64)))}
        rounds.append(Round("e", side, number, "", 1.0, (CaseRound(CASE.id, values, samples),)))
    info = CaseInfo(CASE.id, "e", "latency", CASE.hash)
    return Run("s", "2026-01-02T03:04:05+00:00", Environment(DEVICE.key, "A CPU", {}, ""), (info,), (), tuple(rounds))


def _found(runs: list[Run], gate: Gate = GATE, changed: Run | None = None) -> Calibration:
    levers = (lever_figures("pin", "pinned to cores 2-3", changed, runs[0], [CASE], gate),) if changed else ()
    return Calibration(
        "s", runs[0].started, 60.0, runs[0].environment, Pairing.INTERLEAVED, len(runs), 6, 2, {"e": 10.0},
        {CASE.id: CASE.hash}, tuple(metric_figures(runs, [CASE], gate, DEVICE, {})),
        tuple(choices(runs, [CASE], gate)), levers,
    )  # fmt: skip


# ------------------------------------------------------------------ figures


@pytest.mark.parametrize(("metric", "bound"), [("itl_mean", Bound.HOST), ("ttft_mean", Bound.UNKNOWN)])
def test_metrics_of_decoding_are_bound_by_the_share_that_the_engine_tells(metric: str, bound: Bound) -> None:
    rounds = _run(0.01).rounds
    told = [replace(one.cases[0], values={metric: one.cases[0].values["itl_mean"], "device_busy_share": 0.3})
            for one in rounds]  # fmt: skip
    run = replace(_run(0.01), rounds=tuple(replace(one, cases=(case,)) for one, case in zip(rounds, told, strict=True)))

    found = metric_figures([run], [CASE], GATE, Device("sm_90/h200-141gb", "H200"), {})

    assert {one.metric: one.waits.bound for one in found}[metric] is bound


def test_only_metrics_with_noise_are_calibrated() -> None:
    assert noisy_metrics([_run(0.01)], CASE.id) == ["itl_mean", "itl_p10", "output_tokens_per_s"]


def test_spreads_are_those_of_the_rounds_whatever_the_direction() -> None:
    mean, p10, rate = metric_figures([_run(0.03, pairs=200)], [CASE], GATE, DEVICE, {})

    assert mean.rounds is not None
    assert mean.pairs is not None
    assert rate.pairs is not None
    assert mean.rounds.sd == pytest.approx(0.03, rel=0.15)
    assert mean.pairs.sd == pytest.approx(0.03 * math.sqrt(2), rel=0.15)
    assert rate.pairs.sd == pytest.approx(mean.pairs.sd)
    assert (mean.is_gated, p10.is_gated, rate.is_gated) == (True, False, True)


def test_sessions_come_from_history_and_from_the_calibration() -> None:
    stored = {(CASE.id, "itl_mean"): ((0.02, 0.02), (0.005, 0.005))}

    alone = metric_figures([_run(0.001)], [CASE], GATE, DEVICE, {})[0]
    known = metric_figures([_run(0.001)], [CASE], GATE, DEVICE, stored)[0]

    assert alone.sessions is None
    assert known.session_count == 3
    assert known.sessions is not None
    assert known.sessions.sd == pytest.approx(math.log(2), rel=0.01)


def test_rounds_on_two_levels_are_named() -> None:
    run = _run(0.002, pairs=12)
    slow = [i % 5 in (1, 2) for i in range(24)]
    moved = [
        replace(one, cases=(replace(one.cases[0], values={"itl_mean": one.cases[0].values["itl_mean"] * 1.2}),))
        if is_slow
        else one
        for one, is_slow in zip(run.rounds, slow, strict=True)
    ]

    found = metric_figures([replace(run, rounds=tuple(moved))], [CASE], GATE, DEVICE, {})[0]

    assert found.shape.startswith("two levels 20 % apart")


def test_faulty_rounds_do_not_count() -> None:
    run = _run(0.01)
    broken = replace(run, rounds=(replace(run.rounds[0], fault="crashed"), *run.rounds[1:]))

    found = metric_figures([broken], [CASE], GATE, DEVICE, {})[0]

    assert found.pairs is not None
    assert found.pairs.df == 5


# -------------------------------------------------------------------- words


def test_the_least_noisy_summary_is_recommended_where_it_is_clear() -> None:
    told = text(_found([_run(0.04)]), GATE, 400)

    assert "Gate on itl_p10 rather than itl_mean" in told


def test_summaries_that_scatter_alike_are_not_played_off_against_each_other() -> None:
    told = text(_found([_run(0.04, calm=1.0)]), GATE, 400)

    assert "Gate on" not in told


def test_a_lever_that_quiets_helps_and_one_that_does_nothing_is_not_said_to() -> None:
    quiet, same, loud = (_found([_run(0.04)], changed=_run(noise, seed=33)).levers[0] for noise in (0.004, 0.04, 0.4))

    assert quiet.outcome("itl_mean") is Outcome.HELPED
    assert same.outcome("itl_mean") is Outcome.NONE
    assert loud.outcome("itl_mean") is Outcome.WORSE
    assert quiet.outcome("itl_p99") is Outcome.UNKNOWN


def test_helpful_cores_are_put_into_the_suite_block_unless_they_cost_speed() -> None:
    helped = _found([_run(0.04)], changed=_run(0.004, seed=31))
    slower = _found([_run(0.04)], changed=_run(0.004, seed=31, level=0.02))

    assert "  cpus: [2, 3]" in suite_block(helped, GATE)
    assert "cpus" not in suite_block(slower, GATE)
    assert "But it makes figures worse" in text(slower, GATE, 400)


def test_levers_of_an_unchanged_engine_seldom_help() -> None:
    outcomes = [
        lever_figures("pin", "", _run(0.03, seed=seed), _run(0.03, seed=seed + 500), [CASE], GATE).outcome("itl_mean")
        for seed in range(200)
    ]

    assert outcomes.count(Outcome.HELPED) / 200 == pytest.approx(0.05, abs=0.04)


def test_the_suite_block_is_a_suite_that_loads_with_limits_the_machine_can_keep(tmp_path: Path) -> None:
    found = _found([_run(0.04)], changed=_run(0.004, seed=31))
    head = "schema: 1\nsuite: s\nengines: {e: {model: m}}\nworkloads: {b1: {kind: latency, prompts: p}}\n"
    (tmp_path / "s.yaml").write_text(head + suite_block(found, GATE))

    gate = load_suite(tmp_path / "s.yaml").gate

    assert gate.cpus == (2, 3)
    assert gate.noise.pair_sd == pytest.approx(found.gated[0].pairs.sd, rel=0.1) if found.gated[0].pairs else False
    assert gate.metric("itl_mean").detect > 0.05  # what the suite asks for is out of reach with 12 pairs
    assert "it would stay inconclusive" in text(found, replace(GATE, most_rounds=6), 400)


def test_markdown_has_every_section_and_its_tables_are_regular() -> None:
    page = markdown(_found([_run(0.04)], changed=_run(0.04, seed=31)), GATE)

    assert page.count("\n## ") >= 6
    for block in page.split("\n\n"):
        rows = [line.count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1


def test_a_metric_that_never_varies_is_told_without_a_fault() -> None:
    run = _run(0.0)
    flat = [
        replace(one, cases=(CaseRound(CASE.id, {"itl_mean": 0.01}, {"itl": Floats([0.01] * 64)}),))
        for one in run.rounds
    ]

    told = text(_found([replace(run, rounds=tuple(flat))], changed=replace(run, rounds=tuple(flat))), GATE, 100)

    assert "pair_sd: 0.1%" in told
    assert "no noise to compare" in told


# -------------------------------------------------------------- noise model


def test_the_noise_model_says_what_was_measured(tmp_path: Path) -> None:
    found = _found([_run(0.03)])

    path = save_noise(found, tmp_path)
    noise = load_noise(tmp_path, DEVICE.key, "s")

    assert path == noise_path(tmp_path, "cpu/x", "s") == tmp_path / "noise" / "cpu" / "x" / "s.json"
    mine, one = noise[CASE.id, "itl_mean"], found.metrics[0]
    assert one.rounds is not None
    assert one.pairs is not None
    assert (mine.round_sd, mine.round_df, mine.pair_sd, mine.pair_df) == (
        one.rounds.sd, one.rounds.df, one.pairs.sd, one.pairs.df,
    )  # fmt: skip
    assert (mine.case_hash, mine.pairing, mine.cpus, mine.session_sd) == (CASE.hash, Pairing.INTERLEAVED, (), None)


def test_another_calibration_keeps_what_is_known_of_other_cases(tmp_path: Path) -> None:
    found = _found([_run(0.03)])
    other = replace(
        found,
        metrics=tuple(replace(one, case="other-b1") for one in found.metrics),
        hashes={"other-b1": "0"},
    )

    save_noise(found, tmp_path)
    save_noise(other, tmp_path)

    assert {case for case, _ in load_noise(tmp_path, DEVICE.key, "s")} == {CASE.id, "other-b1"}


def test_nothing_calibrated_is_no_noise_and_a_damaged_file_is_told(tmp_path: Path) -> None:
    assert load_noise(tmp_path, DEVICE.key, "s") == {}

    path = noise_path(tmp_path, DEVICE.key, "s")
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 99}')

    with pytest.raises(RecordError, match="has schema 99, this perfgate reads 1"):
        load_noise(tmp_path, DEVICE.key, "s")


def test_a_calibration_survives_the_way_to_its_file_and_back(tmp_path: Path) -> None:
    found = _found([_run(0.03), _run(0.03, seed=37)], changed=_run(0.01, seed=31))

    path = write_calibration(found, tmp_path)

    assert read_record(path, Calibration, 1) == found
