"""Explanations say what the judge found, with its numbers, and agree with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.calibration import MetricNoise
from perfgate.cli import main
from perfgate.comparison import compare
from perfgate.errors import UsageError
from perfgate.explain import Explanation, explain
from perfgate.explain_cli import lines
from perfgate.metrics import CATALOGUE
from perfgate.recall import Past
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side, encode_pretty, write_atomic
from perfgate.rejudge import Rejudged
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Gate, Noise, Pairing
from perfgate.verdict import Verdict

CASE = CaseInfo("fp32-b1", "fp32", "latency", "h1")
SUITE = """
schema: 1
suite: s
defaults: {engine: {model: model}}
engines: {fp32: {}}
workloads: {b1: {kind: latency, prompts: texts.jsonl}}
gate: {metrics: {itl_p50: {}}}
"""
GATE = Gate(
    tuple(CATALOGUE[name].with_limits(0.05, 0.20) for name in ("ttft_p50", "itl_p50")),
    Noise(0.02, 0.005, 0.02),
    pairing=Pairing.INTERLEAVED,
)


def _judged(slowdown: float, pairs: int = 4) -> Rejudged:
    rounds: list[Round] = []
    for _ in range(pairs):
        for side in (Side.BASELINE, Side.CANDIDATE):
            times = slowdown if side is Side.CANDIDATE else 1.0
            values = {"ttft_p50": 0.1, "itl_p50": 0.01 * times}
            rounds.append(
                Round("fp32", side, len(rounds), "2026-02-02T10:00:00+00:00", 1.0, (CaseRound(CASE.id, values),))
            )
    rounds.append(Round("fp32", Side.CANDIDATE, 99, "2026-02-02T10:01:00+00:00", 1.0, (), fault="the machine was busy"))
    run = Run("s", "2026-02-02T10:00:00+00:00", Environment("cpu/x", "a CPU", {"fake": "2.0"}, "bbb"), (CASE,), (),
              tuple(rounds), ("fp32",))  # fmt: skip
    stored = {"ttft_p50": Series("s", ((0.1, 0.101, 0.099),)), "itl_p50": Series("s", ((0.01, 0.0101, 0.0099),))}
    made = Provenance("2026-01-01T00:00:00+00:00", "first", "a CPU", {"fake": "1.0"}, "aaa")
    baseline = Path("b.json"), Baseline("s", "cpu/x", made, {CASE.id: BaselineCase("h1", "key", stored)})
    suite = Suite("s", Path("s.yaml"), (), GATE, tuple(DEFAULT_POLICIES.items()))
    return Rejudged(run, compare(run, suite, baseline, "ci"), suite, baseline, Past())


def _text(found: Explanation) -> str:
    return "\n".join(lines(found, 200))


def test_a_regression_is_explained_with_the_numbers_of_the_verdict() -> None:
    judged = _judged(1.5)

    found = explain(judged, "fp32-b1")

    (verdict,) = [one for one in judged.comparison.metrics if one.metric == "itl_p50"]
    text = _text(found)
    assert found.verdict is verdict
    assert verdict.verdict is Verdict.REGRESSED
    assert f"red needs {verdict.needed_evidence:,.0f} to 1" in text
    assert "50.0 % worse" in text
    assert "as a log-ratio +0.4055" in text
    assert "decoding is worse and TTFT is not" in text
    assert "fake: 1.0 -> 2.0" in text
    assert "commit: aaa -> bbb" in text


def test_every_round_stands_there_and_what_does_not_count_has_its_reason() -> None:
    text = _text(explain(_judged(1.0), "fp32-b1", "ttft_p50"))

    assert sum("100.0 ms" in line and line.startswith("  round") for line in text.splitlines()) == 8
    assert "does not count: the machine was busy" in text
    assert "accepted session 1: 100.0 ms, 101.0 ms, 99.00 ms" in text


def test_one_round_is_not_enough_and_that_is_said() -> None:
    text = _text(explain(_judged(1.1, pairs=1), "fp32-b1", "itl_p50"))

    assert "a single round cannot show a worsening" in text
    assert "leave --perfgate-rounds to the suite" in text


def test_a_calibration_is_told_where_there_is_one() -> None:
    noise = {("fp32-b1", "itl_p50"): MetricNoise("h1", Pairing.INTERLEAVED, (), 0.04, 9.0, 0.013, 9.0)}

    assert "calibrated here: pairs differ by 1.3 %, rounds by 4.0 %" in _text(
        explain(_judged(1.0), "fp32-b1", "itl_p50", noise)
    )


def test_the_command_reads_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic(tmp_path / "perfgate-out" / "run.json", encode_pretty(_judged(1.0).run))
    (tmp_path / "suite.yaml").write_text(SUITE)

    assert main(["explain", "fp32-b1"]) == 0
    assert "no-baseline: no baseline for this case on this device" in capsys.readouterr().out
    assert main(["explain", "fp32-b"]) == 4
    assert "did you mean 'fp32-b1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("case", "metric", "words"),
    [("fp32-b", None, "it has fp32-b1; did you mean 'fp32-b1'?"), ("fp32-b1", "itl_p5", "did you mean 'itl_p50'")],
)
def test_a_mistyped_name_gets_the_nearest(case: str, metric: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explain(_judged(1.0), case, metric)
