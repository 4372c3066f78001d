"""A double of trtllm-bench: its flags and sub-commands, the runs by the double of `LLM`, and its report's layout."""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
import yaml

ENGINE_BACKENDS = ["tensorrt"] if HAS_ENGINES else []


def shared(made):
    made.add_argument("--backend", choices=["pytorch", "_autodeploy", *ENGINE_BACKENDS], default="pytorch")
    made.add_argument("--extra_llm_api_options", *(["--config"] if has("1.2") else []), dest="config")
    for name in ("engine_dir", "dataset", "report_json", "iteration_log", "output_json", "request_json", "sampler_options"):
        made.add_argument(f"--{name}")
    counts = {"max_batch_size": None, "max_num_tokens": None, "max_seq_len": None, "beam_width": 1, "num_requests": 0}
    for name, default in {**counts, "warmup": 2, "tp": 1, "pp": 1, "ep": None, "max_input_len": 4096}.items():
        made.add_argument(f"--{name}", type=int, default=default)
    made.add_argument("--kv_cache_free_gpu_mem_fraction", type=float, default=0.9)
    return made


def parser():
    made = argparse.ArgumentParser(prog="trtllm-bench", allow_abbrev=False)  # group options stand before the sub-command
    made.add_argument("--model", "-m", required=True)
    made.add_argument("--model_path", type=Path)
    made.add_argument("--workspace", "-w", default="/tmp")
    made.add_argument("--log_level", default="info")
    made.add_argument("--revision")
    kinds = made.add_subparsers(dest="kind", required=True)
    throughput = shared(kinds.add_parser("throughput", allow_abbrev=False))
    throughput.add_argument("--concurrency", type=int, default=-1)
    throughput.add_argument("--streaming", action="store_true")
    throughput.add_argument("--scheduler_policy", choices=["guaranteed_no_evict", "max_utilization"])
    for name in ("enable", "disable"):
        throughput.add_argument(f"--{name}_chunked_context", action="store_true")
    shared(kinds.add_parser("latency", allow_abbrev=False)).add_argument("--concurrency", type=int, default=1)
    if HAS_ENGINES:
        build = kinds.add_parser("build", allow_abbrev=False)
        build.add_argument("--tp_size", "-tp", type=int, default=1)
        build.add_argument("--pp_size", "-pp", type=int, default=1)
        build.add_argument("--dataset", type=Path)
        for name in ("max_seq_len", "max_batch_size", "max_num_tokens"):
            build.add_argument(f"--{name}", type=int)
    if has("1.2"):
        prepare = kinds.add_parser("prepare-dataset", allow_abbrev=False)
        prepare.add_argument("--output", type=Path, default=Path("preprocessed_dataset.json"))
        prepare.add_argument("--random-seed", type=int, default=420)
        for name in ("--task-id", "--lora-dir"):
            prepare.add_argument(name)
        prepare.add_argument("--rand-task-id", type=int, nargs=2)
        prepare.add_argument("--trust-remote-code", action="store_true")
        ways = prepare.add_subparsers(dest="lengths", required=True)
        ways.add_parser("real-dataset", allow_abbrev=False)
        for way, bounds in (("token-norm-dist", ("mean", "stdev")), ("token-unif-dist", ("min", "max"))):
            lengths = ways.add_parser(way, allow_abbrev=False)
            for name in ("num-requests", *(f"{side}-{bound}" for side in ("input", "output") for bound in bounds)):
                lengths.add_argument(f"--{name}", type=int, required=True)
    return made


def main():
    wish = parser().parse_args()
    print(f"trtllm-bench double {VERSION}", flush=True)
    if wish.kind == "prepare-dataset":
        return prepare(wish)
    if wish.kind == "build":
        return build(wish)
    rows = [json.loads(line) for line in Path(wish.dataset).read_text().splitlines()]
    rows = rows[: wish.num_requests or None]
    if wish.kind == "latency":
        wish.max_batch_size = wish.concurrency = 1  # as the real one does, whatever was said
    streams = wish.kind == "latency" or wish.streaming
    rows, spans, begin = run(wish, rows)
    report = told(wish, rows, spans, begin, streams)
    if wish.report_json:
        Path(wish.report_json).write_text(json.dumps(report, indent=4))
    print("===  REQUEST DETAILS (double)  ===")


