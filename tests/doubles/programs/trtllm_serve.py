"""A double of trtllm-serve: flags and YAML of its version, and a server of a few routes around the double's runtime."""

import argparse
import collections
import http.server
import itertools
import json
import os
import sys
import time

import yaml


def parser():
    made = argparse.ArgumentParser(prog="trtllm-serve", allow_abbrev=False)
    made.add_argument("model")
    made.add_argument("--tokenizer")
    made.add_argument("--host", default="localhost")
    made.add_argument("--port", type=int, default=8000)
    backends = ["pytorch", "_autodeploy", *(["tensorrt", "trt"] if HAS_ENGINES and not IS_FIRST else [])]
    made.add_argument("--backend", choices=backends)
    for name in ("max_batch_size", "max_num_tokens", "max_seq_len", "max_beam_width", "gpus_per_node"):
        made.add_argument(f"--{name}", type=int)
    longer = {"tp": "tensor_parallel", "pp": "pipeline_parallel", "ep": "moe_expert_parallel"}
    for name, long in longer.items():
        names = [f"--{name}_size", *([f"--{long}_size"] if has("1.2") else [])]
        made.add_argument(*names, type=int, dest=f"{name}_size")
    made.add_argument("--num_postprocess_workers", type=int, default=0)
    made.add_argument("--trust_remote_code", action="store_true")
    made.add_argument("--kv_cache_free_gpu_memory_fraction", type=float, default=0.9)
    if has("1.2"):
        made.add_argument("--enable_chunked_prefill", action="store_true")
    if has("1.3.0rc22"):
        made.add_argument("--kv_cache_dtype", choices=["auto", "fp8", "nvfp4"], default="auto")
    names = ["--extra_llm_api_options", *(["--config"] if has("1.2") else [])]
    made.add_argument(*names, dest="config")
    return made


def main():
    wish = parser().parse_args()
    print(f"trtllm-serve double {VERSION}", flush=True)
    config = yaml.safe_load(open(wish.config)) if wish.config else {}
    from tensorrt_llm import SamplingParams
    from tensorrt_llm._runtime import Runtime
    from tensorrt_llm.llmapi import llm_args
    from tensorrt_llm.llmapi.llm import Tokenizer

    is_engine = wish.backend in ("tensorrt", "trt") or (IS_FIRST and wish.backend is None)
    args = arguments(wish, config, llm_args, is_engine)
    runtime = Runtime(args, is_engine, wish.model)
    told = {name: os.environ.get(name) for name in os.environ if name.startswith("TLLM_")}
    retains = has("1.1") and not has("1.3.0rc21") and getattr(args, "return_perf_metrics", False)
    finished = collections.deque(maxlen=args.perf_metrics_max_requests if retains else 0)  # drained, as the statistics

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        answers = {
            "/health": lambda: {},
            "/version": lambda: {"version": VERSION},
            "/v1/models": lambda: {"data": [{"id": "double"}]},
            "/server_info": lambda: {"config": config, "argv": sys.argv[1:], "variables": told},
            "/metrics": runtime.drain_stats,
            **({"/perf_metrics": lambda: [finished.popleft() for _ in range(len(finished))]} if has("1.1") else {}),
        }

        def do_GET(self):
            body = json.dumps(self.answers.get(self.path, dict)()).encode()
            self.send_response(200 if self.path in self.answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            arrival = time.monotonic()
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/v1/completions" and asked.get("stream")
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if known:
                self.stream(asked, arrival)
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        def stream(self, asked, arrival):
            prompt = asked["prompt"]
            prompt = Tokenizer(wish.tokenizer or wish.model).encode(prompt) if isinstance(prompt, str) else prompt
            found = runtime.submit(prompt, SamplingParams(max_tokens=asked["max_tokens"]), streaming=True)
            made, first = 0, None
            for tokens in found.chunks():
                first, made = first or time.monotonic(), made + len(tokens)
                usage = {"prompt_tokens": len(prompt), "completion_tokens": made}
                finish = "length" if found.finished else None
                choice = {"index": 0, "text": runtime.model.text(tokens), "finish_reason": finish}
                self.chunk({"id": "double", "object": "text_completion", "choices": [choice], "usage": usage})
            if perf := found.outputs[0].request_perf_metrics:
                finished.append(entry(perf, next(numbers), arrival, first))

        def chunk(self, event):
            data = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def log_message(self, *_):
            pass

    numbers = itertools.count(1)
    server = http.server.ThreadingHTTPServer((wish.host, wish.port), Handler)
    print(f"the double serves on port {wish.port}", flush=True)
    server.serve_forever()


def arguments(wish, config, llm_args, is_engine):
    """The YAML as arguments of `LLM`: what this version does not take ends the server."""
    cls = llm_args.TrtLlmArgs if is_engine else llm_args.TorchLlmArgs
    nested = {"kv_cache_config": "KvCacheConfig", "cuda_graph_config": "CudaGraphConfig"}
    given = {"model": wish.model, "max_batch_size": wish.max_batch_size or 64}
    for key, value in config.items():
        if key not in cls.FIELDS:
            sys.exit(f"ValueError: LLM got invalid argument: {key}")
        made = getattr(llm_args, nested[key])(**value) if key in nested and value is not None else value
        if key in nested or not isinstance(value, dict):  # speculation and other objects are not served by the double
            given[key] = made
    return cls(**given)


def entry(perf, number, server_arrival, server_first):
    """A request as /perf_metrics tells it: seconds of a steady clock, as floats."""
    timing = {name: value.total_seconds() for name, value in vars(perf.timing_metrics).items()}
    timing |= {"server_arrival_time": server_arrival, "server_first_token_time": server_first}
    blocks, drafts = vars(perf.kv_cache_metrics), vars(perf.speculative_decoding)
    return {
        "request_id": number,
        "perf_metrics": {"first_iter": perf.first_iter, "last_iter": perf.last_iter, "timing_metrics": timing,
                         "kv_cache_metrics": blocks, "speculative_decoding": drafts},
    }


if __name__ == "__main__":
    main()
