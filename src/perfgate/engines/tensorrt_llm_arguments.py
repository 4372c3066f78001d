"""An engine spec as arguments of TensorRT-LLM's `LLM`, in the names of a version and flow.

Limits of batch and sequence, the KV cache's size in tokens, its reuse, chunked prefill and the scheduler are
always stated: defaults have changed between versions, and a cache sized by free memory changes the batching.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.version import Version

from perfgate.case import Batching, Drafting, EngineSpec, Flow, Speculation
from perfgate.engines.server_profile import Scalar
from perfgate.engines.tensorrt_llm_checkpoint import DTYPES, ENGINE_ALGORITHMS, KV_ALGORITHMS, KV_DTYPES
from perfgate.engines.tensorrt_llm_own import NAME, Own, lacking, own_of
from perfgate.engines.tensorrt_llm_table import (
    ARGUMENTS,
    BUILD,
    DECODING,
    DRAFT_MODEL_KEYS,
    Group,
    own_flow,
)
from perfgate.errors import UsageError

_BLOCK = 32  # tokens of a block of the KV cache
KEPT_ITERATIONS = 100_000  # of statistics; older ones are lost


def flow_of(spec: EngineSpec, version: Version) -> Flow:
    """The spec's flow, else the one that its builder_cmd means, else the version's own."""
    return spec.flow or (Flow.ENGINE if spec.builder_cmd else own_flow(version))


def llm_arguments(spec: EngineSpec, flow: Flow, version: Version) -> dict[str, Any]:
    """Keyword arguments of `LLM`, with nested ones as plain mappings; 'model' and 'tokenizer' are not in it.

    Raises:
        UsageError: see `own_of`; or an argument is the user's and the spec's.
    """
    own = own_of(spec, flow, version)
    made = _common(spec) | (_torch(spec) if flow is Flow.PYTORCH else _engine(spec))
    made["kv_cache_config"]["max_tokens"] = kv_tokens(spec)
    if spec.speculative:
        made["speculative_config"] = _speculation(spec.speculative, version)
    out = _merged(made, own.llm)
    _refuse_decoding(out.get("speculative_config"), flow, version)
    return out | {name: value for name, value in _statistics(version, flow).items() if name not in out}


BUILDING = frozenset({"build_config", "quant_config", "calib_config", "fast_build", "enable_build_cache"})


def running(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those of building, which a built engine has in itself."""
    return {name: value for name, value in arguments.items() if name not in BUILDING}


