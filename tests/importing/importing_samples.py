"""Small results with the real key names of each client, written by hand; the figures are made up and fit each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Plain = dict[str, Any]


def _summaries(ttft: str = "ttft", e2el: str = "e2el", scale: float = 1.0) -> Plain:
    means = {ttft: 40.0, "tpot": 10.0, "itl": 10.0, e2el: 110.0}
    words = {"mean": 1.0, "median": 0.98, "std": 0.1, "p99": 1.6}
    return {
        f"{word}_{stem}_ms": mean * factor * scale for stem, mean in means.items() for word, factor in words.items()
    }


def vllm(scale: float = 1.0, **over: Any) -> Plain:
    """`vllm bench serve --save-result`: vllm/benchmarks/serve.py, `benchmark` and `main`. 1000 requests of 8 tokens."""
    seconds = 20.0 * scale
    return {
        "date": "20260114-081500", "endpoint_type": "openai", "backend": "openai", "label": None,
        "model_id": "meta-llama/Llama-3.1-8B", "tokenizer_id": "meta-llama/Llama-3.1-8B", "num_prompts": 1000,
        "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16,
        "duration": seconds, "completed": 1000, "failed": 0, "total_input_tokens": 512000, "total_output_tokens": 8000,
        "request_throughput": 1000 / seconds, "request_goodput": None, "output_throughput": 8000 / seconds,
        "total_token_throughput": 520000 / seconds, "max_output_tokens_per_s": 512.0, "max_concurrent_requests": 17,
        "rtfx": 0.0, **_summaries(scale=scale), **over,
    }  # fmt: skip


def vllm_detailed(**over: Any) -> Plain:
    """The same with --save-detailed: seconds per request, `latencies` for E2EL. 100 requests of 8 tokens."""
    ttfts = [0.030 + 0.0002 * i for i in range(100)]
    itls = [[0.010] * 7 for _ in range(100)]
    mean = 1e3 * sum(ttfts) / 100
    return vllm(
        num_prompts=100, duration=2.0, completed=100, total_input_tokens=51200, total_output_tokens=800,
        request_throughput=50.0, output_throughput=400.0, total_token_throughput=26000.0,
        mean_ttft_ms=mean, mean_itl_ms=10.0, mean_e2el_ms=mean + 70,
        input_lens=[512] * 100, output_lens=[8] * 100, ttfts=ttfts, itls=itls,
        latencies=[ttft + 0.07 for ttft in ttfts], start_times=[0.1] * 100, queue_times=[0.0] * 100,
        generated_texts=["a"] * 100, errors=[""] * 100,
    ) | over  # fmt: skip


def trtllm_serving(**over: Any) -> Plain:
    """TensorRT-LLM's: tensorrt_llm/serve/scripts/benchmark_serving.py; the colon is in upstream's key."""
    plain = vllm()
    for key in ("endpoint_type", "label", "failed", "request_goodput", "max_output_tokens_per_s", "rtfx"):
        del plain[key]
    spread = {"mean": 1.0, "min": 1.0, "max": 1.0, "median": 1.0, "std": 0.0, "percentiles": {"p99": 1.0}}
    return plain | {"request_goodput:": None, "user_throughput": 72.0, "avg_decoded_tokens_per_iter": spread} | over


def sglang(**over: Any) -> Plain:
    """SGLang's: sglang/bench_serving.py, `benchmark`; it tells neither the model nor how many requests were sent."""
    return {
        "tag": None, "backend": "sglang", "dataset_name": "random", "request_rate": float("inf"), "max_concurrency": 16,
        "sharegpt_output_len": None, "random_input_len": 512, "random_output_len": 8, "random_range_ratio": 1.0,
        "server_info": {"version": "0.5.3", "tp_size": 1}, "duration": 20.0, "completed": 1000,
        "total_input_tokens": 512000, "total_input_text_tokens": 512000, "total_input_vision_tokens": 0,
        "total_output_tokens": 8000, "total_output_tokens_retokenized": 7990, "request_throughput": 50.0,
        "input_throughput": 25600.0, "output_throughput": 400.0, "total_throughput": 26000.0,
        **_summaries(e2el="e2e_latency"), "p95_itl_ms": 14.0, "concurrency": 15.5, "accept_length": None,
        "max_output_tokens_per_s": 512.0, "max_concurrent_requests": 17, **over,
    }  # fmt: skip


def serve_bench(scale: float = 1.0, invalid: tuple[str, ...] = (), **over: Any) -> Plain:
    """Ours: perfgate.load.bench_json, whose own round trip is tested through the command."""
    seconds = 20.0 * scale
    p90 = {f"p90_{stem}_ms": mean * 1.3 * scale for stem, mean in {"ttft": 40.0, "tpot": 10.0, "itl": 10.0}.items()}
    return {
        "date": "2026-01-14T08:15:00+00:00", "backend": "openai", "model_id": "llama-8b",
        "base_url": "http://127.0.0.1:8000", "num_prompts": 1000, "max_concurrency": 16, "request_rate": "inf",
        "duration": seconds, "completed": 1000, "failed": 0, "total_input_tokens": 512000, "total_output_tokens": 8000,
        "request_throughput": 1000 / seconds, "output_throughput": 8000 / seconds,
        "total_token_throughput": 520000 / seconds, **_summaries(scale=scale), **p90, "p99_itl_ms": None,
        "perfgate": {"schema": 1, "invalid": list(invalid), "path": "epoll, kernel stamps"}, **over,
    }  # fmt: skip


