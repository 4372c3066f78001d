from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.accepting import accept, record_missing
from perfgate.baselines import Baseline, baseline_path, load_baseline
from perfgate.errors import BaselineError
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.verdict import MetricVerdict, Verdict

DEVICE = "cpu/x86_64-avx2"

RUN = Run(
    "small",
    "2026-01-14T08:00:00+00:00",
    Environment(DEVICE, "A CPU", {"fake": "1.0"}, "0b1c2d3"),
    (CaseInfo("e-chat", "e", "latency", "00ff"), CaseInfo("e-text", "e", "perplexity", "00ee")),
    (PreparedInfo("e", "k1", False, {}, 10, {}),),
    (
        Round(
            "e",
            Side.CANDIDATE,
            0,
            "",
            1.0,
            (CaseRound("e-chat", {"ttft_p50": 0.02}), CaseRound("e-text", {"perplexity": 28.0})),
        ),
    ),
)
PLANTED = replace(RUN, environment=replace(RUN.environment, inject={"decode": 1.25}))


def test_an_accepted_run_is_the_baseline(tmp_path: Path) -> None:
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    said = accept(RUN, verdicts, tmp_path, "first run")

    stored = _stored(tmp_path)
    assert said == f"accepted this run as the baseline in {tmp_path}/{DEVICE}/small.json: review and commit it"
    assert set(stored.cases) == {"e-chat", "e-text"}
    assert stored.provenance.reason == "first run"
    assert stored.provenance.product == "A CPU"
    assert stored.provenance.versions == {"fake": "1.0"}
    assert stored.provenance.commit == "0b1c2d3"


def test_accepting_again_adds_a_session(tmp_path: Path) -> None:
    accept(RUN, [], tmp_path, "first run")

    accept(RUN, [], tmp_path, "another day")

    stored = _stored(tmp_path)
    assert stored.cases["e-chat"].metrics["ttft_p50"].sessions == ((0.02,), (0.02,))
    assert stored.provenance.reason == "another day"


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE, Verdict.NO_BASELINE])
def test_a_known_change_of_speed_can_be_accepted(tmp_path: Path, verdict: Verdict) -> None:
    accept(RUN, [_verdict("e-chat", "ttft_p50", verdict)], tmp_path, "safer kernels")

    assert "e-chat" in _stored(tmp_path).cases


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        ("ttft_p50", Verdict.INVALID),
        ("perplexity", Verdict.INVALID),
        ("perplexity", Verdict.REGRESSED),
        ("bits_per_byte", Verdict.REGRESSED),
    ],
)
def test_an_invalid_or_dumber_run_is_refused(tmp_path: Path, metric: str, verdict: Verdict) -> None:
    verdicts = [_verdict("e-chat", "tpot_p50", Verdict.OK), _verdict("e-text", metric, verdict)]

    with pytest.raises(BaselineError, match=f"not accepted: e-text {metric} is {verdict}: the reason"):
        accept(RUN, verdicts, tmp_path, "please")

    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_leaves_the_baseline_as_it_was(tmp_path: Path) -> None:
    accept(RUN, [], tmp_path, "first run")
    before = baseline_path(tmp_path, DEVICE, "small").read_bytes()

    with pytest.raises(BaselineError):
        accept(RUN, [_verdict("e-text", "perplexity", Verdict.REGRESSED)], tmp_path, "please")

    assert baseline_path(tmp_path, DEVICE, "small").read_bytes() == before


def test_a_planted_regression_is_never_accepted(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="can never be a baseline"):
        accept(PLANTED, [_verdict("e-chat", "ttft_p50", Verdict.OK)], tmp_path, "please")

    assert list(tmp_path.iterdir()) == []


def test_a_run_without_valid_rounds_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="no valid round"):
        accept(replace(RUN, rounds=()), [], tmp_path, "please")

    assert list(tmp_path.iterdir()) == []


def test_what_has_no_baseline_is_recorded(tmp_path: Path) -> None:
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    said = record_missing(RUN, verdicts, tmp_path, None)

    stored = _stored(tmp_path)
    assert said == f"recorded 1 cases in {tmp_path}/{DEVICE}/small.json, nothing judged yet: run again"
    assert set(stored.cases) == {"e-chat"}
    assert stored.provenance.reason == "first run on this machine"


def test_recording_keeps_the_cases_that_are_known(tmp_path: Path) -> None:
    accept(replace(RUN, cases=RUN.cases[1:]), [], tmp_path, "first run")
    before = _stored(tmp_path)

    record_missing(RUN, [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE)], tmp_path, before)

    stored = _stored(tmp_path)
    assert stored.cases["e-text"] == before.cases["e-text"]
    assert set(stored.cases) == {"e-chat", "e-text"}


def test_recording_adds_no_session_to_a_case_that_is_known(tmp_path: Path) -> None:
    accept(RUN, [], tmp_path, "first run")
    before = _stored(tmp_path)
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    record_missing(RUN, verdicts, tmp_path, before)

    assert _stored(tmp_path).cases["e-text"] == before.cases["e-text"]


def test_a_planted_regression_is_never_recorded(tmp_path: Path) -> None:
    said = record_missing(PLANTED, [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE)], tmp_path, None)

    assert said == "no baseline was recorded: a regression is planted in this run"
    assert list(tmp_path.iterdir()) == []


def _verdict(case: str, metric: str, verdict: Verdict) -> MetricVerdict:
    known = CATALOGUE[metric]
    return MetricVerdict(case, metric, verdict, "the reason", known.unit, known.better, known.margin, known.detect)


def _stored(root: Path) -> Baseline:
    return load_baseline(baseline_path(root, DEVICE, "small"), DEVICE, "small")
