"""A double of vLLM 0.26.0's `EngineArgs`: its fields, and what `create_engine_config` refuses of those we use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

KV_DTYPES = (  # CacheDType, config/cache.py
    *("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla"),
    *("turboquant_k8v4", "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc"),
    *("int4_per_token_head", "int8_per_token_head", "fp8_per_token_head", "nvfp4"),
)
DTYPES = ("auto", "half", "float16", "bfloat16", "float", "float32")
SPECULATION = (  # SpeculativeConfig, config/speculative.py: the fields of n-gram and draft-model methods
    *("num_speculative_tokens", "model", "method", "draft_tensor_parallel_size", "quantization", "max_model_len"),
    *("prompt_lookup_max", "prompt_lookup_min", "rejection_sample_method", "synthetic_acceptance_length"),
    *("synthetic_acceptance_rates", "draft_sample_method", "enforce_eager"),
)


@dataclass
class EngineArgs:
    """Every field of the original; an unknown one is a TypeError, as there."""

    model: Any = ""
    enable_return_routed_experts: Any = None
    model_weights: Any = None
    served_model_name: Any = None
    tokenizer: Any = None
    hf_config_path: Any = None
    runner: Any = None
    convert: Any = None
    skip_tokenizer_init: Any = None
    enable_prompt_embeds: Any = None
    tokenizer_mode: Any = None
    trust_remote_code: Any = None
    allowed_local_media_path: Any = None
    allowed_media_domains: Any = None
    download_dir: Any = None
    safetensors_load_strategy: Any = None
    safetensors_prefetch_num_threads: Any = None
    safetensors_prefetch_block_size: Any = None
    load_format: Any = "auto"
    config_format: Any = None
    dtype: Any = "auto"
    kv_cache_dtype: Any = "auto"
    seed: Any = None
    max_model_len: Any = None
    cudagraph_capture_sizes: Any = None
    max_cudagraph_capture_size: Any = None
    ir_op_priority: Any = None
    distributed_executor_backend: Any = None
    pipeline_parallel_size: Any = 1
    master_addr: Any = None
    master_port: Any = None
    nnodes: Any = None
    node_rank: Any = None
    distributed_timeout_seconds: Any = None
    cpu_distributed_timeout_seconds: Any = None
    numa_bind: Any = None
    numa_bind_nodes: Any = None
    numa_bind_cpus: Any = None
    device_ids: Any = None
    tensor_parallel_size: Any = 1
    prefill_context_parallel_size: Any = None
    decode_context_parallel_size: Any = None
    dcp_comm_backend: Any = None
    dcp_kv_cache_interleave_size: Any = None
    cp_kv_cache_interleave_size: Any = None
    data_parallel_size: Any = None
    data_parallel_rank: Any = None
    data_parallel_start_rank: Any = None
    data_parallel_size_local: Any = None
    data_parallel_address: Any = None
    data_parallel_rpc_port: Any = None
    data_parallel_hybrid_lb: Any = None
    data_parallel_external_lb: Any = None
    data_parallel_multi_port_external_lb: Any = None
    data_parallel_backend: Any = None
    enable_expert_parallel: Any = None
    enable_ep_weight_filter: Any = None
    moe_backend: Any = None
    linear_backend: Any = None
    all2all_backend: Any = None
    enable_elastic_ep: Any = None
    enable_dbo: Any = None
    ubatch_size: Any = None
    dbo_decode_token_threshold: Any = None
    dbo_prefill_token_threshold: Any = None
    disable_nccl_for_dp_synchronization: Any = None
    eplb_config: Any = None
    enable_eplb: Any = None
    expert_placement_strategy: Any = None
    _api_process_count: Any = None
    _api_process_rank: Any = None
    max_parallel_loading_workers: Any = None
    block_size: Any = None
    enable_prefix_caching: Any = None
    prefix_caching_hash_algo: Any = None
    disable_sliding_window: Any = None
    disable_cascade_attn: Any = None
    offload_backend: Any = None
    cpu_offload_gb: Any = None
    cpu_offload_params: Any = None
    offload_group_size: Any = None
    offload_num_in_group: Any = None
    offload_prefetch_step: Any = None
    offload_params: Any = None
    gpu_memory_utilization: Any = 0.92
    kv_cache_memory_bytes: Any = None
    max_num_batched_tokens: Any = None
    max_num_scheduled_tokens: Any = None
    max_num_partial_prefills: Any = None
    max_long_partial_prefills: Any = None
    long_prefill_token_threshold: Any = None
    max_num_seqs: Any = None
    max_logprobs: Any = 20
    logprobs_mode: Any = None
    use_fp64_gumbel: Any = None
    disable_log_stats: Any = False
    aggregate_engine_logging: Any = None
    revision: Any = None
    code_revision: Any = None
    hf_token: Any = None
    hf_overrides: Any = None
    model_class_overrides: Any = None
    tokenizer_revision: Any = None
    quantization: Any = None
    quantization_config: Any = None
    allow_deprecated_quantization: Any = None
    enforce_eager: Any = False
    disable_custom_all_reduce: Any = None
    language_model_only: Any = None
    limit_mm_per_prompt: Any = None
    enable_mm_embeds: Any = None
    interleave_mm_strings: Any = None
    media_io_kwargs: Any = None
    mm_processor_kwargs: Any = None
    mm_processor_cache_gb: Any = None
    mm_processor_cache_type: Any = None
    mm_shm_cache_max_object_size_mb: Any = None
    mm_encoder_only: Any = None
    mm_encoder_tp_mode: Any = None
    mm_encoder_attn_backend: Any = None
    mm_encoder_attn_dtype: Any = None
    mm_encoder_fp8_scale_path: Any = None
    mm_encoder_fp8_scale_save_path: Any = None
    mm_encoder_fp8_scale_save_margin: Any = None
    io_processor_plugin: Any = None
    renderer_num_workers: Any = None
    skip_mm_profiling: Any = None
    video_pruning_rate: Any = None
    mm_tensor_ipc: Any = None
    mm_ipc_gpu_memory_gb: Any = None
    enable_lora: Any = None
    max_loras: Any = None
    max_lora_rank: Any = None
    default_mm_loras: Any = None
    fully_sharded_loras: Any = None
    max_cpu_loras: Any = None
    lora_dtype: Any = None
    lora_target_modules: Any = None
    enable_tower_connector_lora: Any = None
    specialize_active_lora: Any = None
    enable_mixed_moe_lora_format: Any = None
    enable_moe_shared_loras: Any = None
    ray_workers_use_nsight: Any = None
    num_gpu_blocks_override: Any = None
    model_loader_extra_config: Any = None
    ignore_patterns: Any = None
    enable_chunked_prefill: Any = None
    disable_chunked_mm_input: Any = None
    scheduler_reserve_full_isl: Any = None
    prefill_schedule_interval: Any = None
    watermark: Any = None
    disable_hybrid_kv_cache_manager: Any = None
    structured_outputs_config: Any = None
    reasoning_parser: Any = None
    reasoning_parser_plugin: Any = None
    speculative_config: Any = None
    spec_method: Any = None
    spec_model: Any = None
    spec_tokens: Any = None
    diffusion_config: Any = None
    show_hidden_metrics_for_version: Any = None
    otlp_traces_endpoint: Any = None
    collect_detailed_traces: Any = None
    kv_cache_metrics: Any = None
    kv_cache_metrics_sample: Any = None
    cudagraph_metrics: Any = None
    enable_layerwise_nvtx_tracing: Any = None
    enable_mfu_metrics: Any = None
    enable_logging_iteration_details: Any = None
    jit_monitor_mode: Any = None
    jit_monitor_verbose: Any = None
    enable_mm_processor_stats: Any = None
    scheduling_policy: Any = None
    scheduler_cls: Any = None
    pooler_config: Any = None
    compilation_config: Any = None
    attention_config: Any = None
    mamba_config: Any = None
    kernel_config: Any = None
    enable_flashinfer_autotune: Any = None
    enable_bf16x3_router_gemm: Any = None
    worker_cls: Any = None
    worker_extension_cls: Any = None
    profiler_config: Any = None
    kv_transfer_config: Any = None
    kv_events_config: Any = None
    ec_transfer_config: Any = None
    reasoning_config: Any = None
    generation_config: Any = None
    enable_sleep_mode: Any = None
    enable_cumem_allocator: Any = None
    override_generation_config: Any = None
    model_impl: Any = None
    override_attention_dtype: Any = None
    attention_backend: Any = None
    calculate_kv_scales: Any = None
    kv_cache_dtype_skip_layers: Any = None
    mamba_cache_dtype: Any = None
    mamba_ssm_cache_dtype: Any = None
    mamba_block_size: Any = None
    prefix_match_unit: Any = None
    mamba_cache_mode: Any = None
    mamba_backend: Any = None
    enable_mamba_cache_stochastic_rounding: Any = None
    mamba_cache_philox_rounds: Any = None
    additional_config: Any = None
    use_tqdm_on_load: Any = None
    pt_load_map_location: Any = None
    logits_processors: Any = None
    async_scheduling: Any = None
    stream_interval: Any = 1
    kv_sharing_fast_prefill: Any = None
    optimization_level: Any = None
    performance_mode: Any = None
    kv_offloading_size: Any = None
    kv_offloading_backend: Any = None
    tokens_only: Any = None
    shutdown_timeout: Any = None
    weight_transfer_config: Any = None
    fail_on_environ_validation: Any = None
    gdn_prefill_backend: Any = None

    def create_engine_config(self) -> SimpleNamespace:
        """The configuration after defaults.

        Raises:
            ValueError: what the original refuses.
        """
        config = json.loads((Path(self.model) / "config.json").read_text())
        self._check(config)
        return SimpleNamespace(
            model_config=SimpleNamespace(
                dtype=f"torch.{config.get('dtype', 'bfloat16') if self.dtype == 'auto' else self.dtype}",
                quantization=self.quantization,
                max_model_len=self.max_model_len,
                enforce_eager=self.enforce_eager,
                vocab_size=config["vocab_size"],
            ),
            load_config=SimpleNamespace(load_format=self.load_format),
            compilation_config=SimpleNamespace(cudagraph_mode=self._cudagraph_mode()),
            cache_config=SimpleNamespace(
                cache_dtype=self.kv_cache_dtype,
                num_gpu_blocks=512,
                block_size=16,
                enable_prefix_caching=self.enable_prefix_caching is not False,
            ),
            scheduler_config=SimpleNamespace(
                enable_chunked_prefill=self.enable_chunked_prefill is not False,
                async_scheduling=self._is_ahead(),
                max_num_seqs=self.max_num_seqs,
                max_num_batched_tokens=self.max_num_batched_tokens,
            ),
            parallel_config=SimpleNamespace(
                tensor_parallel_size=self.tensor_parallel_size, pipeline_parallel_size=self.pipeline_parallel_size
            ),
            speculative_config=SimpleNamespace(**self.speculative_config) if self.speculative_config else None,
            use_v2_model_runner=self.speculative_config is None,
        )

    def _check(self, config: dict[str, Any]) -> None:
        ways = self.speculative_config or {}
        method, unknown = ways.get("method"), set(ways) - set(SPECULATION)
        written = config.get("quantization_config", {}).get("quant_method")
        faults = {
            f"dtype: Input should be one of {DTYPES}": self.dtype not in DTYPES,
            f"cache_dtype: Input should be one of {KV_DTYPES}": self.kv_cache_dtype not in KV_DTYPES,
            f"Unknown quantization method: {self.quantization}": self.quantization not in (None, "fp8"),
            f"{written} and {self.quantization} do not match": bool(written) and self.quantization is not None,
            f"max_num_batched_tokens ({self.max_num_batched_tokens}) is smaller than max_model_len": (
                self.max_num_batched_tokens < self.max_model_len and self.enable_chunked_prefill is False
            ),
            "max_num_batched_tokens must be greater than or equal to max_num_seqs": (
                self.max_num_batched_tokens < self.max_num_seqs
            ),
            f"speculative_config: Unexpected keyword argument {sorted(unknown)}": bool(unknown),
            "Currently, async scheduling is only supported with EAGLE/MTP/Draft Model kind of speculative decoding": (
                self.async_scheduling is True and method == "ngram"
            ),
            "Cannot find any model weights": (
                self.load_format == "auto" and not [*Path(self.model).glob("*.safetensors")]
            ),
        }
        for fault, is_so in faults.items():
            if is_so:
                raise ValueError(fault)

    def _is_ahead(self) -> bool:
        """Asynchronous scheduling is the default but with n-gram and draft-model speculation."""
        return self.speculative_config is None if self.async_scheduling is None else self.async_scheduling

    def _cudagraph_mode(self) -> SimpleNamespace:
        asked = (self.compilation_config or {}).get("cudagraph_mode", "FULL_AND_PIECEWISE")
        return SimpleNamespace(name="NONE" if self.enforce_eager else asked)
