"""What the transformers backend can do: packages, precisions, techniques; imports no engine library."""

from __future__ import annotations

from collections.abc import Mapping

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, Precision
from perfgate.device import Device
from perfgate.engines.base import Support
from perfgate.engines.installed import version_of
from perfgate.foreign_json import ForeignJsonError, read_json, whole_number

TORCH_NAMES = {Precision.FP32: "float32", Precision.FP16: "float16", Precision.BF16: "bfloat16"}
QUANTISED = (Precision.INT8_WO, Precision.INT4_WO, Precision.FP8)
QUANTISING = {Precision.INT4_WO: frozenset({"group_size", "symmetric"})}  # options that torchao is told
ATTENTION = ("sdpa", "eager")  # others fetch kernels or need packages of their own
_DIVIDED = ("num_attention_heads", "num_key_value_heads", "intermediate_size")  # among ranks
_BF16_SM, _FP8_SM = 80, 89  # the first architectures that multiply them


def support(spec: EngineSpec, device: Device) -> Support:
    """Whether the backend runs a spec on a device: first what it cannot do, then what has to be installed."""
    refused = _first(_refused_numbers(spec, device) | _refused_features(spec, device))
    missing = _first(_lacking(spec, device))
    return Support(refused or missing, is_missing=refused is None and missing is not None)


def has_weights(spec: EngineSpec) -> bool:
    """Whether the checkpoint's weights are read; otherwise they are random, for speed alone."""
    return dict(spec.engine_args).get("load_format") != "dummy"


def _first(reasons: Mapping[str, bool]) -> str | None:
    return next((reason for reason, is_so in reasons.items() if is_so), None)


def _lacking(spec: EngineSpec, device: Device) -> dict[str, bool]:
    """Packages that the spec needs."""
    extra = "pip install 'pytest-perfgate[transformers]'"
    return {
        f"transformers is not installed: {extra}": version_of("transformers") is None,
        f"torch is not installed: {extra}": version_of("torch") is None,
        "torch is a build for CPUs (+cpu): install one for CUDA, see https://pytorch.org/get-started/locally": (
            device.is_gpu and "+cpu" in (version_of("torch") or "")
        ),
        f"{spec.precision} weights are made by torchao, which is not installed: pip install torchao": (
            spec.precision in QUANTISED and version_of("torchao") is None
        ),
        "continuous batching on a CPU asks psutil for its memory, which is not installed: pip install psutil": (
            spec.batching is Batching.INFLIGHT and not device.is_gpu and version_of("psutil") is None
        ),
    }


def _refused_numbers(spec: EngineSpec, device: Device) -> dict[str, bool]:
    """Precisions, of weights, compute and the KV cache."""
    compute = compute_precision(spec.precision, is_gpu=device.is_gpu)
    allowed = ", ".join((*TORCH_NAMES, *QUANTISED))
    return {
        f"precision {spec.precision} is not made by this backend; it has {allowed}": (
            spec.precision not in (*TORCH_NAMES, *QUANTISED)
        ),
        "fp16 is for GPUs here: on a CPU set precision to fp32 or bf16": (
            spec.precision is Precision.FP16 and not device.is_gpu
        ),
        f"fp8 multiplication needs a GPU of sm_89 or newer; this is {device.key}": (
            spec.precision is Precision.FP8 and not (device.is_gpu and _sm(device) >= _FP8_SM)
        ),
        f"{spec.precision} computes in bf16, which needs sm_80 or newer; this is {device.key}": (
            device.is_gpu and compute is Precision.BF16 and _sm(device) < _BF16_SM
        ),
        "torchao's int4 for GPUs always has zero points: leave quantisation.symmetric out": (
            device.is_gpu and spec.quantisation is not None and spec.quantisation.symmetric is not None
        ),
        f"KV cache {spec.kv_cache_dtype}: transformers keeps it in the compute precision; set auto or {compute}": (
            spec.kv_cache_dtype not in (KvDtype.AUTO, KvDtype(compute))
        ),
    }


