"""The profile of `trtllm-serve` on the PyTorch backend, 0.20 to 1.3; not yet run against the real package.

Only the flags that every version from 1.0 on has are used; all else goes into the YAML of `LLM` arguments
(--extra_llm_api_options, of which --config is a newer alias). KV-cache reuse, chunked prefill and CUDA
graphs are always stated, since their defaults have changed between versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from packaging.version import Version

from perfgate.case import Drafting, EngineSpec, Speculation
from perfgate.engines.kept import LOOPBACK, Routes
from perfgate.engines.server_profile import DTYPES, Command, Place, Profile, Scalar, options, own_arguments, refuse
from perfgate.engines.tensorrt_llm_checkpoint import HF_ALGORITHMS, KV_DTYPES, hf_algorithm
from perfgate.errors import UsageError

_NAME = "trtllm-serve"
_FIRST_STABLE = Version("1.0")  # cuda_graph_config, the YAML's nested draft model; 0.20 had flat names
_NO_ENGINES = Version("1.3.0rc21")  # from here the nested draft model is called speculative_model

_FLAGS = ("ep_size", "kv_cache_free_gpu_memory_fraction")  # of the user's own arguments; others go into the YAML
_OURS = {
    "host": "port",
    "port": "port",
    "model": "model",
    "dtype": "precision",
    "backend": "backend",
    "tensor_parallel_size": "tp",
    "tp_size": "tp",
    "pipeline_parallel_size": "pp",
    "pp_size": "pp",
    "max_batch_size": "max_batch_size",
    "max_num_tokens": "max_num_tokens",
    "max_seq_len": "max_seq_len",
    "enable_chunked_prefill": "chunked_prefill",
    "disable_overlap_scheduler": "overlap_scheduler",
    "cuda_graph_config": "cuda_graphs",
    "use_cuda_graph": "cuda_graphs",
    "kv_cache_config.dtype": "kv_cache_dtype",
    "kv_cache_config.enable_block_reuse": "prefix_caching",
    "speculative_config": "speculative",
}
_WRONG = {  # spellings of vLLM, trtllm-bench, trtllm-build and older releases
    "quantization": "name a checkpoint that is quantised already",
    "quant_config": "the PyTorch backend takes it from the checkpoint",
    "kv_cache_dtype": "set the spec's key kv_cache_dtype",
    "kv_cache_free_gpu_mem_fraction": "trtllm-bench spells it so; here it is kv_cache_free_gpu_memory_fraction",
    "free_gpu_memory_fraction": "write kv_cache_free_gpu_memory_fraction, which all versions have",
    "enable_prefix_caching": "vLLM spells it so; set the spec's key prefix_caching",
    "enable_chunked_context": "trtllm-bench spells it so; set the spec's key chunked_prefill",
    "max_chunked_prefill_length": "a chunk is bounded by the spec's max_num_tokens",
    "scheduler_policy": "trtllm-bench spells it so; write scheduler_config.capacity_scheduler_policy",
    "speculative_model": "set the spec's key speculative",
    "num_speculative_tokens": "vLLM spells it so; set the spec's key speculative",
    "enable_cuda_graph": "set the spec's key cuda_graphs",
    "cuda_graph_cache_size": "it belongs to the TensorRT-engine backend",
}


def _command(spec: EngineSpec, place: Place, version: Version) -> Command:
    own = own_arguments(_NAME, spec, _OURS, _WRONG)
    refuse(_NAME, _lacking(spec, version))
    config = place.folder / f"{spec.name}.trtllm-serve.yaml"
    words = options(
        [
            ("--host", LOOPBACK),
            ("--port", place.port),
            ("--backend", "pytorch"),
            ("--tp_size", spec.tp),
            ("--pp_size", spec.pp),
            ("--max_batch_size", spec.max_batch_size),
            ("--max_num_tokens", spec.max_num_tokens),
            ("--max_seq_len", spec.max_seq_len),
            *((f"--{name}", own[name]) for name in _FLAGS if name in own),
            ("--extra_llm_api_options", str(config)),
        ]
    )
    nested = {name: value for name, value in own.items() if name not in _FLAGS}
    text = yaml.safe_dump(_with_dotted(_llm_arguments(spec, version), nested), sort_keys=True)
    return Command((str(spec.model), *words), {config: text})


def _lacking(spec: EngineSpec, version: Version) -> dict[str, bool]:
    return {
        f"KV cache {spec.kv_cache_dtype}: the PyTorch backend has {', '.join(KV_DTYPES)}": (
            spec.kv_cache_dtype not in KV_DTYPES
        ),
        f"precision {spec.precision} is not served by the PyTorch backend: it has "
        f"{', '.join([*DTYPES, *HF_ALGORITHMS])}": spec.precision not in (*DTYPES, *HF_ALGORITHMS),
        f"version {version} has no speculation in its configuration file: use 1.0 or newer": (
            spec.speculative is not None and version < _FIRST_STABLE
        ),
    }


def _llm_arguments(spec: EngineSpec, version: Version) -> dict[str, Any]:
    """The YAML: arguments of `LLM`, in the names of the version."""
    kv_cache = {"enable_block_reuse": spec.prefix_caching, "dtype": KV_DTYPES[spec.kv_cache_dtype]}
    out: dict[str, Any] = {
        "dtype": _dtype(spec),
        "enable_chunked_prefill": spec.chunked_prefill,
        "kv_cache_config": kv_cache,
        **_graphs(spec, version),
    }
    if spec.overlap_scheduler is not None:
        out["disable_overlap_scheduler"] = not spec.overlap_scheduler
    if spec.speculative:
        out["speculative_config"] = _speculation(spec.speculative, version)
    return out


def _dtype(spec: EngineSpec) -> str:
    """The compute type; a precision that is a quantisation must be the checkpoint's own."""
    if spec.precision in DTYPES:
        return DTYPES[spec.precision]
    found, wanted = hf_algorithm(spec.model), HF_ALGORITHMS[spec.precision]
    if found not in wanted:
        raise UsageError(
            f"{_NAME}: precision {spec.precision} needs a checkpoint with quant_algo {' or '.join(wanted)} in "
            f"{spec.model / 'hf_quant_config.json'}, found {found or 'none'}: quantise it first"
        )
    return "auto"


