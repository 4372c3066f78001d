"""The doubles of TensorRT-LLM refuse what the real versions refuse: one that takes everything proves nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from doubles.tensorrt_llm_double import VERSIONS, Double, install
from engines.tensorrt_llm_helpers import converted_model, hf_model
from perfgate.engines.kept import free_port
from perfgate.importing.formats import read_results
from perfgate.importing.source import Source

MakeDouble = Callable[[str], Double]
SCRIPT = """
import json, sys
told = []
for body in json.loads(sys.argv[2]):
    names = {"MODEL": sys.argv[1]}
    exec("from tensorrt_llm import SamplingParams; from tensorrt_llm.llmapi import *", names)
    try:
        exec(body, names)
        told.append("taken")
    except Exception as exc:
        told.append(f"{type(exc).__name__}: {exc}")
print(json.dumps(told))
"""
ENGINE_LLM = "from tensorrt_llm._tensorrt_engine import LLM; "
TORCH_LLM = "from tensorrt_llm import LLM; "


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> MakeDouble:
    return cache(lambda version: install(tmp_path_factory.mktemp(f"double-{version}"), version))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_model(tmp_path_factory.mktemp("hf") / "model")


def told(double: Double, model: Path, *bodies: str) -> list[str]:
    """What lines of Python give in one process that has the double."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(model), json.dumps(bodies)],
        env=double.variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert f"tensorrt_llm double {double.version}" in ended.stderr
    found: list[str] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_argument_and_unknown_nested_field_are_refused(double: MakeDouble, model: Path, version: str) -> None:
    bodies = (TORCH_LLM + "LLM(model=MODEL, enable_prefix_caching=True)", "KvCacheConfig(free_gpu_mem_fraction=0.5)")

    outer, nested = told(double(version), model, *bodies)

    assert outer == "ValueError: LLM got invalid argument: enable_prefix_caching"
    assert nested.startswith("ValidationError: 1 validation error for KvCacheConfig: free_gpu_mem_fraction")


REFUSED = [
    ("0.20.0", TORCH_LLM + "LLM(model=MODEL, cuda_graph_config=None)", "invalid argument: cuda_graph_config"),
    ("0.20.0", ENGINE_LLM, "ModuleNotFoundError"),
    ("0.20.0", "CudaGraphConfig()", "NameError"),
    ("0.20.0", "KvCacheConfig(dtype='fp8')", "Extra inputs are not permitted"),
    ("1.0.0", TORCH_LLM + "LLM(model=MODEL, use_cuda_graph=True)", "invalid argument: use_cuda_graph"),
    ("1.0.0", TORCH_LLM + "LLM(model=MODEL, return_perf_metrics=True)", "invalid argument: return_perf_metrics"),
    ("1.0.0", TORCH_LLM + "LLM(model=MODEL, quant_config=QuantConfig())", "tensorrt_llm._tensorrt_engine.LLM"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, build_config=BuildConfig())", "tensorrt_llm._tensorrt_engine.LLM"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, backend='tensorrt')", "ValueError: backend 'tensorrt'"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, dtype='fp8')", "dtype: Input should be auto|float16|bfloat16|float32"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, max_batch_size='8')", "max_batch_size: Input should be int"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, enable_chunked_prefill=1)", "Input should be bool"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, kv_cache_config={})", "Input should be KvCacheConfig"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, load_format='none')", "load_format"),
    ("1.2.1", "NGramDecodingConfig()", "max_draft_len: must be > 0"),
    ("1.2.1", "SamplingParams(max_new_tokens=4)", "TypeError"),
    ("1.2.1", "SamplingParams(4)", "TypeError"),
    (
        "1.2.1",
        ENGINE_LLM + "LLM(model=MODEL, kv_cache_config=KvCacheConfig(dtype='fp8'))",
        "must be 'auto' with the TensorRT backend",
    ),
    ("1.2.1", ENGINE_LLM + "LLM(model=MODEL, cuda_graph_config=None)", "invalid argument: cuda_graph_config"),
    (
        "1.2.1",
        ENGINE_LLM + "LLM(model=MODEL, speculative_config=NGramDecodingConfig(max_draft_len=2))",
        "AssertionError",
    ),
    (
        "1.2.1",
        ENGINE_LLM + "LLM(model=MODEL, max_batch_size=16, build_config=BuildConfig(max_batch_size=8))",
        "max_batch_size [16] is greater than build_config.max_batch_size [8]",
    ),
    ("1.0.0", "DraftTargetDecodingConfig(max_draft_len=2, speculative_model='x')", "Extra inputs"),
    ("1.0.0", "AutoDecodingConfig()", "NameError"),
    ("1.1.0", "Eagle3DecodingConfig(max_draft_len=2)", "NameError"),
    ("1.1.0", "NGramDecodingConfig(max_draft_len=2, max_concurrency=8)", "Extra inputs"),
    ("1.2.1", "PARDDecodingConfig(max_draft_len=2)", "NameError"),
    ("1.2.1", "Eagle3DecodingConfig(num_speculative_tokens=2)", "Extra inputs"),
    ("1.1.0", TORCH_LLM + "LLM(model=MODEL, env_overrides={})", "invalid argument: env_overrides"),
    ("1.1.0", TORCH_LLM + "LLM(model=MODEL, disable_flashinfer_sampling=True)", "disable_flashinfer_sampling"),
    ("1.3.0rc20", TORCH_LLM + "LLM(model=MODEL, quant_config=QuantConfig())", "tensorrt_llm._tensorrt_engine.LLM"),
    ("1.3.0rc20", "KvCacheConfig(max_util_for_resume='much')", "Input should be float"),
    ("1.3.0rc21", ENGINE_LLM, "ModuleNotFoundError"),
    ("1.3.0rc21", "BuildConfig()", "NameError"),
    ("1.3.0rc21", "from tensorrt_llm.llmapi.llm_args import TrtLlmArgs", "ImportError"),
    ("1.3.0rc21", TORCH_LLM + "LLM(model=MODEL, build_config=None)", "invalid argument: build_config"),
    ("1.2.1", TORCH_LLM + "LLM(model=MODEL, tensor_parallel_size=2)", "Only 1 GPUs are available"),
]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_version_lacks_is_refused(double: MakeDouble, model: Path, version: str) -> None:
    rows = [(body, refusal) for one, body, refusal in REFUSED if one == version]

    found = told(double(version), model, *(body for body, _ in rows))

    assert [answer for answer, (_, refusal) in zip(found, rows, strict=True) if refusal not in answer] == []


