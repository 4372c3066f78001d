"""A double of trtllm-build: its flags, what it refuses, the files that it writes and the lines that it logs."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ON_OFF = ("enable", "disable")
TYPES = ("auto", "float16", "float32", "bfloat16", "disable")


def parser():
    made = argparse.ArgumentParser(prog="trtllm-build", allow_abbrev=False)
    for name in ("checkpoint_dir", "model_config", "build_config", "input_timing_cache", "logits_dtype"):
        made.add_argument(f"--{name}")
    made.add_argument("--output_dir", default="engine_outputs")
    made.add_argument("--output_timing_cache", default="model.cache")
    defaults = {"max_batch_size": 2048, "max_input_len": 1024, "max_beam_width": 1, "max_num_tokens": 8192, "workers": 1}
    for name in (*defaults, "opt_num_tokens", "max_encoder_input_len", "max_prompt_embedding_table_size"):
        made.add_argument(f"--{name}", type=int, default=defaults.get(name))
    made.add_argument("--max_seq_len", "--max_decoder_seq_len", type=int)
    made.add_argument("--tokens_per_block", type=int, default=32)
    made.add_argument("--max_draft_len", type=int, default=0)
    made.add_argument("--kv_cache_type", choices=("continuous", "paged", "disabled"))
    modes = ("draft_tokens_external", "lookahead_decoding", "medusa", "explicit_draft_tokens", "eagle")
    made.add_argument("--speculative_decoding_mode", choices=modes)
    made.add_argument("--profiling_verbosity", choices=("layer_names_only", "detailed", "none"))
    made.add_argument("--log_level", default="info")
    switches = ("strip_plan", "weight_sparsity", "weight_streaming", "fast_build", "dry_run", "monitor_memory")
    gathers = ("gather_context_logits", "gather_generation_logits", "gather_all_token_logits")
    for name in (*switches, *gathers, "enable_debug_output"):
        made.add_argument(f"--{name}", action="store_true")
    booleans = ("context_fmha", "remove_input_padding", "use_paged_context_fmha", "use_fp8_context_fmha")
    for name in (*booleans, "multiple_profiles", "reduce_fusion", "user_buffer", "use_fused_mlp"):
        made.add_argument(f"--{name}", choices=ON_OFF)
    for name in ("gpt_attention_plugin", "gemm_plugin", "nccl_plugin"):
        made.add_argument(f"--{name}", choices=TYPES)
    for name in ("gemm_swiglu_plugin", "low_latency_gemm_plugin"):
        made.add_argument(f"--{name}", choices=("fp8", "disable"))
    return made


def log(line):
    sys.stdout.write(f"[11/21/2026-10:00:00] {line}\n")
    sys.stdout.flush()


def main():
    wish = parser().parse_args()
    log(f"[TRT-LLM] [I] trtllm-build double {VERSION}")
    config_path = Path(wish.checkpoint_dir or "nowhere") / "config.json"
    assert config_path.exists(), f"{config_path} does not exist"
    pretrained = json.loads(config_path.read_text())
    if "architecture" not in pretrained or "mapping" not in pretrained:
        raise KeyError("architecture")  # a HuggingFace checkpoint is not what it reads
    if wish.kv_cache_type != "paged" and wish.use_paged_context_fmha == "enable":
        raise ValueError("Paged Context FMHA needs a paged KV cache")
    if os.environ.get("DOUBLE_BUILD_FAILS"):
        log("[TRT] [E] Error Code 1: Cuda Runtime (out of memory)")
        sys.exit(1)
    if "DOUBLE_BUILD_WAITS" in os.environ:
        Path(os.environ["DOUBLE_BUILD_WAITS"]).write_text(str(os.getpid()))
        time.sleep(60)
    world = pretrained["mapping"].get("world_size", 1)
    output = Path(wish.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    given = (config_path.parent / "rank0.safetensors").read_bytes()
    weights = given.removeprefix(b"double\n").decode() if given.startswith(b"double\nweights ") else ""
    for rank in range(world):
        log("[TRT-LLM] [I] Total time of constructing network from module object 0.001 seconds")
        log(f"[TRT-LLM] [I] Total time to initialize the weights in network Unnamed Network {rank}: 00:00:00")
        log(f"[TRT-LLM] [I] Build TensorRT engine Unnamed Network {rank}")
        begin = time.perf_counter()
        time.sleep(0.05)
        log(f"[TRT] [I] Engine generation completed in {time.perf_counter() - begin:.6g} seconds.")
        log(f"[TRT-LLM] [I] Total time of building Unnamed Network {rank}: 00:00:00")
        log(f"[TRT-LLM] [I] Serializing engine to {output}/rank{rank}.engine...")
        (output / f"rank{rank}.engine").write_text(f"double {VERSION} rank {rank}\n" * 50 + weights)
        log("[TRT-LLM] [I] Engine serialized. Total time: 00:00:00")
    names = ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens", "max_beam_width")
    build = {name: getattr(wish, name) for name in (*names, "gather_context_logits")}
    build["plugin_config"] = {name: getattr(wish, name) for name in ("context_fmha", "remove_input_padding")}
    told = {"version": VERSION, "pretrained_config": pretrained, "build_config": build}
    (output / "config.json").write_text(json.dumps(told))
    known = Path(wish.input_timing_cache).read_text() if wish.input_timing_cache else ""
    Path(wish.output_timing_cache).write_text(known + "double timings\n")
    log(f"[TRT-LLM] [I] Timing cache serialized to {wish.output_timing_cache}")
    log("[TRT-LLM] [I] Total time of building all engines: 00:00:00")


if __name__ == "__main__":
    main()
