from __future__ import annotations

import json
from typing import Any

import pytest
from importing_samples import Plain, serve_bench, sglang, trtllm_serving, vllm, vllm_detailed
from reading import one, results

from perfgate.importing.faults import ImportedFileError
from perfgate.metrics import CATALOGUE


def test_milliseconds_become_seconds_and_totals_stay() -> None:
    found = one(vllm()).figures.values

    assert found == {
        "ttft_mean": pytest.approx(0.040), "ttft_p50": pytest.approx(0.0392), "ttft_p99": pytest.approx(0.064),
        "tpot_mean": pytest.approx(0.010), "tpot_p50": pytest.approx(0.0098), "tpot_p99": pytest.approx(0.016),
        "itl_mean": pytest.approx(0.010), "itl_p50": pytest.approx(0.0098), "itl_p99": pytest.approx(0.016),
        "e2el_mean": pytest.approx(0.110), "e2el_p50": pytest.approx(0.1078), "e2el_p99": pytest.approx(0.176),
        "requests_per_s": 50.0, "output_tokens_per_s": 400.0, "output_tokens": 8000.0,
        **({"total_tokens_per_s": 26000.0} if "total_tokens_per_s" in CATALOGUE else {}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("plain", "instrument"),
    [
        (vllm(), "vLLM's benchmark_serving"),
        (trtllm_serving(), "TensorRT-LLM's benchmark_serving"),
        (sglang(num_prompts=1000), "SGLang's bench_serving"),
        (serve_bench(), "perfgate serve-bench"),
    ],
)
def test_each_family_is_told_apart_and_makes_another_case(plain: Plain, instrument: str) -> None:
    found = one(plain)

    assert found.setting.instrument == instrument
    assert found.faults == ()
    assert found.figures.values["e2el_mean"] == pytest.approx(0.110)


def test_the_same_load_of_two_instruments_is_two_cases() -> None:
    ours, theirs = one(vllm()), one(trtllm_serving(endpoint_type="openai"))

    assert ours.setting.definition == theirs.setting.definition
    assert ours.setting.hash != theirs.setting.hash


@pytest.mark.parametrize(
    "over",
    [{"max_concurrency": 32}, {"total_input_tokens": 1}, {"request_rate": 4.0}, {"model_id": "x"}, {"burstiness": 2.0}],
)
def test_another_load_is_another_case(over: Plain) -> None:
    assert one(vllm(**over)).setting.hash != one(vllm()).setting.hash


def test_what_is_measured_does_not_define_the_case() -> None:
    assert one(vllm(1.3, date="20260201-000000")).setting.hash == one(vllm()).setting.hash


def test_detail_gives_samples_in_seconds_and_what_they_carry() -> None:
    figures = one(vllm_detailed()).figures

    assert len(figures.samples["ttft"]) == 100
    assert len(figures.samples["itl"]) == 700
    assert figures.values["ttft_p90"] == pytest.approx(0.030 + 0.0002 * 89.1)
    assert figures.values["ttft_tmean"] == pytest.approx(0.0399)
    assert figures.values["itl_p99"] == pytest.approx(0.010)
    assert "ttft_p99" not in figures.values
    assert "ttfts: 100 samples, ttft_p99 needs 662" in figures.left_out


def test_detail_of_another_unit_is_refused() -> None:
    with pytest.raises(
        ImportedFileError, match=r"a\.json ttfts: found a mean of 39\.9, expected 0\.0399 s, as mean_ttft_ms"
    ):
        one(vllm_detailed(ttfts=[30 + 0.2 * i for i in range(100)]))


def test_tensorrt_llm_calls_the_latencies_e2els() -> None:
    detail = vllm_detailed()
    plain = trtllm_serving() | {key: value for key, value in detail.items() if key not in ("failed", "latencies")}

    assert len(one(plain | {"e2els": detail["latencies"]}).figures.samples["e2el"]) == 100


def test_percentiles_of_few_requests_are_left_out() -> None:
    few = vllm(num_prompts=100, completed=100, request_throughput=5.0)

    figures = one(few).figures

    assert "ttft_p99" not in figures.values
    assert "p99_ttft_ms: 100 requests, ttft_p99 needs 662" in figures.left_out
    assert figures.values["ttft_p50"] == pytest.approx(0.0392)


@pytest.mark.parametrize(
    ("plain", "fault"),
    [
        (vllm(completed=990, failed=10, request_throughput=49.5), "10 of 1000 requests failed"),
        (trtllm_serving(completed=999, request_throughput=49.95), "1 of 1000 requests failed"),
        (vllm_detailed(errors=[""] * 98 + ["boom", "boom"]), "2 of 100 requests failed"),
        (vllm(completed=0, failed=1000, request_throughput=0.0), "1000 of 1000 requests failed"),
        (sglang(), "the file does not tell how many requests were sent, so failures cannot be seen: give --requests"),
        (serve_bench(invalid=("the client was the limit",)), "the client was the limit"),
    ],
)
def test_failures_make_the_case_invalid(plain: Plain, fault: str) -> None:
    assert one(plain).faults == (fault,)


def test_sglang_counts_failures_where_requests_are_told() -> None:
    assert one(sglang(), 1000).faults == ()
    assert one(sglang(), 1010).faults == ("10 of 1010 requests failed",)
    assert one(sglang(**_sglang_detail())).faults == ()


def _sglang_detail() -> Plain:
    """SGLang's --output-details."""
    return {"ttfts": [0.040] * 1000, "itls": [[0.010] * 7] * 1000, "errors": [""] * 1000, "generated_texts": []}


def test_sglang_writes_infinity_and_tells_the_version() -> None:
    found = one(sglang(), 1000)

    assert found.setting.definition["request_rate"] == "inf"
    assert found.versions == {"sglang": "0.5.3"}
    assert "versions" not in found.untold


def test_lines_of_json_are_a_result_each() -> None:
    lines = "\n".join(json.dumps(sglang(max_concurrency=many)) for many in (1, 16)) + "\n"

    found = results(lines, 1000)

    assert [one.where for one in found] == ["a.json:1", "a.json:2"]
    assert [one.setting.name for one in found] == ["sglang-c1-n1000", "sglang-c16-n1000"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [("20260114-081500", "2026-01-14T08:15:00+00:00"), ("2026-01-14T09:15:00+01:00", "2026-01-14T08:15:00+00:00")],
)
def test_dates(text: str, moment: str) -> None:
    assert one(vllm(date=text)).started == moment


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ({"mean_ttft_ms": float("nan")}, "a.json mean_ttft_ms: found nan, expected a finite number of 0 or more"),
        ({"duration": float("inf")}, "a.json duration: found inf, expected a finite number of 0 or more"),
        ({"p99_itl_ms": -1.0}, "a.json p99_itl_ms: found -1.0, expected a finite number of 0 or more"),
        ({"completed": "all"}, "a.json completed: found 'all', expected a finite number of 0 or more"),
        ({"completed": 10.5}, "a.json completed: found 10.5, expected a whole number of 0 or more"),
        ({"completed": True}, "a.json completed: found True, expected a finite number of 0 or more"),
        ({"completed": None}, "a.json completed: found nothing, expected a number"),
        ({"total_output_tokens": 10**400}, "total_output_tokens: found a whole number of too many digits"),
        ({"completed": 1001}, "a.json completed: found 1001, expected at most the 1000 requests that were sent"),
        ({"ttfts": [0.1, float("nan")]}, r"a.json ttfts[1]: found nan, expected a finite number of 0 or more"),
        ({"itls": [[0.1], 3]}, "a.json itls[1]: found 3, expected a list of numbers"),
        ({"date": "yesterday"}, "a.json date: found 'yesterday', expected a date such as 20260114-081500"),
        ({"model_id": ["x"]}, "a.json model_id: found a list, expected a text"),
        ({"output_throughput": 200.0}, "a.json output_throughput: found 200, expected 400: 8000 over the duration"),
    ],
)  # fmt: skip
def test_figures_that_cannot_be_are_one_clear_line(over: Plain, line: str) -> None:
    with pytest.raises(ImportedFileError) as caught:
        one(vllm() | over)

    assert line in str(caught.value)
    assert len(caught.value.faults) == 1


def test_all_faults_are_told_at_once() -> None:
    wrong: dict[str, Any] = {"mean_ttft_ms": -1, "mean_itl_ms": "x", "date": 5}

    with pytest.raises(ImportedFileError) as caught:
        one(vllm(**wrong))

    assert str(caught.value).startswith("not imported, 3 faults:\n  ")
    assert {fault.where for fault in caught.value.faults} == {f"a.json {key}" for key in wrong}


def test_a_figure_of_nothing_is_left_out() -> None:
    figures = one(vllm(mean_tpot_ms=0.0)).figures

    assert "tpot_mean" not in figures.values
    assert "mean_tpot_ms: 0: nothing was measured" in figures.left_out


def test_every_key_is_used_or_listed_as_ignored() -> None:
    found = one(vllm(my_metadata="B200"))

    assert "my_metadata" in found.ignored
    assert "std_ttft_ms" in found.ignored
    assert "mean_ttft_ms" not in found.ignored
