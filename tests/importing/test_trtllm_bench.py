from __future__ import annotations

import pytest
from importing_samples import Plain, trtllm_bench
from reading import one

from perfgate.importing.faults import ImportedFileError


def test_totals_are_taken_and_milliseconds_become_seconds() -> None:
    found = one(trtllm_bench())
    values = found.figures.values

    assert values["output_tokens_per_s"] == pytest.approx(6400.0)
    assert values["requests_per_s"] == pytest.approx(50.0)
    assert values["output_tokens"] == 128000
    assert values["e2el_mean"] == pytest.approx(2.0)
    assert values["e2el_p99"] == pytest.approx(3.2)
    assert values["ttft_mean"] == pytest.approx(0.060)
    assert values["ttft_p90"] == pytest.approx(0.078)
    assert values["tpot_p50"] == pytest.approx(0.0147)
    assert not any(name.startswith("itl") for name in values)
    assert found.seconds == pytest.approx(20.0)
    assert found.versions == {"tensorrt_llm": "1.2.1"}
    assert found.faults == ()


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3, 1e6], ids=["s", "ms", "us", "ns"])
def test_the_unit_of_percentiles_is_told_by_their_average(unit: float) -> None:
    assert one(trtllm_bench(percentile_unit=unit)).figures.values["ttft_p90"] == pytest.approx(0.078)


def test_a_unit_that_fits_nothing_is_refused() -> None:
    with pytest.raises(
        ImportedFileError,
        match=r"streaming_metrics\.ttft_percentiles\.average: found 2\.52, expected the mean of 60 ms",
    ):
        one(trtllm_bench(percentile_unit=0.042))


def test_without_streaming_there_is_no_ttft_and_it_is_another_case() -> None:
    plain = trtllm_bench()
    del plain["streaming_metrics"]

    found = one(plain)

    assert not any(name.startswith(("ttft", "tpot")) for name in found.figures.values)
    assert found.setting.hash != one(trtllm_bench()).setting.hash


def test_older_reports_have_no_p90_and_no_requests_percentiles() -> None:
    plain = trtllm_bench()
    del plain["performance"]["request_latency_percentiles_ms"]
    for name in ("ttft_percentiles", "tpot_percentiles"):
        del plain["streaming_metrics"][name]["p90"]

    values = one(plain).figures.values

    assert "ttft_p90" not in values
    assert values["ttft_p95"] == pytest.approx(0.084)
    assert values["e2el_mean"] == pytest.approx(2.0)


def test_speculation_gives_the_acceptance_length() -> None:
    stats = {"mode": "NGram", "acceptance_length_percentiles": {"p50": 2.0, "average": 2.4}}

    assert one(trtllm_bench(decoding_stats=stats)).figures.values["acceptance_len"] == 2.4


def test_the_machine_of_newer_reports_is_the_product() -> None:
    found = one(trtllm_bench(machine={"name": "NVIDIA H200", "memory.total": 139.8, "clocks.mem": 3.2}))

    assert found.product == "NVIDIA H200"
    assert "device key" in found.untold


def test_a_version_is_no_part_of_the_case_but_a_batch_limit_is() -> None:
    other = trtllm_bench()
    other["world_info"]["max_batch_size"] = 256

    assert one(trtllm_bench(version="1.3.0rc20")).setting.hash == one(trtllm_bench()).setting.hash
    assert one(other).setting.hash != one(trtllm_bench()).setting.hash


@pytest.mark.parametrize(
    ("section", "key", "value", "line"),
    [
        ("performance", "system_output_throughput_tok_s", 3200.0,
         "performance.system_output_throughput_tok_s: found 3200, expected 6400: 128000 over total_latency_ms"),
        ("performance", "output_throughput_per_gpu_tok_s", 6400.0,
         "performance.output_throughput_per_gpu_tok_s: found 6400, expected 3200: the system's throughput over 2 GPUs"),
        ("performance", "total_latency_ms", None, "performance.total_latency_ms: found nothing, expected a number"),
        ("request_info", "num_requests", -5, "request_info.num_requests: found -5, expected a finite number of 0 or"),
        ("streaming_metrics", "avg_ttft_ms", float("nan"), "streaming_metrics.avg_ttft_ms: found nan"),
        ("engine", "version", 12, "engine.version: found 12, expected a text"),
    ],
)  # fmt: skip
def test_figures_that_do_not_fit_each_other_are_refused(section: str, key: str, value: object, line: str) -> None:
    plain = trtllm_bench()
    plain[section][key] = value

    with pytest.raises(ImportedFileError) as caught:
        one(plain)

    assert line in str(caught.value)


@pytest.mark.parametrize("section", ["engine", "world_info", "request_info", "performance"])
def test_a_section_that_is_no_object_is_one_line(section: str) -> None:
    plain: Plain = trtllm_bench() | {section: 3}

    with pytest.raises(ImportedFileError, match=f"a.json {section}: found 3, expected an object"):
        one(plain)


def test_figures_per_gpu_and_per_user_are_listed_as_ignored_or_checked_only() -> None:
    found = one(trtllm_bench())

    assert "performance.output_throughput_per_user_tok_s" in found.ignored
    assert "streaming_metrics.gen_tps_percentiles" in found.ignored
