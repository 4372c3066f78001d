"""Arguments of `LLM` in this version: what is taken, of which type, and what is checked between them."""

import enum

from .._strict import StrictModel, refuse
from .._tables import HAS_ENGINES, IS_FIRST, has


class BatchingType(enum.Enum):
    STATIC = 0
    INFLIGHT = 1


class CapacitySchedulerPolicy(str, enum.Enum):
    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"
    MAX_UTILIZATION = "MAX_UTILIZATION"
    STATIC_BATCH = "STATIC_BATCH"


class QuantAlgo(str, enum.Enum):
    W8A16 = "W8A16"
    W4A16 = "W4A16"
    W4A16_AWQ = "W4A16_AWQ"
    W4A16_GPTQ = "W4A16_GPTQ"
    W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN = "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN"
    FP8 = "FP8"
    INT8 = "INT8"
    NO_QUANT = "NO_QUANT"


class QuantConfig(StrictModel):
    FIELDS = {
        "quant_algo": ("QuantAlgo?", None),
        "kv_cache_quant_algo": ("QuantAlgo?", None),
        "group_size": ("int", 128),
        "smoothquant_val": ("float", 0.5),
        "exclude_modules": ("list?", None),
    }


class KvCacheConfig(StrictModel):
    FIELDS = {
        "enable_block_reuse": ("bool", True),
        "max_tokens": ("int?", None),
        "max_attention_window": ("list?", None),
        "sink_token_length": ("int?", None),
        "free_gpu_memory_fraction": ("float?", None if IS_FIRST else 0.9),
        "host_cache_size": ("int?", None),
        "onboard_blocks": ("bool", True),
        "cross_kv_cache_fraction": ("float?", None),
        "secondary_offload_min_priority": ("int?", None),
        "event_buffer_max_size": ("int", 0),
        "enable_partial_reuse": ("bool", True),
        "copy_on_partial_reuse": ("bool", True),
        **({} if IS_FIRST else {"dtype": ("str", "auto"), "use_uvm": ("bool", False)}),
        **({"tokens_per_block": ("int", 32)} if has("1.1") else {}),
        **({"max_gpu_total_bytes": ("int", 0)} if has("1.1") else {}),
        **({"max_util_for_resume": ("float", 0.95)} if has("1.3.0rc0") else {}),
    }


class SchedulerConfig(StrictModel):
    FIELDS = {
        "capacity_scheduler_policy": ("GUARANTEED_NO_EVICT|MAX_UTILIZATION|STATIC_BATCH", "GUARANTEED_NO_EVICT"),
        "context_chunking_policy": ("FIRST_COME_FIRST_SERVED|EQUAL_PROGRESS?", None),
        "dynamic_batch_config": ("any", None),
    }


class CudaGraphConfig(StrictModel):
    FIELDS = {"batch_sizes": ("list?", None), "max_batch_size": ("int", 0), "enable_padding": ("bool", False)}


class TorchCompileConfig(StrictModel):
    FIELDS = {"enable_fullgraph": ("bool", True), "enable_inductor": ("bool", False)}


class MoeConfig(StrictModel):
    FIELDS = {"backend": ("str", "CUTLASS")}


class CalibConfig(StrictModel):
    FIELDS = {"device": ("str", "cuda"), "calib_dataset": ("str", "cnn_dailymail"), "calib_batches": ("int", 512),
              "calib_batch_size": ("int", 1), "calib_max_seq_length": ("int", 512)}


class ExtendedRuntimePerfKnobConfig(StrictModel):
    FIELDS = {
        "multi_block_mode": ("bool", True),
        "enable_context_fmha_fp32_acc": ("bool", False),
        "cuda_graph_mode": ("bool", False),
        "cuda_graph_cache_size": ("int", 0),
    }


