"""Where metrics that moved together point, from the judge's own intervals."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "report"))

from examples import case, comparison, verdict

from perfgate.moved import Move, elsewhere, move_of, readings
from perfgate.verdict import MetricVerdict, Verdict


def _worse(case_id: str, metric: str) -> MetricVerdict:
    return verdict(case_id, metric, Verdict.REGRESSED, change=0.2, low=0.15, high=0.25)


def _steady(case_id: str, metric: str) -> MetricVerdict:
    return verdict(case_id, metric, Verdict.OK, change=0.0, low=-0.01, high=0.01)


def test_an_interval_beyond_the_margin_is_a_move_though_the_verdict_is_open() -> None:
    assert move_of(verdict("c", "itl_p50", Verdict.INCONCLUSIVE, low=0.03, high=0.2)) is Move.WORSE
    assert move_of(verdict("c", "itl_p50", Verdict.INCONCLUSIVE, low=-0.01, high=0.2)) is Move.UNCLEAR


@pytest.mark.parametrize(
    ("worse", "steady", "words"),
    [
        (["ttft_p50"], ["itl_p50"], "prefill"),
        (["itl_p50"], ["ttft_p50"], "decode steps, not prefill"),
        (["ttft_p50", "itl_p50"], [], "rather than one phase"),
        (["output_tokens_per_s"], ["ttft_p50", "itl_p50"], "batching or scheduling"),
        (["itl_p50"], ["device_decode_step_p50"], "the host launches"),
        (["device_decode_step_p50"], [], "kernels, clocks"),
    ],
)
def test_metrics_point_to_a_part(worse: list[str], steady: list[str], words: str) -> None:
    metrics = [*(_worse("c", name) for name in worse), *(_steady("c", name) for name in steady)]

    assert any(words in reading for reading in readings(metrics))


def test_nothing_is_read_from_what_is_unclear() -> None:
    unclear = verdict("c", "itl_p50", Verdict.INCONCLUSIVE, low=-0.1, high=0.1)

    assert readings([_worse("c", "ttft_p50"), unclear]) == ()


def test_a_move_of_all_engines_points_to_the_machine() -> None:
    made = comparison(*(case(f"{engine}-b1", _worse(f"{engine}-b1", "itl_p50")) for engine in ("a", "b", "c")))

    (line,) = elsewhere(made, made.metrics[0])

    assert "2 of 2: look at what all share" in line


def test_a_move_of_one_engine_is_its_own() -> None:
    made = comparison(case("a-b1", _worse("a-b1", "itl_p50")), case("b-b1", _steady("b-b1", "itl_p50")))

    assert elsewhere(made, made.metrics[0])[-1].endswith("0 of 1: it is this engine's own")
