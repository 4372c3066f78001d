from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import WorkKind
from perfgate.metrics import CATALOGUE, Better, Kind, Metric, Unit, needed_samples

LATENCY = Metric("ttft", Unit.SECONDS, Better.LOWER, Kind.NOISY, 0.02, 0.05, "")
RATE = Metric("rate", Unit.TOKENS_PER_S, Better.HIGHER, Kind.NOISY, 0.02, 0.05, "")

POSITIVE = st.floats(1e-9, 1e12)
RATIOS = st.floats(1.001, 1000)


def test_the_catalogue_goes_by_the_metrics_own_names() -> None:
    assert [metric.name for metric in CATALOGUE.values()] == list(CATALOGUE)


def test_every_metric_says_what_it_is() -> None:
    assert [metric.name for metric in CATALOGUE.values() if not metric.doc.strip()] == []


def test_no_metric_promises_to_find_what_it_tolerates() -> None:
    assert [metric.name for metric in CATALOGUE.values() if not 0 <= metric.margin <= metric.detect] == []


def test_a_noisy_metric_leaves_room_between_margin_and_detect() -> None:
    noisy = [metric for metric in CATALOGUE.values() if metric.kind is Kind.NOISY]

    assert [metric.name for metric in noisy if metric.detect <= metric.margin] == []


def test_every_metric_belongs_to_a_kind_of_workload() -> None:
    assert {kind for metric in CATALOGUE.values() for kind in metric.works} == {kind.value for kind in WorkKind}


@pytest.mark.parametrize("unit", [Unit.TOKENS_PER_S, Unit.REQUESTS_PER_S])
def test_more_throughput_is_better(unit: Unit) -> None:
    found = [metric for metric in CATALOGUE.values() if metric.unit is unit]

    assert found
    assert {metric.better for metric in found} == {Better.HIGHER}


@pytest.mark.parametrize("unit", [Unit.SECONDS, Unit.BYTES, Unit.JOULES_PER_TOKEN, Unit.RATIO, Unit.BITS_PER_BYTE])
def test_less_time_memory_energy_and_perplexity_is_better(unit: Unit) -> None:
    upward = {"device_busy_share", "gpu_utilization"}
    found = [metric for metric in CATALOGUE.values() if metric.unit is unit and metric.name not in upward]

    assert found
    assert {metric.better for metric in found} == {Better.LOWER}


def test_longer_accepted_drafts_are_better() -> None:
    assert CATALOGUE["acceptance_len"].better is Better.HIGHER


@pytest.mark.parametrize("stem", ["ttft", "tpot", "itl", "e2el"])
@pytest.mark.parametrize("end", ["mean", "p10", "p50", "p90", "p95", "p99"])
def test_each_latency_has_its_mean_and_percentiles(stem: str, end: str) -> None:
    metric = CATALOGUE[f"{stem}_{end}"]

    assert (metric.unit, metric.better, metric.kind) == (Unit.SECONDS, Better.LOWER, Kind.NOISY)


@pytest.mark.parametrize("name", ["perplexity", "bits_per_byte"])
def test_scores_of_text_are_judged_in_pairs(name: str) -> None:
    assert (CATALOGUE[name].kind, CATALOGUE[name].works) == (Kind.PAIRED, ("perplexity",))


def test_only_what_a_machine_may_lack_is_optional() -> None:
    optional = {metric.name for metric in CATALOGUE.values() if metric.is_optional}

    assert optional == {
        *("energy_j_per_token", "acceptance_len", "build_s", "goodput_per_s", "peak_gpu_memory_bytes"),
        *("device_prefill_p50", "device_decode_step_p50", "device_busy_share"),
        *("gpu_energy_j_per_token", "gpu_power_mean_w", "gpu_utilization"),
        *("top1_agreement", "kl_divergence"),
        *("mbu_decode", "mfu_prefill"),
    }


def test_a_longer_latency_is_worse() -> None:
    assert LATENCY.worse_by(0.100, 0.105) == pytest.approx(0.05)
    assert LATENCY.worse_by(0.100, 0.050) == pytest.approx(-0.5)


def test_a_throughput_drop_is_worse() -> None:
    assert RATE.worse_by(105.0, 100.0) == pytest.approx(0.05)
    assert RATE.worse_by(100.0, 200.0) == pytest.approx(-0.5)


@given(POSITIVE, RATIOS)
def test_worse_is_positive_in_either_direction(baseline: float, ratio: float) -> None:
    assert LATENCY.worse_by(baseline, baseline * ratio) == pytest.approx(ratio - 1, rel=1e-6)
    assert RATE.worse_by(baseline, baseline / ratio) == pytest.approx(ratio - 1, rel=1e-6)


@given(POSITIVE, RATIOS)
def test_better_is_negative_in_either_direction(baseline: float, ratio: float) -> None:
    assert LATENCY.worse_by(baseline, baseline / ratio) < 0
    assert RATE.worse_by(baseline, baseline * ratio) < 0


@given(POSITIVE, POSITIVE)
def test_a_rate_is_as_much_worse_as_its_reciprocal_latency(baseline: float, candidate: float) -> None:
    change = LATENCY.worse_by(1 / baseline, 1 / candidate)

    assert RATE.worse_by(baseline, candidate) == pytest.approx(change, rel=1e-9, abs=1e-9)


@given(POSITIVE)
def test_no_change_is_neither_better_nor_worse(value: float) -> None:
    assert LATENCY.worse_by(value, value) == 0
    assert RATE.worse_by(value, value) == 0


@given(POSITIVE, POSITIVE, st.floats(1e-6, 1e6))
def test_the_unit_does_not_matter_to_a_change(baseline: float, candidate: float, scale: float) -> None:
    changed = LATENCY.worse_by(baseline * scale, candidate * scale)

    assert changed == pytest.approx(LATENCY.worse_by(baseline, candidate), rel=1e-6, abs=1e-9)


def test_limits_of_a_suite_replace_only_what_they_name() -> None:
    assert LATENCY.with_limits(None, None) == LATENCY
    assert LATENCY.with_limits(0.04, None).margin == 0.04
    assert LATENCY.with_limits(0.04, None).detect == LATENCY.detect
    assert LATENCY.with_limits(0.0, 0.5).margin == 0.0
    assert LATENCY.with_limits(0.0, 0.5).detect == 0.5


@pytest.mark.parametrize(("name", "share"), [("ttft_p90", 0.90), ("itl_p95", 0.95), ("tpot_p99", 0.99)])
def test_a_percentile_needs_the_samples_that_its_formula_asks_for(name: str, share: float) -> None:
    assert needed_samples(name) == math.ceil(math.log(0.0013) / math.log(share))


def test_the_tenth_percentile_mirrors_the_ninetieth() -> None:
    assert needed_samples("itl_p10") == needed_samples("itl_p90")


@pytest.mark.parametrize("name", ["ttft_mean", "ttft_p50", "load_s", "perplexity", "output_tokens"])
def test_other_metrics_need_one_sample(name: str) -> None:
    assert needed_samples(name) == 1