def _spread(mean: float, **more: float) -> Plain:
    factors = {"p50": 0.98, "p90": 1.3, "p95": 1.4, "p99": 1.6, "minimum": 0.7, "maximum": 2.0, "average": 1.0}
    return {name: mean * factor for name, factor in factors.items()} | more


def trtllm_bench(scale: float = 1.0, version: str = "1.2.1", percentile_unit: float = 1.0, **over: Any) -> Plain:
    """`trtllm-bench throughput --streaming --report_json`: tensorrt_llm/bench/dataclasses/reporting.py.

    percentile_unit: of the TTFT and TPOT percentile objects, in milliseconds.
    """
    total_ms = 20000.0 * scale
    per_s = 1e3 / total_ms
    return {
        "engine": {
            "model": "meta-llama/Llama-3.1-8B", "model_path": None, "engine_dir": None, "version": version,
            "backend": "Pytorch", "dtype": "bfloat16", "kv_cache_dtype": None, "quantization": "FP8",
        },
        "world_info": {
            "tp_size": 2, "pp_size": 1, "ep_size": None, "world_size": 2, "max_batch_size": 512, "max_num_tokens": 8192,
            "scheduling_policy": "GUARANTEED_NO_EVICT", "kv_cache_percentage": 0.9, "issue_rate": 1e5,
        },
        "request_info": {
            "num_requests": 1000, "avg_num_concurrent_requests": 100.5, "avg_input_length": 512.0,
            "avg_output_length": 128.0,
        },
        "performance": {
            "total_latency_ms": total_ms, "avg_request_latency_ms": 2000.0 * scale,
            "request_throughput_req_s": 1000 * per_s, "system_output_throughput_tok_s": 128000 * per_s,
            "system_total_throughput_tok_s": 640000 * per_s, "output_throughput_per_user_tok_s": 64.0 / scale,
            "output_throughput_per_gpu_tok_s": 64000 * per_s,
            "request_latency_percentiles_ms": _spread(2000.0 * scale),
        },
        "streaming_metrics": {
            "token_output_speed_tok_s": 66.0, "avg_ttft_ms": 60.0 * scale, "avg_tpot_ms": 15.0 * scale,
            "ttft_percentiles": _spread(60.0 * scale * percentile_unit),
            "tpot_percentiles": _spread(15.0 * scale * percentile_unit),
            "gen_tps_percentiles": _spread(66.0),
        },
        "dataset": {"isl_stats": _spread(512.0), "osl_stats": _spread(128.0), "num_sequences": 1000}, **over,
    }  # fmt: skip


_BENCH = "llama_v3.1_8b_instruct-bench-float16-maxbs:512-maxnt:2048-input_output_len:128,128-reqs:8192"
_EIGHT = "deepseek_r1_fp8-bench-pytorch-float8-maxbs:1-input_output_len:1000,2000-reqs:10-gpus:8"
_SERVED = "llama_v3.1_8b_instruct-serve-pytorch-float16-maxbs:512-input_output_len:128,128-con:16"


def base_perf(*more: str) -> str:
    """`base_perf.csv` as of the column list in tests/integration/defs/perf/."""
    rows = [
        (_BENCH, "build_time", "0.1,30,BUILD_TIME,143.6"),
        (_BENCH, "inference_time", "0.1,50,INFERENCE_TIME,106778.6"),
        (_BENCH, "seq_throughput", "-0.1,10,SEQ_THROUGHPUT,76.7"),
        (_BENCH, "total_output_throughput", "-0.1,10,TOTAL_OUTPUT_THROUGHPUT,9820.4"),
        (_BENCH, "kv_cache_size", "-0.1,50,KV_CACHE_SIZE,56.19"),
        (_BENCH, "engine_size", "0.3,100,ENGINE_SIZE,15000.0"),
        (_EIGHT, "token_throughput", "-0.1,10,TOKEN_THROUGHPUT,8093.6"),
        (_SERVED, "inference_time", "0.1,50,INFERENCE_TIME,2500.0"),
        (_SERVED, "first_token_time", "0.1,50,FIRST_TOKEN_TIME,40.0"),
        (_SERVED, "p99_first_token_time", "0.1,50,P99_FIRST_TOKEN_TIME,90.0"),
    ]
    lines = [
        f'"{name}","H100_PCIe-PyTorch-Perf-1/perf/test_perf.py::test_perf_metric_{test}[{name}]",'
        f'"test_perf_metric_{test}[{name}]",{rest}'
        for name, test, rest in rows
    ]
    head = "network_name,perf_case_name,test_name,threshold,absolute_threshold,metric_type,perf_metric"
    return "\n".join([head, *lines, *more]) + "\n"


def write(path: Path, plain: object) -> Path:
    """As the clients write it: `json.dump`, which writes NaN and Infinity too."""
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    return path