def for_scoring(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments for exact log-probabilities of a prompt: no reuse, no chunks, no drafts.

    Tokens that come from reused blocks have no logits, and chunks with logits were never verified.
    """
    out = {name: value for name, value in arguments.items() if name != "speculative_config"}
    out["kv_cache_config"] = {**arguments["kv_cache_config"], "enable_block_reuse": False}
    out["enable_chunked_prefill"] = False
    if arguments.get("backend") == "pytorch":
        out["max_num_tokens"] = max(arguments["max_num_tokens"], arguments["max_seq_len"])  # a prompt is one step
    return out


def build_arguments(spec: EngineSpec, own: Own) -> dict[str, dict[str, Any]]:
    """Fields of BuildConfig and of its plugin_config, for the LLM API's own builder."""
    config: dict[str, Any] = {
        "max_batch_size": spec.max_batch_size,
        "max_input_len": spec.max_input_len or spec.max_seq_len,
        "max_seq_len": spec.max_seq_len,
        "max_num_tokens": spec.max_num_tokens,
        "max_beam_width": 1,
    }
    plugin: dict[str, Any] = {
        name: value
        for name, value in (("context_fmha", spec.context_fmha), ("remove_input_padding", spec.remove_input_padding))
        if value is not None
    }
    config |= {name: value for name, value in own.build.items() if BUILD[name] is Group.CONFIG}
    plugin |= {name: value for name, value in own.build.items() if BUILD[name] is Group.PLUGIN}
    return {"build_config": config, "plugin_config": plugin}


def quant_arguments(spec: EngineSpec) -> dict[str, str]:
    """Fields of QuantConfig as names of QuantAlgo; empty where nothing is quantised."""
    out = {}
    if spec.precision not in DTYPES:
        out["quant_algo"] = ENGINE_ALGORITHMS[spec.precision][0]
    if spec.kv_cache_dtype in KV_ALGORITHMS:
        out["kv_cache_quant_algo"] = KV_ALGORITHMS[spec.kv_cache_dtype]
    return out


def kv_tokens(spec: EngineSpec) -> int:
    """Tokens of KV cache that the largest batch of the longest sequences takes, with a block to spare for each."""
    blocks = -(-spec.max_seq_len // _BLOCK) + 1
    return spec.max_batch_size * blocks * _BLOCK


def _common(spec: EngineSpec) -> dict[str, Any]:
    static = "STATIC_BATCH" if spec.batching is Batching.STATIC else "GUARANTEED_NO_EVICT"
    out: dict[str, Any] = {
        "dtype": DTYPES.get(spec.precision, "auto"),
        "tensor_parallel_size": spec.tp,
        "pipeline_parallel_size": spec.pp,
        "max_batch_size": spec.max_batch_size,
        "max_num_tokens": spec.max_num_tokens,
        "max_seq_len": spec.max_seq_len,
        "max_beam_width": 1,
        "enable_chunked_prefill": spec.chunked_prefill,
        "kv_cache_config": {"enable_block_reuse": spec.prefix_caching},
        "scheduler_config": {"capacity_scheduler_policy": static},
    }
    return out | ({"max_input_len": spec.max_input_len} if spec.max_input_len else {})


def _torch(spec: EngineSpec) -> dict[str, Any]:
    out: dict[str, Any] = {
        "backend": "pytorch",
        "kv_cache_config": {"enable_block_reuse": spec.prefix_caching, "dtype": KV_DTYPES[spec.kv_cache_dtype]},
    }
    if spec.cuda_graphs is not None:  # larger batches than 128 run without graphs unless told
        shape = {"enable_padding": True, "max_batch_size": spec.max_batch_size}
        out["cuda_graph_config"] = shape if spec.cuda_graphs else None
    if spec.overlap_scheduler is not None:
        out["disable_overlap_scheduler"] = not spec.overlap_scheduler
    return out


def _engine(spec: EngineSpec) -> dict[str, Any]:
    out: dict[str, Any] = {"batching_type": "STATIC" if spec.batching is Batching.STATIC else "INFLIGHT"}
    if spec.cuda_graphs is not None:
        out["extended_runtime_perf_knob_config"] = {"cuda_graph_mode": spec.cuda_graphs}
    return out


def _statistics(version: Version, flow: Flow) -> dict[str, Any]:
    """What makes the engine keep statistics, in those versions that have it."""
    wished: dict[str, Any] = {"return_perf_metrics": True}
    if flow is Flow.PYTORCH:
        wished |= {"enable_iter_perf_stats": True, "max_stats_len": KEPT_ITERATIONS}
    else:
        wished |= {"iter_stats_max_iterations": KEPT_ITERATIONS}
    return {name: value for name, value in wished.items() if not lacking(name, ARGUMENTS, flow, version)}


def _speculation(wish: Speculation, version: Version) -> dict[str, Any]:
    match wish.method:
        case Drafting.NGRAM:
            return {"decoding_type": "NGram", "max_draft_len": wish.draft_len}
        case Drafting.DRAFT_MODEL:
            key = next((key for versions, key in DRAFT_MODEL_KEYS if versions.has(version)), DRAFT_MODEL_KEYS[0][1])
            return {"decoding_type": "Draft_Target", "max_draft_len": wish.draft_len, key: str(wish.model)}


def _refuse_decoding(config: Mapping[str, Any] | None, flow: Flow, version: Version) -> None:
    if config is None:
        return
    kind = config.get("decoding_type")
    if kind not in DECODING:
        raise UsageError(f"{NAME}: speculative_config.decoding_type is '{kind}', allowed: {', '.join(DECODING)}")
    ranges = {name: one.ranges for name, one in DECODING.items()}
    if reason := lacking(str(kind), ranges, flow, version):
        raise UsageError(f"{NAME}: speculative decoding: {reason}")


def _merged(made: Mapping[str, Any], own: Mapping[str, Scalar]) -> dict[str, Any]:
    """The spec's arguments with the user's own, 'kv_cache_config.max_tokens' being a field of one."""
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in made.items()}
    for name, value in own.items():
        *outer, last = name.split(".")
        inner = out
        for key in outer:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise UsageError(f"{NAME}: engine_args {name}: '{key}' has no fields here")
        if last in inner and name != "kv_cache_config.max_tokens" and outer[:1] == ["speculative_config"]:
            raise UsageError(f"{NAME}: engine_args {name} comes from the spec's key 'speculative': set that")
        inner[last] = value
    return out