RUN = TORCH_LLM + (
    "llm = LLM(model=MODEL, max_batch_size=2, max_num_tokens=64, max_seq_len=128, "
    "kv_cache_config=KvCacheConfig({reuse})); "
)


IMPOSSIBLE = [
    ("llm.generate_async('text', SamplingParams())", "TypeError: inputs must be a list of token ids"),
    ("llm.generate_async([1], {'max_tokens': 4})", "TypeError: The sampling_params must be type SamplingParams"),
    ("llm.generate_async([1] * 80, SamplingParams())", "RequestError: The sum of prompt length (80)"),
    ("llm.generate_async([1] * 60, SamplingParams(max_tokens=90))", "RequestError"),
    ("llm.shutdown(); llm.generate_async([1], SamplingParams())", "RuntimeError: LLM is shutting down"),
]


def test_requests_that_cannot_be_are_refused(double: MakeDouble, model: Path) -> None:
    found = told(double("1.2.1"), model, *(RUN.format(reuse="") + body for body, _ in IMPOSSIBLE))

    assert [answer for answer, (_, refusal) in zip(found, IMPOSSIBLE, strict=True) if refusal not in answer] == []


@pytest.mark.parametrize(("reuse", "count"), [("", 8), ("enable_block_reuse=False", 40)])
def test_logits_of_reused_blocks_are_missing_without_a_word(
    double: MakeDouble, model: Path, reuse: str, count: int
) -> None:
    score = "llm.generate_async(list(range(40)), SamplingParams(max_tokens=1, return_context_logits=True)).result()"
    body = RUN.format(reuse=reuse) + f"{score}; raise Exception(len({score}.context_logits))"

    assert told(double("1.2.1"), model, body) == [f"Exception: {count}"]


def test_engine_logits_need_an_engine_built_for_them(double: MakeDouble, model: Path) -> None:
    start = ENGINE_LLM + "llm = LLM(model=MODEL, build_config=BuildConfig(max_seq_len=64), max_batch_size=4); "

    (found,) = told(double("1.2.1"), model, start + "llm.generate_async([1], SamplingParams(prompt_logprobs=1))")

    assert "requires `gather_context_logits=True`" in found


# ------------------------------------------------------------------ programs


def run_program(double: Double, name: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(double.programs / name), *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=double.variables(), cwd=double.site
    )


NEVER = [
    ("--use_gpt_attention_plugin", "bfloat16"),
    ("--use_context_fmha", "enable"),
    ("--max_output_len", "128"),
    ("--tp_size", "2"),
    ("--use_fp8",),
    ("--use_int8",),
    ("--calibration_cache_path", "x"),
    ("--context_fmha", "true"),
    ("--max_batch", "8"),
    ("--kv_cache_type", "PAGED"),
]


def test_trtllm_build_refuses_flags_that_it_never_had(double: MakeDouble) -> None:
    for words in NEVER:
        ended = run_program(double("1.2.1"), "trtllm-build", *words)

        assert (ended.returncode, "error:" in ended.stderr) == (2, True), words