def _graphs(spec: EngineSpec, version: Version) -> dict[str, Any]:
    """CUDA graphs up to the largest batch: by default larger ones than 128 run without."""
    if spec.cuda_graphs is None:
        return {}
    if version < _FIRST_STABLE:
        return {"use_cuda_graph": spec.cuda_graphs}
    shape = {"enable_padding": True, "max_batch_size": spec.max_batch_size}
    return {"cuda_graph_config": shape if spec.cuda_graphs else None}


def _speculation(wish: Speculation, version: Version) -> dict[str, Any]:
    match wish.method:
        case Drafting.NGRAM:
            return {"decoding_type": "NGram", "max_draft_len": wish.draft_len}
        case Drafting.DRAFT_MODEL:
            key = "speculative_model" if version >= _NO_ENGINES else "speculative_model_dir"
            return {"decoding_type": "Draft_Target", "max_draft_len": wish.draft_len, key: str(wish.model)}


def _with_dotted(config: Mapping[str, Any], own: Mapping[str, Scalar]) -> dict[str, Any]:
    """The configuration with the user's own arguments, 'kv_cache_config.max_tokens' being a key within a key."""
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in config.items()}
    for name, value in own.items():
        *outer, last = name.split(".")
        inner = out
        for key in outer:
            inner = inner.setdefault(key, {})
            refuse(_NAME, {f"engine_args {name}: '{key}' is not a group of settings here": not isinstance(inner, dict)})
        inner[last] = value
    return out


TRTLLM_SERVE = Profile(
    name=_NAME,
    program=("trtllm-serve",),
    oldest="0.20",
    command=_command,
    routes=Routes(health=("/health", "/v1/models"), facts=("/version", "/v1/models", "/server_info")),
)
