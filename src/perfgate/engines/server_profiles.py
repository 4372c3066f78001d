"""Profiles of `vllm serve`, SGLang and `transformers serve`, and the table of all (see `server_profile`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from packaging.version import Version

from perfgate.case import EngineSpec, KvDtype, Precision
from perfgate.engines import vllm_arguments
from perfgate.engines.kept import LOOPBACK, Routes
from perfgate.engines.server_profile import DTYPES, Command, Place, Profile, options, own_arguments, own_options, refuse
from perfgate.engines.trtllm_serve import TRTLLM_SERVE
from perfgate.errors import UsageError
from perfgate.schema import nearest

_CHECKPOINT = (Precision.INT4_AWQ, Precision.INT4_GPTQ)  # what the checkpoint says of itself; no option needed


def profile(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROFILES:
        raise UsageError(f"no server profile '{name}'; there are {', '.join(PROFILES)}{nearest(name, list(PROFILES))}")
    return PROFILES[name]


def _dtype_and_quantisation(name: str, precision: Precision) -> tuple[str, str | None]:
    """--dtype and --quantization: fp8 is made of the checkpoint's weights at load; 4 bits must be in the checkpoint."""
    known = (*DTYPES, Precision.FP8, *_CHECKPOINT)
    refuse(name, {f"precision {precision} is not served here; it has {', '.join(known)}": precision not in known})
    return DTYPES.get(precision, "auto"), "fp8" if precision is Precision.FP8 else None


def _kv_dtype(name: str, spec: EngineSpec, known: Mapping[KvDtype, str]) -> str:
    """The server's name for it; a cache in the compute precision is its own choice and may have no name."""
    wish = spec.kv_cache_dtype
    if spec.precision in DTYPES and wish.value == spec.precision.value:
        return "auto"
    refuse(name, {f"KV cache {wish} is not served here; it has {', '.join(known)}": wish not in known})
    return known[wish]


# ------------------------------------------------------------------ vllm serve


def _vllm(spec: EngineSpec, place: Place, _: Version) -> Command:
    given = vllm_arguments.as_options(vllm_arguments.arguments(spec, "vllm serve"))
    words = options([("--host", LOOPBACK), ("--port", place.port)])
    return Command((str(spec.model), *words, *own_options("vllm serve", given, has_off=True)))


# ------------------------------------------------------------------ SGLang

_SGLANG_OURS = {
    "host": "port",
    "port": "port",
    "model": "model",
    "model_path": "model",
    "dtype": "precision",
    "quantization": "precision",
    "tp": "tp",
    "tp_size": "tp",
    "tensor_parallel_size": "tp",
    "pp_size": "pp",
    "pipeline_parallel_size": "pp",
    "max_running_requests": "max_batch_size",
    "context_length": "max_seq_len",
    "kv_cache_dtype": "kv_cache_dtype",
    "chunked_prefill_size": "chunked_prefill",
    "max_prefill_tokens": "max_num_tokens",
    "disable_radix_cache": "prefix_caching",
    "disable_cuda_graph": "cuda_graphs",
    "disable_overlap_schedule": "overlap_scheduler",
    "speculative_algorithm": "speculative",
}


_SGLANG_KV_DTYPES = {KvDtype.AUTO: "auto", KvDtype.BF16: "bf16", KvDtype.FP8: "fp8_e4m3"}


def _sglang(spec: EngineSpec, place: Place, _: Version) -> Command:
    own = own_arguments("sglang", spec, _SGLANG_OURS)
    dtype, quantisation = _dtype_and_quantisation("sglang", spec.precision)
    refuse("sglang", {"speculation is not in this profile: leave speculative out": spec.speculative is not None})
    words = options(
        [
            ("--model-path", str(spec.model)),
            ("--host", LOOPBACK),
            ("--port", place.port),
            ("--dtype", dtype),
            ("--quantization", quantisation),
            ("--tp-size", spec.tp),
            ("--pp-size", spec.pp),
            ("--max-running-requests", spec.max_batch_size),
            ("--context-length", spec.max_seq_len),
            ("--max-prefill-tokens", spec.max_num_tokens),
            ("--chunked-prefill-size", spec.max_num_tokens if spec.chunked_prefill else -1),
            ("--kv-cache-dtype", _kv_dtype("sglang", spec, _SGLANG_KV_DTYPES)),
        ]
    )
    off = {
        "--disable-radix-cache": not spec.prefix_caching,
        "--disable-cuda-graph": spec.cuda_graphs is False,
        "--disable-overlap-schedule": spec.overlap_scheduler is False,
    }
    stated = tuple(option for option, is_set in off.items() if is_set)
    return Command((*words, *stated, *own_options("sglang", own, has_off=False)))


# ------------------------------------------------------------------ transformers serve

_TRANSFORMERS_OURS = {
    "host": "port",
    "port": "port",
    "force_model": "model",
    "dtype": "precision",
    "quantization": "precision",
    "continuous_batching": "batching",
    "cb_max_batch_tokens": "max_num_tokens",
    "cb_use_cuda_graph": "cuda_graphs",
}
_UNBOUNDED = "transformers serve has no option for max_batch_size and max_seq_len: neither is limited"


def _transformers(spec: EngineSpec, place: Place, _: Version) -> Command:
    name = "transformers serve"
    own = own_arguments(name, spec, _TRANSFORMERS_OURS)
    refuse(
        name,
        {
            f"precision {spec.precision} is not served here; it has {', '.join(DTYPES)}": spec.precision not in DTYPES,
            f"KV cache {spec.kv_cache_dtype}: it is kept in the compute precision; set auto or {spec.precision}": (
                spec.kv_cache_dtype not in {KvDtype.AUTO.value, spec.precision.value}
            ),
            "it runs on one device: tp and pp must be 1": (spec.tp, spec.pp) != (1, 1),
            "it has no option for chunked prefill: set chunked_prefill: false": spec.chunked_prefill,
            "it has no option for prefix caching: set prefix_caching: false": spec.prefix_caching,
            "it has no speculation: leave speculative out": spec.speculative is not None,
            "the overlap scheduler is not in it: leave overlap_scheduler out": spec.overlap_scheduler is not None,
        },
    )
    words = options(
        [
            ("--host", LOOPBACK),
            ("--port", place.port),
            ("--dtype", DTYPES[spec.precision]),
            ("--cb-max-batch-tokens", spec.max_num_tokens),
        ]
    )
    graphs = {None: (), True: ("--cb-use-cuda-graph",), False: ("--no-cb-use-cuda-graph",)}[spec.cuda_graphs]
    given = own_options(name, own, has_off=True)
    return Command((str(spec.model), *words, "--continuous-batching", *graphs, *given), notes=(_UNBOUNDED,))


PROFILES: Mapping[str, Profile] = {
    one.name: one
    for one in (
        TRTLLM_SERVE,
        Profile(
            "vllm serve", ("vllm", "serve"), vllm_arguments.OLDEST, _vllm, returns_token_ids=True, has_load_format=True
        ),
        Profile(
            "sglang",
            (sys.executable, "-m", "sglang.launch_server"),
            "0.5",
            _sglang,
            routes=Routes(facts=("/v1/models", "/get_server_info", "/server_info")),
            has_load_format=True,
        ),
        Profile(
            "transformers serve",
            ("transformers", "serve"),
            "5.5",
            _transformers,
            routes=Routes(facts=("/v1/models",)),
            takes_token_ids=False,
            takes_ignore_eos=False,
            is_pinned=True,
        ),
    )
}