class PluginConfig:
    """Settable attributes, as in every version that has it."""

    def __init__(self):
        self.gpt_attention_plugin = self.nccl_plugin = "auto"
        self.gemm_plugin = self.gemm_swiglu_plugin = self.low_latency_gemm_plugin = None
        self.context_fmha = self.remove_input_padding = self.use_paged_context_fmha = self.use_fused_mlp = True
        self.use_fp8_context_fmha = True
        self.tokens_per_block = 32
        self.multiple_profiles = self.reduce_fusion = self.user_buffer = False


class BuildConfig(StrictModel):
    FIELDS = {
        "max_input_len": ("int", 1024),
        "max_seq_len": ("int?", None),
        "opt_batch_size": ("int", 8),
        "max_batch_size": ("int", 2048),
        "max_beam_width": ("int", 1),
        "max_num_tokens": ("int", 8192),
        "opt_num_tokens": ("int?", None),
        "max_prompt_embedding_table_size": ("int", 0),
        "kv_cache_type": ("any", None),
        "gather_context_logits": ("bool", False),
        "gather_generation_logits": ("bool", False),
        "strongly_typed": ("bool", True),
        "profiling_verbosity": ("layer_names_only|detailed|none", "layer_names_only"),
        "enable_debug_output": ("bool", False),
        "input_timing_cache": ("str?", None),
        "output_timing_cache": ("str", "model.cache"),
        "weight_sparsity": ("bool", False),
        "weight_streaming": ("bool", False),
        "plugin_config": ("PluginConfig", PluginConfig),
        "max_encoder_input_len": ("int", 1024),
        "monitor_memory": ("bool", False),
    }


class DecodingBase(StrictModel):
    NEEDS_DRAFTS = True

    def __init__(self, **given):
        super().__init__(**given)
        if self.NEEDS_DRAFTS and not self.max_draft_len:
            refuse(type(self).__name__, "max_draft_len", "must be > 0")


_DRAFT = {
    "max_draft_len": ("int?", None),
    **({"max_total_draft_tokens": ("int?", None), "max_concurrency": ("int?", None)} if has("1.2") else {}),
    **({"draft_len_schedule": ("dict?", None)} if has("1.2") else {}),
}
_BY_NEW_NAME = has("1.3.0rc21")
_MODEL = "speculative_model" if _BY_NEW_NAME else "speculative_model_dir"
_ALIASES = {"speculative_model_dir": "speculative_model"} if _BY_NEW_NAME else (
    {"speculative_model": "speculative_model_dir"} if has("1.2") else {}
)


class NGramDecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, "max_matching_ngram_size": ("int", 2), "is_keep_all": ("bool", True)}


class DraftTargetDecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, _MODEL: ("str?", None)}
    ALIASES = _ALIASES


class EagleDecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, _MODEL: ("str?", None)}
    ALIASES = _ALIASES


class Eagle3DecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, _MODEL: ("str?", None), "eagle3_one_model": ("bool", True)}
    ALIASES = _ALIASES


class PARDDecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, _MODEL: ("str?", None)}
    ALIASES = _ALIASES


class AutoDecodingConfig(DecodingBase):
    NEEDS_DRAFTS = False
    FIELDS = _DRAFT


class MTPDecodingConfig(DecodingBase):
    NEEDS_DRAFTS = False
    FIELDS = {"num_nextn_predict_layers": ("int", 1)}


class MedusaDecodingConfig(DecodingBase):
    FIELDS = {**_DRAFT, "medusa_choices": ("list?", None), "num_medusa_heads": ("int?", None)}


class LookaheadDecodingConfig(DecodingBase):
    NEEDS_DRAFTS = False
    FIELDS = {"max_window_size": ("int", 4), "max_ngram_size": ("int", 3), "max_verification_set_size": ("int", 4)}