def prepare(wish):
    """Rows of random tokens, of lengths drawn with the seed."""
    if wish.lengths == "real-dataset":
        sys.exit("the double fetches no dataset: write rows with 'prompt' and 'output_tokens' to a file")
    random = np.random.default_rng(wish.random_seed)

    def length(side):
        if wish.lengths == "token-unif-dist":
            return int(random.integers(getattr(wish, f"{side}_min"), getattr(wish, f"{side}_max"), endpoint=True))
        return max(1, round(random.normal(getattr(wish, f"{side}_mean"), getattr(wish, f"{side}_stdev"))))

    rows = ({"task_id": number, "input_ids": random.integers(0, 200, length("input")).tolist(),
             "output_tokens": length("output")} for number in range(wish.num_requests))
    wish.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


def build(wish):
    """An engine under the workspace; without limits or a data set to take them from, the defaults."""
    from tensorrt_llm.llmapi import BuildConfig

    lengths = [count(row) + row["output_tokens"] for row in map(json.loads, wish.dataset.read_text().splitlines())
               ] if wish.dataset else []
    limits = {"max_seq_len": wish.max_seq_len or max(lengths, default=2048), "max_batch_size": wish.max_batch_size,
              "max_num_tokens": wish.max_num_tokens}
    built = BuildConfig(**{name: value for name, value in limits.items() if value})
    into = Path(wish.workspace) / Path(wish.model).name / f"tp_{wish.tp_size}_pp_{wish.pp_size}"
    with engine_class()(model=str(wish.model_path or wish.model), build_config=built, max_batch_size=built.max_batch_size,
                        tensor_parallel_size=wish.tp_size, pipeline_parallel_size=wish.pp_size) as llm:
        llm.save(into)
    print(f"ENGINE SAVED: {into} (double)")


def engine_class():
    if IS_FIRST:
        from tensorrt_llm import LLM
    else:
        from tensorrt_llm._tensorrt_engine import LLM
    return LLM


def count(row):
    """Tokens of a row's prompt, or more: of a text its bytes."""
    return len(row["input_ids"]) if "input_ids" in row else len(row["prompt"].encode())


def opened(wish, rows):
    """The double of `LLM` with room for the rows."""
    from tensorrt_llm import LLM

    own = yaml.safe_load(open(wish.config)) if wish.config else {}
    if wish.backend == "tensorrt":
        if not wish.engine_dir:
            sys.exit("the double runs the backend tensorrt from --engine_dir alone: build one first")
        told = json.loads((Path(wish.engine_dir) / "config.json").read_text())
        return engine_class()(model=wish.engine_dir, tokenizer=str(wish.model_path or wish.model),
                              max_batch_size=wish.max_batch_size or told["build_config"]["max_batch_size"],
                              tensor_parallel_size=told["pretrained_config"]["mapping"]["tp_size"], **own)
    longest = max(count(row) + row["output_tokens"] for row in rows)
    return LLM(model=str(wish.model_path or wish.model), max_batch_size=wish.max_batch_size or 64,
               max_num_tokens=wish.max_num_tokens or 8192, max_seq_len=wish.max_seq_len or longest, **own)