def _refused_features(spec: EngineSpec, device: Device) -> dict[str, bool]:
    """Techniques that this backend does not have."""
    given = dict(spec.engine_args)
    return {
        "this backend has no pipeline parallelism: set pp to 1": spec.pp != 1,
        "CUDA graphs need an NVIDIA GPU; on a CPU engine_args torch_compile: true compiles the decode step": (
            bool(spec.cuda_graphs) and not device.is_gpu
        ),
        "context FMHA and input padding are TensorRT-LLM's": (spec.context_fmha, spec.remove_input_padding)
        != (None, None),
        "torch_compile is for static batching without speculation": bool(given.get("torch_compile"))
        and (spec.batching is Batching.INFLIGHT or spec.speculative is not None),
        f"engine_args {_foreign(spec)} is not taken by this backend; it takes num_threads (1 or more), "
        f"attn_implementation ({', '.join(ATTENTION)}), torch_compile (true or false) and "
        "load_format (auto, or dummy: random weights)": _foreign(spec) is not None,
        **(_refused_ranks(spec) if spec.tp > 1 else {}),
        **(_refused_static(spec) if spec.batching is Batching.STATIC else _refused_inflight(spec, device)),
    }


def _refused_ranks(spec: EngineSpec) -> dict[str, bool]:
    """What does not run over several ranks."""
    compiled = bool(spec.cuda_graphs) or bool(dict(spec.engine_args).get("torch_compile"))
    uneven = _uneven(spec)
    return {
        f"tp {spec.tp} does not divide the model's {uneven}": uneven is not None,
        "tensor parallelism runs in static batches here: set batching: static, paged_kv: false": (
            spec.batching is not Batching.STATIC
        ),
        "tensor parallelism runs eagerly here: leave cuda_graphs and torch_compile out": compiled,
        f"tensor parallelism cuts plain weights here, not torchao's: set precision to {', '.join(TORCH_NAMES)}": (
            spec.precision in QUANTISED
        ),
        "speculation runs on one device here: set tp to 1": spec.speculative is not None,
    }


def _uneven(spec: EngineSpec) -> str | None:
    """'num_key_value_heads 2' where the checkpoint tells of such; a checkpoint that cannot be read is told later."""
    try:
        config = read_json(spec.model / "config.json")
    except (OSError, ForeignJsonError):
        return None
    told = config if isinstance(config, dict) else {}
    sizes = {name: size for name in _DIVIDED if (size := whole_number(told.get(name))) is not None}
    return next((f"{name} {size}" for name, size in sizes.items() if size % spec.tp), None)


def _refused_static(spec: EngineSpec) -> dict[str, bool]:
    speculative = spec.speculative
    return {
        "static batching has a contiguous KV cache: set paged_kv: false": spec.paged_kv,
        "prefix caching needs in-flight batching over a paged KV cache": spec.prefix_caching,
        "chunked prefill needs in-flight batching": spec.chunked_prefill,
        "static batching is not scheduled ahead: leave overlap_scheduler out": spec.overlap_scheduler is not None,
        "transformers speculates on one request at a time: set max_batch_size: 1": (
            speculative is not None and spec.max_batch_size != 1
        ),
        "speculation with a draft model needs its checkpoint: set speculative.model": (
            speculative is not None and speculative.method is Drafting.DRAFT_MODEL and speculative.model is None
        ),
        "speculation runs eagerly here: leave cuda_graphs out": speculative is not None and bool(spec.cuda_graphs),
    }


def _refused_inflight(spec: EngineSpec, device: Device) -> dict[str, bool]:
    return {
        "in-flight batching needs the paged KV cache: set paged_kv: true": not spec.paged_kv,
        "continuous batching always cuts prompts at max_num_tokens: set chunked_prefill: true": (
            not spec.chunked_prefill
        ),
        "continuous batching runs ahead of the host on GPUs only: leave overlap_scheduler out": (
            bool(spec.overlap_scheduler) and not device.is_gpu
        ),
        "speculation needs batching: static, paged_kv: false, max_batch_size: 1": spec.speculative is not None,
    }


def _foreign(spec: EngineSpec) -> str | None:
    """'name: value' of the first argument that is not taken."""
    return next((f"{name}: {value}" for name, value in spec.engine_args if not _is_allowed(name, value)), None)


def _is_allowed(name: str, value: object) -> bool:
    match name:
        case "num_threads":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 1
        case "attn_implementation":
            return value in ATTENTION
        case "torch_compile":
            return isinstance(value, bool)
        case "load_format":
            return value in ("auto", "dummy")
        case _:
            return False


def compute_precision(precision: Precision, *, is_gpu: bool) -> Precision:
    """What activations and the KV cache are in: fp32 on a CPU and bf16 on a GPU where only weights are named."""
    if precision in TORCH_NAMES:
        return precision
    return Precision.BF16 if is_gpu else Precision.FP32  # torchao's int4 and fp8 kernels take bf16 (0.18)


def _sm(device: Device) -> int:
    """90 of 'sm_90/h200-141gb'."""
    return int(device.key.partition("/")[0].removeprefix("sm_"))