_BASE = {
    "model": ("any", None),
    "tokenizer": ("any", None),
    "tokenizer_mode": ("auto|slow", "auto"),
    "skip_tokenizer_init": ("bool", False),
    "trust_remote_code": ("bool", False),
    "tensor_parallel_size": ("int", 1),
    "dtype": ("auto|float16|bfloat16|float32", "auto"),
    "revision": ("str?", None),
    "tokenizer_revision": ("str?", None),
    "pipeline_parallel_size": ("int", 1),
    "context_parallel_size": ("int", 1),
    "gpus_per_node": ("int?", None),
    "moe_tensor_parallel_size": ("int?", None),
    "moe_expert_parallel_size": ("int?", None),
    "enable_attention_dp": ("bool", False),
    "load_format": ("auto|dummy", "auto"),
    "enable_lora": ("bool", False),
    "kv_cache_config": ("KvCacheConfig", KvCacheConfig),
    "enable_chunked_prefill": ("bool", False),
    "guided_decoding_backend": ("str?", None),
    "iter_stats_max_iterations": ("int?", None),
    "request_stats_max_iterations": ("int?", None),
    "scheduler_config": ("SchedulerConfig", SchedulerConfig),
    "speculative_config": ("DecodingBase?", None),
    "max_batch_size": ("int?", None),
    "max_input_len": ("int?", None),
    "max_seq_len": ("int?", None),
    "max_beam_width": ("int?", None),
    "max_num_tokens": ("int?", None),
    "gather_generation_logits": ("bool", False),
    "num_postprocess_workers": ("int", 0),
    "reasoning_parser": ("str?", None),
    "backend": ("str?", None),
    **({"return_perf_metrics": ("bool", False), "perf_metrics_max_requests": ("int", 0)} if has("1.1") else {}),
    **({"orchestrator_type": ("rpc|ray?", None)} if has("1.1") else {}),
    **({"env_overrides": ("dict?", None)} if has("1.2") else {}),
}
_ENGINE_ONLY = {
    "build_config": ("BuildConfig?", None),
    "quant_config": ("QuantConfig?", None),
    "calib_config": ("CalibConfig?", None),
    "enable_build_cache": ("any", False),
    "workspace": ("str?", None),
    "enable_tqdm": ("bool", False),
    "fast_build": ("bool", False),
    "embedding_parallel_mode": ("str", "SHARDING_ALONG_VOCAB"),
    "extended_runtime_perf_knob_config": ("ExtendedRuntimePerfKnobConfig?", None),
    "batching_type": ("BatchingType?", None),
    "normalize_log_probs": ("bool", False),
    "enable_prompt_adapter": ("bool", False),
}


class TorchLlmArgs(StrictModel):
    FIELDS = {
        **_BASE,
        "disable_overlap_scheduler": ("bool", False),
        "attn_backend": ("str", "TRTLLM"),
        "enable_iter_perf_stats": ("bool", False),
        "enable_iter_req_stats": ("bool", False),
        "print_iter_log": ("bool", False),
        **({"use_cuda_graph": ("bool", False), "autotuner_enabled": ("bool", True)} if IS_FIRST else {}),
        **(
            {}
            if IS_FIRST
            else {
                "cuda_graph_config": ("CudaGraphConfig?", CudaGraphConfig),
                "torch_compile_config": ("TorchCompileConfig?", None),
                "enable_autotuner": ("bool", True),
                "moe_config": ("MoeConfig", MoeConfig),
                "stream_interval": ("int", 1),
            }
        ),
        **({"max_stats_len": ("int", 1000), "sampler_type": ("str", "auto")} if has("1.1") else {}),
        **({"disable_flashinfer_sampling": ("bool", False)} if has("1.2") else {}),
    }
    ENGINE_ONLY = frozenset(_ENGINE_ONLY)


if HAS_ENGINES:

    class TrtLlmArgs(StrictModel):
        FIELDS = {**_BASE, **_ENGINE_ONLY}

    LlmArgs = TrtLlmArgs if IS_FIRST else TorchLlmArgs
