"""What a version of TensorRT-LLM cannot do with a spec on a device, in words a person can act on."""

from __future__ import annotations

from packaging.version import Version

from perfgate.case import Batching, Drafting, EngineSpec, Flow, KvDtype, Precision
from perfgate.device import Device
from perfgate.engines.tensorrt_llm_arguments import flow_of, llm_arguments
from perfgate.engines.tensorrt_llm_checkpoint import DTYPES, ENGINE_ALGORITHMS, HF_ALGORITHMS, KV_ALGORITHMS, KV_DTYPES
from perfgate.engines.tensorrt_llm_command import check_template
from perfgate.engines.tensorrt_llm_table import FLOWS, OLDEST
from perfgate.errors import UsageError

_FP8_SM, _BF16_SM = 89, 80
_GATHERS = ("gather_context_logits", "gather_all_token_logits")  # flags of trtllm-build


def first_reason(spec: EngineSpec, device: Device, version: Version) -> str | None:
    """The first reason for which the spec cannot run, or None."""
    if version < Version(OLDEST):
        return f"tensorrt_llm {version.public} is not known here: use {OLDEST} or newer"
    flow = flow_of(spec, version)
    own = _engine_flow(spec) if flow is Flow.ENGINE else _torch_flow(spec)
    reasons = _device(spec, device) | _flow(flow, version) | own | _numbers(spec)
    found = next((reason for reason, is_so in reasons.items() if is_so), None)
    return found or _arguments(spec, flow, version)


def unscorable(spec: EngineSpec, version: Version) -> str | None:
    """Why a supported spec's engine gives no log-probabilities of prompts, and what to set; None where it does."""
    if flow_of(spec, version) is not Flow.ENGINE or _gathers(spec):
        return None
    where = f"write --{_GATHERS[0]} into builder_cmd" if spec.builder_cmd else f"set engine_args {_GATHERS[0]}: true"
    what = "a compiled engine has no logits of prompts unless built for it"
    return f"{what}: {where}, in a spec of its own, as it slows prefill"


def _gathers(spec: EngineSpec) -> bool:
    """Whether the engine is built to keep the logits of prompts."""
    words = (spec.builder_cmd or "").replace("=", " ").split()
    return dict(spec.engine_args).get(_GATHERS[0]) is True or any(f"--{name}" in words for name in _GATHERS)


def _arguments(spec: EngineSpec, flow: Flow, version: Version) -> str | None:
    try:
        llm_arguments(spec, flow, version)
        if spec.builder_cmd:
            check_template(spec)
    except UsageError as exc:
        return str(exc)
    return None


def _device(spec: EngineSpec, device: Device) -> dict[str, bool]:
    sm = int(device.key.partition("/")[0].removeprefix("sm_")) if device.is_gpu else 0
    return {
        f"TensorRT-LLM needs an NVIDIA GPU; this is {device.key}": not device.is_gpu,
        f"fp8 weights need sm_{_FP8_SM} or newer (Ada, Hopper); this is {device.key}": (
            spec.precision is Precision.FP8 and sm < _FP8_SM
        ),
        f"an fp8 KV cache needs sm_{_FP8_SM} or newer (Ada, Hopper); this is {device.key}": (
            spec.kv_cache_dtype is KvDtype.FP8 and sm < _FP8_SM
        ),
        f"bf16 needs sm_{_BF16_SM} or newer; this is {device.key}: set precision: fp16": (
            spec.precision is Precision.BF16 and sm < _BF16_SM
        ),
    }


def _flow(flow: Flow, version: Version) -> dict[str, bool]:
    return {
        f"tensorrt_llm {version.public} has no flow {flow}: it is in {FLOWS[flow]}; set flow: {other}": (
            not FLOWS[flow].has(version)
        )
        for other in Flow
        if other is not flow
    }


def _engine_flow(spec: EngineSpec) -> dict[str, bool]:
    has_blocks = spec.prefix_caching or spec.chunked_prefill
    allowed = ", ".join((*DTYPES, *ENGINE_ALGORITHMS))
    return {
        f"precision {spec.precision} is not in the flow engine; it has {allowed}": (
            spec.precision not in (*DTYPES, *ENGINE_ALGORITHMS)
        ),
        f"KV cache {spec.kv_cache_dtype} on the flow engine: set auto, {', '.join(KV_ALGORITHMS)} or the compute "
        "precision": (
            spec.kv_cache_dtype not in (KvDtype.AUTO, *KV_ALGORITHMS)
            and spec.kv_cache_dtype.value != spec.precision.value
        ),
        "in-flight batching needs the paged KV cache: set paged_kv: true, or batching: static": (
            spec.batching is Batching.INFLIGHT and not spec.paged_kv
        ),
        "in-flight batching needs remove_input_padding: set it to true, or batching: static": (
            spec.batching is Batching.INFLIGHT and spec.remove_input_padding is False
        ),
        "prefix caching and chunked prefill need the paged KV cache: set paged_kv: true": (
            has_blocks and not spec.paged_kv
        ),
        "prefix caching and chunked prefill need context FMHA: leave context_fmha out": (
            has_blocks and spec.context_fmha is False
        ),
        "the overlap scheduler is of the flow pytorch: leave overlap_scheduler out": spec.overlap_scheduler is not None,
        "n-gram drafts are of the flow pytorch: set flow: pytorch": (
            spec.speculative is not None and spec.speculative.method is Drafting.NGRAM
        ),
        "a draft model beside a compiled engine is not in this backend: set flow: pytorch": (
            spec.speculative is not None and spec.speculative.method is Drafting.DRAFT_MODEL
        ),
    }


def _torch_flow(spec: EngineSpec) -> dict[str, bool]:
    allowed = ", ".join((*DTYPES, *HF_ALGORITHMS))
    return {
        f"builder_cmd builds engines, and the flow pytorch has none ({FLOWS[Flow.ENGINE]} has): set flow: engine": (
            spec.builder_cmd is not None
        ),
        f"precision {spec.precision} is not in the flow pytorch, which has {allowed}; set flow: engine "
        f"({FLOWS[Flow.ENGINE]})": (spec.precision not in (*DTYPES, *HF_ALGORITHMS)),
        f"KV cache {spec.kv_cache_dtype} is not in the flow pytorch, which has {', '.join(KV_DTYPES)}": (
            spec.kv_cache_dtype not in KV_DTYPES
        ),
        "the flow pytorch quantises nothing: quantise the checkpoint first (ModelOpt), or set flow: engine": (
            spec.quantisation is not None
        ),
        "the flow pytorch keeps a paged KV cache: set paged_kv: true": not spec.paged_kv,
        "context_fmha and remove_input_padding are of the flow engine: set it, or leave them out": (
            (spec.context_fmha, spec.remove_input_padding) != (None, None)
        ),
    }


def _numbers(spec: EngineSpec) -> dict[str, bool]:
    return {
        f"max_num_tokens must be at least max_batch_size, {spec.max_batch_size}": (
            spec.max_num_tokens < spec.max_batch_size
        ),
        f"max_input_len must be below max_seq_len, {spec.max_seq_len}": (
            spec.max_input_len is not None and spec.max_input_len >= spec.max_seq_len
        ),
        "speculative decoding needs in-flight batching": (
            spec.batching is Batching.STATIC and spec.speculative is not None
        ),
    }
