"""What each version of TensorRT-LLM takes, as data: flows, arguments of `LLM`, decoding types, wrong spellings.

The ranges are of the public sources from 0.20 to 1.3.0rc24; what is installed is looked at before anything
is built (`tensorrt_llm_installed`), so that a range that is wrong makes a refusal and never a wrong run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from packaging.version import Version

from perfgate.case import Flow

OLDEST = "0.20"
NO_ENGINES = "1.3.0rc21"  # the first version without the TensorRT engines


@dataclass(frozen=True, slots=True)
class Range:
    """Versions from `first` up to but without `until`."""

    first: str = OLDEST
    until: str | None = None

    def has(self, version: Version) -> bool:
        """Whether a version lies in it; development marks (+local) do not count."""
        release = Version(version.public)
        return Version(self.first) <= release and (self.until is None or release < Version(self.until))

    def __str__(self) -> str:
        return f"{self.first} and newer" if self.until is None else f"{self.first} to before {self.until}"


FLOWS: Mapping[Flow, Range] = {Flow.ENGINE: Range(OLDEST, NO_ENGINES), Flow.PYTORCH: Range("1.0")}


def own_flow(version: Version) -> Flow:
    """The flow that a version takes by default."""
    return Flow.PYTORCH if FLOWS[Flow.PYTORCH].has(version) else Flow.ENGINE


Ranges = Mapping[Flow, Range]


def _both(first: str = OLDEST) -> Ranges:
    return {**_engine(first), **_torch(first)}


def _engine(first: str = OLDEST) -> Ranges:
    return {Flow.ENGINE: Range(first, NO_ENGINES)}


def _torch(first: str = "1.0", until: str | None = None) -> Ranges:
    return {Flow.PYTORCH: Range(max(first, "1.0", key=Version), until)}


# Arguments of `LLM`; 'a.b' is the field b of the argument a. An argument that is not here is looked for in
# what is installed.
ARGUMENTS: Mapping[str, Ranges] = {
    **{
        name: _both()
        for name in (
            *("tokenizer", "trust_remote_code", "dtype", "load_format", "tensor_parallel_size"),
            *("pipeline_parallel_size", "max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens"),
            *("max_beam_width", "enable_chunked_prefill", "kv_cache_config", "scheduler_config", "speculative_config"),
            *("kv_cache_config.enable_block_reuse", "kv_cache_config.max_tokens"),
            *("kv_cache_config.free_gpu_memory_fraction", "scheduler_config.capacity_scheduler_policy"),
            *("scheduler_config.context_chunking_policy", "iter_stats_max_iterations", "num_postprocess_workers"),
        )
    },
    **{
        name: _torch()
        for name in (
            *("backend", "cuda_graph_config", "torch_compile_config", "disable_overlap_scheduler"),
            *("enable_autotuner", "attn_backend", "moe_config", "enable_iter_perf_stats", "enable_iter_req_stats"),
            *("print_iter_log", "stream_interval", "kv_cache_config.dtype", "cuda_graph_config.enable_padding"),
            *("cuda_graph_config.max_batch_size", "cuda_graph_config.batch_sizes"),
        )
    },
    **{
        name: _engine()
        for name in (
            *("build_config", "quant_config", "calib_config", "enable_build_cache", "workspace", "enable_tqdm"),
            *("fast_build", "embedding_parallel_mode", "extended_runtime_perf_knob_config", "batching_type"),
            *("normalize_log_probs", "enable_prompt_adapter", "scheduler_config.dynamic_batch_config"),
        )
    },
    "return_perf_metrics": _both("1.1"),
    "max_stats_len": _torch("1.1"),
    "sampler_type": _torch("1.1"),
    "orchestrator_type": _both("1.1"),
    "env_overrides": _both("1.2"),
    "disable_flashinfer_sampling": _torch("1.2"),
    "kv_cache_config.max_gpu_total_bytes": _both("1.1"),
    "kv_cache_config.max_util_for_resume": _torch("1.3.0rc0"),
    "use_cuda_graph": {},
    "autotuner_enabled": {},
}
OPTIONAL = frozenset({"return_perf_metrics", "enable_iter_perf_stats", "max_stats_len", "iter_stats_max_iterations"})

CLASSES: Mapping[str, str] = {  # of tensorrt_llm.llmapi, by the argument that holds one
    "kv_cache_config": "KvCacheConfig",
    "cuda_graph_config": "CudaGraphConfig",
    "torch_compile_config": "TorchCompileConfig",
    "scheduler_config": "SchedulerConfig",
    "moe_config": "MoeConfig",
    "build_config": "BuildConfig",
    "quant_config": "QuantConfig",
    "calib_config": "CalibConfig",
    "extended_runtime_perf_knob_config": "ExtendedRuntimePerfKnobConfig",
}
ENUMS: Mapping[str, str] = {  # of tensorrt_llm.llmapi, by the argument or field that holds a member
    "batching_type": "BatchingType",
    "capacity_scheduler_policy": "CapacitySchedulerPolicy",
    "quant_algo": "QuantAlgo",
    "kv_cache_quant_algo": "QuantAlgo",
}


@dataclass(frozen=True, slots=True)
class Decoding:
    """A kind of speculative decoding: its class in tensorrt_llm.llmapi and where it runs."""

    cls: str
    ranges: Ranges


DECODING: Mapping[str, Decoding] = {
    "Draft_Target": Decoding("DraftTargetDecodingConfig", _torch()),
    "NGram": Decoding("NGramDecodingConfig", _torch()),
    "Eagle3": Decoding("Eagle3DecodingConfig", _torch("1.2")),
    "Eagle": Decoding("EagleDecodingConfig", _both()),
    "MTP": Decoding("MTPDecodingConfig", _torch()),
    "PARD": Decoding("PARDDecodingConfig", _torch("1.3.0rc0")),
    "AUTO": Decoding("AutoDecodingConfig", _torch("1.1")),
    "Medusa": Decoding("MedusaDecodingConfig", _engine()),
    "Lookahead": Decoding("LookaheadDecodingConfig", _engine()),
}
DRAFT_MODEL_KEYS = ((Range("1.0", NO_ENGINES), "speculative_model_dir"), (Range(NO_ENGINES), "speculative_model"))

OURS: Mapping[str, str] = {  # arguments that come from a key of the spec
    "model": "model",
    "dtype": "precision",
    "quant_config.quant_algo": "precision",
    "backend": "flow",
    "tensor_parallel_size": "tp",
    "pipeline_parallel_size": "pp",
    "max_batch_size": "max_batch_size",
    "max_num_tokens": "max_num_tokens",
    "max_seq_len": "max_seq_len",
    "max_input_len": "max_input_len",
    "enable_chunked_prefill": "chunked_prefill",
    "disable_overlap_scheduler": "overlap_scheduler",
    "cuda_graph_config": "cuda_graphs",
    "extended_runtime_perf_knob_config.cuda_graph_mode": "cuda_graphs",
    "batching_type": "batching",
    "kv_cache_type": "paged_kv",
    "kv_cache_config.dtype": "kv_cache_dtype",
    "kv_cache_config.enable_block_reuse": "prefix_caching",
    "quant_config.kv_cache_quant_algo": "kv_cache_dtype",
    "context_fmha": "context_fmha",
    "remove_input_padding": "remove_input_padding",
}
WRONG: Mapping[str, str] = {  # spellings of other programs, or of older versions, and what is right
    "quantization": "vLLM spells it so; set the spec's key precision",
    "kv_cache_free_gpu_mem_fraction": "write kv_cache_config.free_gpu_memory_fraction",
    "free_gpu_memory_fraction": "write kv_cache_config.free_gpu_memory_fraction",
    "enable_prefix_caching": "vLLM spells it so; set the spec's key prefix_caching",
    "enable_chunked_context": "set the spec's key chunked_prefill",
    "max_chunked_prefill_length": "a chunk is bounded by the spec's max_num_tokens",
    "scheduler_policy": "write scheduler_config.capacity_scheduler_policy",
    "speculative_model": "set the spec's key speculative, or write speculative_config.speculative_model",
    "num_speculative_tokens": "vLLM spells it so; set the spec's key speculative",
    "enable_cuda_graph": "set the spec's key cuda_graphs",
    "use_cuda_graph": "it was 0.20's; set the spec's key cuda_graphs",
    "cuda_graph_cache_size": "write extended_runtime_perf_knob_config.cuda_graph_cache_size (flow engine)",
    "autotuner_enabled": "it was 0.20's; write enable_autotuner",
    "use_fp8": "set the spec's key precision",
    "fp8_kv_cache": "set the spec's key kv_cache_dtype",
    "int8_kv_cache": "set the spec's key kv_cache_dtype",
    "use_int8": "set the spec's key precision",
    "calibration_cache_path": "calibration is of quantising: see calib_config, or your own builder_cmd",
    "use_gpt_attention_plugin": "trtllm-build spells it gpt_attention_plugin",
    "use_context_fmha": "set the spec's key context_fmha",
    "max_output_len": "set the spec's key max_seq_len: input and output together",
    "tp_size": "set the spec's key tp",
    "pp_size": "set the spec's key pp",
    "paged_kv_cache": "set the spec's key paged_kv",
}


class Group(StrEnum):
    """Where a setting of the builder goes in the LLM API: BuildConfig, its plugin_config, or nowhere."""

    CONFIG = "build_config"
    PLUGIN = "plugin_config"
    COMMAND = "trtllm-build"


BUILD: Mapping[str, Group] = {  # flags of trtllm-build that engine_args may name, without '--'
    **dict.fromkeys(
        (
            *("max_beam_width", "opt_num_tokens", "max_prompt_embedding_table_size", "max_encoder_input_len"),
            *("profiling_verbosity", "weight_sparsity", "weight_streaming", "gather_context_logits"),
            *("gather_generation_logits", "enable_debug_output", "monitor_memory"),
        ),
        Group.CONFIG,
    ),
    **dict.fromkeys(
        (
            *("gpt_attention_plugin", "gemm_plugin", "nccl_plugin", "use_paged_context_fmha", "use_fp8_context_fmha"),
            *("tokens_per_block", "multiple_profiles", "reduce_fusion", "user_buffer", "use_fused_mlp"),
            *("gemm_swiglu_plugin", "low_latency_gemm_plugin"),
        ),
        Group.PLUGIN,
    ),
    **dict.fromkeys(
        (
            *("workers", "strip_plan", "fast_build", "log_level", "logits_dtype", "speculative_decoding_mode"),
            "max_draft_len",
        ),
        Group.COMMAND,
    ),
}

PERFGATE: Mapping[str, str] = {  # engine_args that are ours: what each takes
    "force_accepted_tokens": "drafts accepted in every step, above 0 (0 forces nothing)",
    "scoring": "context_logits or prompt_logprobs",
    "timing_cache": "true or false",
    "quantize_script": "the path of TensorRT-LLM's quantize.py",
}
