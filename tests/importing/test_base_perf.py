from __future__ import annotations

import pytest
from importing_samples import base_perf
from reading import results

from perfgate.importing.faults import ImportedFileError
from perfgate.importing.result import Result


def _by_kind(text: str) -> dict[str, Result]:
    return {f"{one.setting.model} {one.setting.kind}": one for one in results(text)}


def test_each_metric_type_in_our_units() -> None:
    found = _by_kind(base_perf())
    bench, build = (found[f"llama_v3.1_8b_instruct {kind}"] for kind in ("latency", "build"))

    assert build.figures.values == {"build_s": 143.6, "engine_bytes": 15000 * 2**20}
    served = next(one for one in results(base_perf()) if "serve" in one.setting.name)
    assert served.figures.values == {"e2el_mean": 2.5, "ttft_mean": pytest.approx(0.040)}
    assert bench.product == "H100_PCIe"


def test_the_time_of_a_whole_bench_run_is_no_request_latency() -> None:
    bench = next(one for one in results(base_perf()) if one.setting.name.endswith("reqs-8192"))

    assert bench.figures.values == {"requests_per_s": 76.7, "output_tokens_per_s": 9820.4}
    assert "INFERENCE_TIME: the time of the whole run, which requests_per_s tells" in bench.figures.left_out
    assert "KV_CACHE_SIZE: means nothing to perfgate" in bench.figures.left_out


def test_throughput_of_many_gpus_may_be_of_one_and_is_left_out() -> None:
    found = _by_kind(base_perf())["deepseek_r1_fp8 latency"]

    assert found.figures.values == {}
    assert found.figures.left_out == ("TOKEN_THROUGHPUT: per GPU or of all GPUs: the file does not tell",)


def test_percentiles_of_an_unknown_number_of_requests_are_left_out() -> None:
    served = next(one for one in results(base_perf()) if "serve" in one.setting.name)

    assert served.figures.left_out == ("P99_FIRST_TOKEN_TIME: an unknown number of requests, ttft_p99 needs 662",)


@pytest.mark.parametrize("figure", ["nan", "inf", "-1", "1e400", "", "0x10", "٣"])
def test_figures_that_cannot_be_are_told_with_their_line(figure: str) -> None:
    with pytest.raises(ImportedFileError, match=r"a\.json:12 perf_metric: found '.*', expected a finite number"):
        results(base_perf(f"m-bench-x,H100_PCIe-P/t,t,0.1,10,SEQ_THROUGHPUT,{figure}"))


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("m,H100_PCIe-P/t,t,0.1,10,SEQ_THROUGHPUT", "a.json:12: found another number of cells than columns"),
        (",H100_PCIe-P/t,t,0.1,10,SEQ_THROUGHPUT,1", "a.json:12 network_name: found nothing, expected the name"),
        ("m,A100-P/t,t,0.1,10,SEQ_THROUGHPUT,1", "found rows of 2 GPUs: A100, H100_PCIe, expected one"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_told(row: str, line: str) -> None:
    with pytest.raises(ImportedFileError) as caught:
        results(base_perf(row))

    assert line in str(caught.value)


def test_a_metric_that_stands_twice_is_told() -> None:
    row = "m,H100_PCIe-P/t,t,0.1,10,SEQ_THROUGHPUT,1"

    with pytest.raises(ImportedFileError, match=r"a\.json:13 metric_type: found SEQ_THROUGHPUT of this case again"):
        results(base_perf(row, row))


def test_missing_columns_and_empty_tables_are_told() -> None:
    with pytest.raises(ImportedFileError, match=r"a\.json:1: found no column network_name"):
        results("perf_case_name,metric_type,perf_metric\n")
    with pytest.raises(ImportedFileError, match=r"a\.json: found no row, expected at least one"):
        results("network_name,perf_case_name,metric_type,perf_metric\n")


def test_the_newer_column_is_read_over() -> None:
    text = "network_name,perf_case_name,metric_type,perf_metric,device_subtype\nm,H100-P/t,SEQ_THROUGHPUT,2,\n"

    assert results(text)[0].figures.values == {"requests_per_s": 2.0}