def run(wish, rows):
    from tensorrt_llm import SamplingParams

    llm = opened(wish, rows)
    rows = [{"input_ids": llm.tokenizer.encode(row.get("prompt", ""), add_special_tokens=False), **row} for row in rows]
    spans = []

    async def one(row, places):
        async with places:
            start, first, last = time.perf_counter(), None, None
            params = SamplingParams(max_tokens=row["output_tokens"], end_id=-1)
            async for _ in llm.generate_async(row["input_ids"], params, streaming=True):
                last = time.perf_counter()
                first = first or last
            spans.append((start, first, last, row["output_tokens"]))

    async def everything():
        places = asyncio.Semaphore(wish.concurrency if wish.concurrency > 0 else len(rows))
        await asyncio.gather(*(one(row, places) for row in rows))

    begin = time.perf_counter()
    asyncio.run(everything())
    llm.shutdown()
    return rows, spans, begin


def spread(values):
    """Element int(n * p) of the sorted list, without interpolation."""
    sorted_values = sorted(values)
    found = {f"p{p}": sorted_values[min(int(len(values) * p / 100), len(values) - 1)] for p in (50, 90, 95, 99)}
    return {**found, "minimum": sorted_values[0], "maximum": sorted_values[-1], "average": sum(values) / len(values)}


def told(wish, rows, spans, begin, streams):
    whole_s = max(last for _, _, last, _ in spans) - min(start for start, *_ in spans)
    inputs, outputs = sum(len(row["input_ids"]) for row in rows), sum(row["output_tokens"] for row in rows)
    latencies = [(last - start) * 1e3 for start, _, last, _ in spans]
    world = wish.tp * wish.pp
    report = {
        "engine": {"model": wish.model, "model_path": str(wish.model_path or wish.model), "engine_dir": wish.engine_dir,
                   "version": VERSION, "backend": "TRT" if wish.backend == "tensorrt" else "Pytorch", "dtype": "bfloat16", "kv_cache_dtype": None,
                   "quantization": None},
        "world_info": {"tp_size": wish.tp, "pp_size": wish.pp, "ep_size": wish.ep, "world_size": world,
                       "max_batch_size": wish.max_batch_size or 64, "max_num_tokens": wish.max_num_tokens or 8192,
                       "scheduling_policy": "GUARANTEED_NO_EVICT",
                       "kv_cache_percentage": wish.kv_cache_free_gpu_mem_fraction, "issue_rate": "INFINITE"},
        "request_info": {"num_requests": len(rows), "avg_num_concurrent_requests": sum(latencies) / 1e3 / whole_s,
                         "avg_input_length": inputs / len(rows), "avg_output_length": outputs / len(rows)},
        "performance": {"total_latency_ms": whole_s * 1e3, "avg_request_latency_ms": sum(latencies) / len(latencies),
                        "request_throughput_req_s": len(rows) / whole_s,
                        "system_output_throughput_tok_s": outputs / whole_s,
                        "system_total_throughput_tok_s": (inputs + outputs) / whole_s,
                        "output_throughput_per_user_tok_s": outputs / sum(latencies) * 1e3,
                        "output_throughput_per_gpu_tok_s": outputs / whole_s / world,
                        "request_latency_percentiles_ms": spread(latencies)},
        "dataset": {"isl_stats": spread([len(row["input_ids"]) for row in rows]), "producer": "trtllm-bench double"},
    }
    if wish.backend == "tensorrt":
        built = json.loads((Path(wish.engine_dir) / "config.json").read_text())["build_config"]
        report["engine"] |= {"max_input_length": built["max_input_len"], "max_sequence_length": built["max_seq_len"]}
    if streams:
        ttft = [(first - start) * 1e3 for start, first, _, _ in spans]
        tpot = [(last - first) * 1e3 / (count - 1) for _, first, last, count in spans if count > 1]
        report["streaming_metrics"] = {
            "token_output_speed_tok_s": 1e3 / (sum(tpot) / len(tpot)), "avg_ttft_ms": sum(ttft) / len(ttft),
            "avg_tpot_ms": sum(tpot) / len(tpot), "ttft_percentiles": spread(ttft), "tpot_percentiles": spread(tpot),
            "gen_tps_percentiles": spread([1e3 / one for one in tpot]),
        }
    return report


if __name__ == "__main__":
    main()
