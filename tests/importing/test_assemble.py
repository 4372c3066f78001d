from __future__ import annotations

import pytest
from importing_samples import Plain, base_perf, serve_bench, sglang, trtllm_bench, vllm
from reading import MODIFIED, source

from perfgate.errors import UsageError
from perfgate.importing.assemble import UNTOLD_DEVICE, Naming, assemble
from perfgate.importing.formats import read_results
from perfgate.record import Run, Side

NO_NAMES = Naming()


def _run(files: dict[str, object], naming: Naming = NO_NAMES, requests: int | None = None) -> Run:
    return assemble(read_results([source(content, name) for name, content in files.items()], requests), naming)


def test_a_file_is_one_round_and_tells_where_it_is_from() -> None:
    run = _run({"runs/a.json": vllm()})

    (case,), (one,) = run.cases, run.rounds
    assert (case.id, case.engine, case.kind) == ("Llama-3.1-8B-c16-n1000", "Llama-3.1-8B", "latency")
    assert case.origin is not None
    assert case.origin.instrument == "vLLM's benchmark_serving"
    assert case.origin.files == {"a.json": source(vllm()).digest}
    assert case.origin.untold == (
        "versions",
        "driver",
        "device",
        "whether the server was fresh",
        "time zone of the date",
    )
    assert run.environment.device == UNTOLD_DEVICE
    assert run.environment.product == "not told"
    assert run.environment.versions == {}
    assert (run.started, one.seconds) == ("2026-01-14T08:15:00+00:00", 20.0)


def test_files_of_one_setting_are_rounds_in_order_of_time() -> None:
    days = {"c.json": 3, "a.json": 1, "b.json": 2}
    run = _run({name: vllm(1 + day / 100, date=f"2026011{day}-080000") for name, day in days.items()})

    assert len(run.cases) == 1
    assert [one.index for one in run.rounds] == [0, 1, 2]
    assert run.values(run.cases[0].id, "ttft_mean", Side.CANDIDATE) == pytest.approx([0.0404, 0.0408, 0.0412])
    assert run.started == "2026-01-11T08:00:00+00:00"


def test_files_of_several_settings_are_cases_of_one_run() -> None:
    run = _run({f"{many}.json": serve_bench(max_concurrency=many) for many in (1, 16)})

    assert [case.id for case in run.cases] == ["llama-8b-c1-n1000", "llama-8b-c16-n1000"]
    assert len({case.hash for case in run.cases}) == 2
    assert {case.engine for case in run.cases} == {"llama-8b"}


def test_the_same_bytes_count_once() -> None:
    with pytest.raises(UsageError, match=r"b\.json and a\.json are the same bytes: one round cannot count twice"):
        _run({"a.json": vllm(), "b.json": vllm()})


@pytest.mark.parametrize(
    ("a", "b", "line"),
    [
        (
            vllm(),
            serve_bench(),
            "a run has one instrument: found vLLM's benchmark_serving in a.json, perfgate serve-bench in b.json",
        ),
        (
            trtllm_bench(),
            trtllm_bench(version="1.1.0"),
            "a run has one version of tensorrt_llm: found 1.2.1 in a.json, 1.1.0 in b.json; import them apart",
        ),
    ],
)
def test_what_cannot_be_told_apart_later_is_refused(a: Plain, b: Plain, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        _run({"a.json": a, "b.json": b})

    assert line in str(caught.value)


def test_one_name_for_two_settings_is_refused_with_what_differs() -> None:
    with pytest.raises(UsageError, match=r"both be called 'chat': max_concurrency is 16 in a\.json, 32 in b\.json"):
        _run({"a.json": vllm(), "b.json": vllm(max_concurrency=32)}, Naming("chat"))


def test_a_failed_result_is_an_invalid_round_without_figures() -> None:
    run = _run({"a.json": vllm(completed=999, request_throughput=49.95)})

    assert run.rounds[0].cases[0].faults == ("1 of 1000 requests failed",)
    assert run.rounds[0].cases[0].values == {}


def test_a_table_is_one_round_of_each_engine_and_skips_what_tells_nothing() -> None:
    run = _run({"base_perf.csv": base_perf()})

    assert [(one.engine, len(one.cases)) for one in run.rounds] == [
        ("llama_v3.1_8b_instruct", 3),
        ("deepseek_r1_fp8", 1),
    ]
    skips = {case.engine: case.skip for case in run.cases if case.skip}
    assert list(skips) == ["deepseek_r1_fp8"]
    assert "TOKEN_THROUGHPUT: per GPU or of all GPUs" in skips["deepseek_r1_fp8"]
    assert run.environment.product == "H100_PCIe"
    assert run.started == MODIFIED


@pytest.mark.parametrize(
    ("a", "b", "naming", "is_one"),
    [
        (vllm(), vllm(1.1), NO_NAMES, False),
        (vllm(), vllm(1.1), Naming(engine="vllm-0.26"), True),
        (trtllm_bench(), trtllm_bench(1.1), NO_NAMES, True),
        (trtllm_bench(), trtllm_bench(1.1, version="1.1.0"), NO_NAMES, False),
        (trtllm_bench(), trtllm_bench(1.1, version="1.1.0"), Naming(engine="trt"), False),
    ],
)
def test_files_are_of_one_engine_only_where_versions_or_people_say_so(
    a: Plain, b: Plain, naming: Naming, *, is_one: bool
) -> None:
    keys = {_run({"a.json": plain}, naming).prepared[0].key for plain in (a, b)}

    assert (len(keys) == 1) is is_one


def test_sglang_needs_the_requests_to_be_valid() -> None:
    assert _run({"a.jsonl": sglang()}).rounds[0].cases[0].values == {}
    assert _run({"a.jsonl": sglang()}, requests=1000).rounds[0].cases[0].faults == ()
