"""A double of trtllm-serve: flags and YAML of its version, and a server that is ready at once."""

import argparse
import http.server
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
    from tensorrt_llm.llmapi import llm_args

    is_engine = wish.backend in ("tensorrt", "trt") or (IS_FIRST and wish.backend is None)
    cls = llm_args.TrtLlmArgs if is_engine else llm_args.TorchLlmArgs
    for key, value in config.items():
        if key not in cls.FIELDS:
            sys.exit(f"ValueError: LLM got invalid argument: {key}")
        made = {"kv_cache_config": "KvCacheConfig", "cuda_graph_config": "CudaGraphConfig"}.get(key)
        if made and value is not None:
            getattr(llm_args, made)(**value)
    told = {name: os.environ.get(name) for name in os.environ if name.startswith("TLLM_")}

    stats = []  # drained by each GET of /metrics, as with the real one
    keeps = bool(config.get("enable_iter_perf_stats") or config.get("iter_stats_max_iterations"))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        answers = {
            "/health": {},
            "/version": {"version": VERSION},
            "/v1/models": {"data": [{"id": "double"}]},
            "/server_info": {"config": config, "argv": sys.argv[1:], "variables": told},
        }

        def do_GET(self):
            known = self.path in (*self.answers, "/metrics")
            body = json.dumps(self.drained() if self.path == "/metrics" else self.answers.get(self.path, {})).encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def drained(self):
            found = stats[:]
            del stats[: len(found)]
            return found

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.path == "/v1/completions" and asked.get("stream")
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(asked["max_tokens"] if known else 0):
                time.sleep(0.001)
                if keeps:
                    stats.append({"iter": len(stats), "iterLatencyMS": 1.0, "numActiveRequests": 1})
                finish = "length" if number == asked["max_tokens"] - 1 else None
                usage = {"prompt_tokens": len(asked["prompt"]), "completion_tokens": number + 1}
                choice = {"index": 0, "text": "double", "finish_reason": finish}
                self.chunk({"id": "double", "object": "text_completion", "choices": [choice], "usage": usage})
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

        def chunk(self, event):
            data = f"data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer((wish.host, wish.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