def test_trtllm_build_reads_no_huggingface_checkpoint(double: MakeDouble, model: Path, tmp_path: Path) -> None:
    ended = run_program(double("1.2.1"), "trtllm-build", "--checkpoint_dir", model, "--output_dir", tmp_path / "out")

    assert ended.returncode == 1
    assert "KeyError: 'architecture'" in ended.stderr


def test_trtllm_build_is_gone_with_the_engines(double: MakeDouble) -> None:
    assert (double("1.3.0rc20").programs / "trtllm-build").exists()
    assert not (double("1.3.0rc21").programs / "trtllm-build").exists()


def test_engine_of_another_version_is_refused(double: MakeDouble, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    built = run_program(
        *(double("1.0.0"), "trtllm-build", "--checkpoint_dir", converted_model(tmp_path / "model")),
        *("--output_dir", engine, "--output_timing_cache", tmp_path / "t", "--kv_cache_type", "paged"),
    )
    assert built.returncode == 0

    (found,) = told(double("1.2.1"), engine, ENGINE_LLM + "LLM(model=MODEL)")

    assert found == "RuntimeError: The engine plan file is not compatible with this version of TensorRT"


@pytest.mark.parametrize(
    ("version", "words", "refusal"),
    [
        ("1.2.1", ("--enable_chunked_context",), "unrecognized arguments"),
        ("1.2.1", ("--max_chunked_prefill_length", "64"), "unrecognized arguments"),
        ("1.0.0", ("--config", "x.yaml"), "unrecognized arguments"),
        ("1.1.0", ("--tensor_parallel_size", "2"), "unrecognized arguments"),
        ("1.1.0", ("--enable_chunked_prefill",), "unrecognized arguments"),
        ("1.3.0rc20", ("--kv_cache_dtype", "fp8"), "unrecognized arguments"),
        ("0.20.0", ("--backend", "tensorrt"), "invalid choice"),
        ("1.3.0rc21", ("--backend", "tensorrt"), "invalid choice"),
    ],
)
def test_trtllm_serve_refuses_what_its_version_lacks(
    double: MakeDouble, version: str, words: tuple[str, ...], refusal: str
) -> None:
    ended = run_program(double(version), "trtllm-serve", "model", *words)

    assert ended.returncode == 2
    assert refusal in ended.stderr


def test_trtllm_serve_refuses_an_unknown_key_of_its_file(double: MakeDouble, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("enable_prefix_caching: true\n")

    ended = run_program(double("1.2.1"), "trtllm-serve", "model", "--extra_llm_api_options", tmp_path / "c.yaml")

    assert ended.returncode == 1
    assert "LLM got invalid argument: enable_prefix_caching" in ended.stderr


BENCH = ("--model", "double-model", "--model_path")


@pytest.mark.parametrize(
    ("version", "words", "refusal"),
    [
        (
            "1.2.1",
            ("throughput", "--model", "m"),
            "the following arguments are required: --model",
        ),  # group options first
        ("1.2.1", (*BENCH, "m", "latency", "--streaming"), "unrecognized arguments: --streaming"),
        ("1.2.1", (*BENCH, "m", "latency", "--scheduler_policy", "max_utilization"), "unrecognized arguments"),
        ("1.2.1", (*BENCH, "m", "throughput", "--max_chunked_prefill_length", "8"), "unrecognized arguments"),
        ("1.3.0rc21", (*BENCH, "m", "build"), "invalid choice: 'build'"),
        ("1.3.0rc21", (*BENCH, "m", "throughput", "--backend", "tensorrt"), "invalid choice: 'tensorrt'"),
        ("1.1.0", (*BENCH, "m", "prepare-dataset"), "invalid choice: 'prepare-dataset'"),
    ],
)
def test_trtllm_bench_refuses_what_its_version_lacks(
    double: MakeDouble, version: str, words: tuple[str, ...], refusal: str
) -> None:
    ended = run_program(double(version), "trtllm-bench", *words)

    assert ended.returncode == 2
    assert refusal in ended.stderr


def test_report_of_trtllm_bench_is_read_and_says_double(double: MakeDouble, model: Path, tmp_path: Path) -> None:
    data, report = tmp_path / "data.jsonl", tmp_path / "report.json"
    lengths = ("--num-requests", "6", "--input-mean", "8", "--input-stdev", "0", "--output-mean", "5")
    made = run_program(
        *(double("1.2.1"), "trtllm-bench", *BENCH, model, "prepare-dataset", "--output", data, "token-norm-dist"),
        *(*lengths, "--output-stdev", "0"),
    )
    assert made.returncode == 0, made.stderr
    ended = run_program(
        *(double("1.2.1"), "trtllm-bench", *BENCH, model, "throughput", "--dataset", data, "--report_json", report),
        *("--streaming", "--concurrency", "2", "--max_batch_size", "4"),
    )
    assert ended.returncode == 0, ended.stderr

    ((_, (result,)),) = read_results([Source("report.json", report.read_bytes(), "2026-01-20T10:00:00+00:00")])

    assert "double" in result.versions["tensorrt_llm"]
    assert result.figures.values["output_tokens"] == 30
    assert {"ttft_mean", "tpot_mean", "e2el_mean", "output_tokens_per_s"} <= set(result.figures.values)


def test_lengths_of_token_unif_dist_lie_between_its_bounds_and_repeat(double: MakeDouble, tmp_path: Path) -> None:
    bounds = ("--num-requests", "40", "--input-min", "5", "--input-max", "9", "--output-min", "2", "--output-max", "3")
    for name in ("a", "b"):
        words = (*BENCH, "m", "prepare-dataset", "--output", tmp_path / name, "token-unif-dist", *bounds)
        assert run_program(double("1.2.1"), "trtllm-bench", *words).returncode == 0

    rows = [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]

    assert {len(row["input_ids"]) for row in rows} == {5, 6, 7, 8, 9}
    assert {row["output_tokens"] for row in rows} == {2, 3}
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_trtllm_bench_builds_an_engine_and_runs_texts_of_a_file_on_it(
    double: MakeDouble, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "data.jsonl").write_text('{"task_id": 0, "prompt": "def main():", "output_tokens": 6}\n' * 3)
    group = ("--workspace", tmp_path, *BENCH, model)
    built = run_program(
        *(double("1.2.1"), "trtllm-bench", *group, "build", "--dataset", tmp_path / "data.jsonl"),
        *("--max_batch_size", "4"),
    )
    assert built.returncode == 0, built.stderr
    engine = tmp_path / "double-model" / "tp_1_pp_1"
    assert f"ENGINE SAVED: {engine} (double)" in built.stdout

    ended = run_program(
        *(double("1.2.1"), "trtllm-bench", *group, "throughput", "--backend", "tensorrt", "--engine_dir", engine),
        *("--dataset", tmp_path / "data.jsonl", "--report_json", tmp_path / "report.json", "--streaming"),
    )

    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["engine"]["backend"], report["engine"]["max_sequence_length"]) == ("TRT", 17)
    assert (report["request_info"]["avg_input_length"], report["request_info"]["avg_output_length"]) == (11, 6)
    assert "double" in report["engine"]["version"]


# ------------------------------------------------------------------ trtllm-serve, running


@contextmanager
def served(double: Double, model: Path, folder: Path, config: str) -> Iterator[str]:
    """The URL of a running server, ready to be asked."""
    (folder / "c.yaml").write_text(config)
    port = free_port()
    command = [str(double.programs / "trtllm-serve"), str(model), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--extra_llm_api_options", str(folder / "c.yaml")]
    with (folder / "log").open("w") as log:
        child = subprocess.Popen(command, env=double.variables(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while "serves" not in (folder / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()
        child.wait()


def complete(url: str, prompt: str | list[int], tokens: int) -> list[dict[str, Any]]:
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "stream": True}).encode()
    asked = urllib.request.Request(f"{url}/v1/completions", body)  # noqa: S310 - our own server
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        lines = [line[len(b"data: ") :] for line in answer.read().split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        return json.loads(answer.read())


KEEPING = "return_perf_metrics: true\nperf_metrics_max_requests: 8\n"


@pytest.mark.parametrize(
    ("version", "config", "kept"),
    [("1.2.1", KEEPING, 1), ("1.2.1", "return_perf_metrics: true\n", 0), ("1.3.0rc21", KEEPING, 0)],
)
def test_perf_metrics_are_retained_where_asked_and_drained(
    double: MakeDouble, model: Path, tmp_path: Path, version: str, config: str, kept: int
) -> None:
    with served(double(version), model, tmp_path, config) as url:
        events = complete(url, [1, 2, 3], 5)
        found, again = get(f"{url}/perf_metrics"), get(f"{url}/perf_metrics")

    assert [event["id"] for event in events] == ["double"] * 5
    assert (len(found), again) == (kept, [])
    for entry in found:
        told = entry["perf_metrics"]["timing_metrics"]
        order = ("server_arrival_time", "arrival_time", "first_scheduled_time", "first_token_time", "last_token_time")
        assert sorted(order, key=lambda name: float(told[name])) == list(order)
        assert entry["perf_metrics"]["last_iter"] - entry["perf_metrics"]["first_iter"] == 4


def test_perf_metrics_are_no_route_of_the_first_versions(double: MakeDouble, model: Path, tmp_path: Path) -> None:
    with served(double("1.0.0"), model, tmp_path, "{}") as url:
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            get(f"{url}/perf_metrics")
        refused.value.close()
