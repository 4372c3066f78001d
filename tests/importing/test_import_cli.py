"""`perfgate import` and what comes after it, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from importing_samples import base_perf, serve_bench, sglang, trtllm_bench, vllm, vllm_detailed, write

from perfgate.baselines import load_baseline
from perfgate.cli import main
from perfgate.importing.source import Source, documents
from perfgate.record import RUN_SCHEMA, Run, read_record

DEVICE = "sm_90/h200-141gb"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERFGATE_HISTORY", raising=False)
    monkeypatch.delenv("CI", raising=False)


def _files(prefix: str, scale: float, count: int = 6, **over: Any) -> list[str]:
    """Results of so many server starts, which differ by a few tenths of a percent."""
    noise = [1.0, 1.003, 0.998, 1.001, 0.999, 1.002, 0.997, 1.004]
    paths = [
        write(
            Path(f"{prefix}{i}.json"), serve_bench(scale * noise[i], **{"date": f"2026-01-1{i}T08:00:00+00:00", **over})
        )
        for i in range(count)
    ]
    return list(map(str, paths))


def _imported(*args: str) -> int:
    return main(["import", *args])


def test_two_imported_runs_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert _imported(*_files("a", 1.0), "--out", "A.json") == 0
    assert _imported(*_files("b", 1.0), "--out", "B.json") == 0
    assert _imported(*_files("c", 1.4), "--out", "C.json") == 0

    assert main(["compare", "A.json", "B.json"]) == 0
    same = capsys.readouterr().out
    assert main(["compare", "A.json", "C.json"]) == 1
    slower = capsys.readouterr().out

    assert "figures of the baseline were imported, measured by perfgate serve-bench" in same
    assert "How each engine was prepared" not in Path("perfgate-out/report.html").read_text()
    assert "ok: 1 passed" in same
    assert "REGRESSED" in slower
    found = json.loads(Path("perfgate-out/comparison.json").read_text())
    red = {one["metric"] for one in found["cases"][0]["metrics"] if one["verdict"] == "regressed"}
    assert {"ttft_mean", "itl_mean", "requests_per_s"} <= red


def test_single_files_of_benchmark_serving_compare_and_say_that_they_are_too_few(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, scale in (("a", 1.0), ("b", 1.05)):
        assert _imported(str(write(Path(f"{name}.json"), vllm(scale)))) == 0

    assert main(["compare", "a.run.json", "b.run.json"]) == 0
    out = capsys.readouterr().out
    assert "inconclusive: 1 warned" in out
    assert main(["compare", "a.run.json", "b.run.json", "--policy", "ci"]) == 1


def test_figures_of_two_clients_are_never_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for name, plain in (("a", vllm()), ("b", serve_bench())):
        _imported(str(write(Path(f"{name}.json"), plain)), "--case", "chat")

    assert main(["compare", "a.run.json", "b.run.json", "--policy", "ci"]) == 1

    out = " ".join(capsys.readouterr().out.split())
    assert "the baseline was measured by vLLM's benchmark_serving, this run by perfgate serve-bench" in out
    found = json.loads(Path("perfgate-out/comparison.json").read_text())
    assert not {"ok", "improved"} & {one["verdict"] for one in found["cases"][0]["metrics"]}


def test_what_only_some_results_hold_is_said_not_to_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    for name, few in (("a", False), ("b", True)):
        small = {"num_prompts": 100, "completed": 100, "request_throughput": 5.0} if few else {}
        plain = [vllm(), vllm(max_concurrency=1, **small)]
        files = [str(write(Path(f"{name}{i}.json"), one)) for i, one in enumerate(plain)]
        _imported(*files, "--out", f"{name}.json")
    capsys.readouterr()

    main(["compare", "a.json", "b.json"])

    out = capsys.readouterr().out
    assert "no baseline for this case" in out


def test_a_metric_that_not_all_cases_of_the_baseline_hold_is_told_when_it_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lacking: dict[str, Any] = {"p99_itl_ms": None}
    for name, keys in (("a", {}), ("b", lacking)):
        plain = [vllm(**keys), vllm(max_concurrency=1, p99_itl_ms=None)]
        files = [str(write(Path(f"{name}{i}.json"), one)) for i, one in enumerate(plain)]
        _imported(*files, "--out", f"{name}.json")
    capsys.readouterr()

    main(["compare", "a.json", "b.json"])

    out = " ".join(capsys.readouterr().out.split())
    assert "Llama-3.1-8B-c16-n1000: itl_p99 of the baseline not in this run (too few samples, or not told)" in out


def test_failed_requests_are_invalid_and_never_ok(capsys: pytest.CaptureFixture[str]) -> None:
    _imported(str(write(Path("a.json"), vllm())))
    failed = write(Path("b.json"), vllm(completed=999, failed=1, request_throughput=49.95))

    assert _imported(str(failed)) == 1
    assert "  invalid: 1 of 1000 requests failed" in capsys.readouterr().out
    main(["compare", "a.run.json", "b.run.json"])
    out = capsys.readouterr().out
    assert "1 of 1000 requests failed" in out
    assert "passed" not in out


def test_a_baseline_is_accepted_by_the_rules_of_all_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--as", "baseline", "--device", DEVICE, "--reason", "the old cluster", "--engine", "trt-1.2")

    assert _imported(*_files("a", 1.0), *how) == 0

    path = Path("baselines") / DEVICE / "imported.json"
    stored = load_baseline(path, DEVICE, "imported")
    (case,) = stored.cases.values()
    assert len(case.metrics["ttft_mean"].sessions[0]) == 6
    assert case.origin is not None
    assert sorted(case.origin.files) == [f"a{i}.json" for i in range(6)]
    assert stored.provenance.reason == "the old cluster"
    assert "nothing says that this engine answers as well as before" in capsys.readouterr().out

    assert _imported(*_files("b", 1.4), "--device", DEVICE, "--out", "B.json") == 0
    assert main(["judge", "B.json"]) == 1
    assert "REGRESSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("count", "over", "line"),
    [
        (
            1,
            {},
            "has 1 valid round in the run of 2026-01-10T08:00:00+00:00, a baseline needs 4: import results of more",
        ),
        (4, {"completed": 990, "failed": 10, "request_throughput": None}, "10 of 1000 requests failed"),
    ],
)
def test_what_a_baseline_lacks_is_said(
    count: int, over: dict[str, object], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _imported(*_files("a", 1.0, count, **over), "--as", "baseline", "--device", DEVICE, "--reason", "x")

    assert code == 4
    assert line in capsys.readouterr().err
    assert not Path("baselines").exists()


def test_rounds_of_two_levels_are_refused_as_a_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    files = [*_files("a", 1.0, 8)[::2], *_files("b", 1.3, 8)[1::2]]

    assert _imported(*files, "--as", "baseline", "--device", DEVICE, "--reason", "x") == 4
    assert "disagrees with itself" in capsys.readouterr().err


def test_the_same_files_are_no_second_session(capsys: pytest.CaptureFixture[str]) -> None:
    how = ("--as", "baseline", "--device", DEVICE, "--reason", "x", "--engine", "e")
    files = _files("a", 1.0)
    assert _imported(*files, *how) == 0

    assert _imported(*files, *how) == 4
    assert "in the baseline already" in capsys.readouterr().err
    later = write(Path("z.json"), serve_bench(1.004, date="2026-01-09T08:00:00+00:00"))
    assert _imported(*files[:4], str(later), *how) == 4
    assert "a0.json was imported before" in capsys.readouterr().err


def test_history_stores_a_result_once(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(Path("base_perf.csv"), base_perf()))

    assert _imported(path, "--as", "history", "--device", "sm_90/h100-pcie-80gb") == 0
    assert "4 cases in 2 rounds stored" in capsys.readouterr().out
    assert _imported(path, "--as", "history", "--device", "sm_90/h100-pcie-80gb") == 0
    assert "nothing stored: there already" in capsys.readouterr().out
    main(["history", "list"])
    assert "imported  sm_90/h100-pcie-80gb  no commit  6 values" in capsys.readouterr().out


def test_the_run_file_holds_samples_and_digests(capsys: pytest.CaptureFixture[str]) -> None:
    _imported(str(write(Path("a.json"), vllm_detailed())))

    assert _imported("a.run.json") == 4
    assert "a.run.json: found a run of perfgate, which needs no import" in capsys.readouterr().err
    run = read_record(Path("a.run.json"), Run, RUN_SCHEMA)
    assert len(run.rounds[0].cases[0].samples["itl"]) == 700
    assert run.cases[0].origin is not None
    assert list(run.cases[0].origin.files) == ["a.json"]


def test_verbose_lists_what_was_left_out_and_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(write(Path("a.json"), trtllm_bench()))

    _imported(path)
    short = capsys.readouterr().out
    _imported(path, "-v")
    full = capsys.readouterr().out

    assert "keys ignored (-v lists them)" in short
    assert "  ignored: performance.output_throughput_per_user_tok_s" in full
    assert "not told: driver, failed requests, concurrency asked for, device, date" in short


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["absent.json"], "not imported: absent.json: found nothing, expected a result file"),
        (["a.json", "--as", "history"], "--as history: no file tells the device key; give --device"),
        (["a.json", "--as", "baseline", "--device", DEVICE], "--as baseline: give --reason"),
        (["a.json", "--reason", "x"], "--reason goes with --as baseline, found --as run"),
        (["a.json", "--as", "history", "--device", DEVICE, "--out", "x"], "--out goes with --as run"),
        (["a.json", "--device", "../../etc"], "--device: found '../../etc', expected a device key such as"),
        (["a.json", "--case", "a/b"], "--case: found 'a/b', expected a name"),
        (["a.json", "--requests", "0"], "--requests: found 0, expected a whole number above 0"),
        (["a.json", "--out", "a.json"], "--out: a.json is a file to import, and would be overwritten"),
        (["a.json", "a.json"], "a.json and a.json are the same bytes"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_4(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("a.json"), vllm())

    assert _imported(*args) == 4
    assert line in capsys.readouterr().err


def test_sglang_is_valid_once_the_requests_are_told() -> None:
    path = str(write(Path("a.jsonl"), json.dumps(sglang()) + "\n"))

    assert _imported(path) == 1
    assert _imported(path, "--requests", "1000") == 0


def test_a_line_of_json_is_found_by_its_number() -> None:
    from perfgate.importing.faults import Faults

    found = documents(Source("a.jsonl", b'{"a": 1}\n\n{"b": 2}\n', ""), Faults())

    assert [one.where for one in found] == ["a.jsonl:1", "a.jsonl:3"]
