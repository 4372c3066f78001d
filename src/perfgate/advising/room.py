"""How the KV cache bounds concurrency times length: arithmetic of a model's shape and the device's memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perfgate.case import EngineSpec
from perfgate.demand import widths_of
from perfgate.model_shape import ModelShape, read_shape
from perfgate.model_work import Split, Widths, kv_bytes_per_token
from perfgate.record import Environment

USABLE = 0.9  # of the device's memory, as engines take it by default; the rest is for activations and the driver
_HALF = 2.0  # bytes of an embedding's value: quantising leaves it in 16 bits


@dataclass(frozen=True, slots=True)
class Room:
    """Of one engine on one device: bytes of weights and of a position of the KV cache, and what fits.

    device_bytes: its memory; None where not known. tokens: positions of all sequences together that fit beside the
    weights. sequences: of `length` positions each (the engine's max_seq_len) that fit.
    why: what to know of the figures.
    """

    engine: str
    length: int
    weight_bytes: float | None = None
    kv_bytes_per_token: float | None = None
    device_bytes: float | None = None
    tokens: int | None = None
    sequences: int | None = None
    why: str = ""


def room_of(spec: EngineSpec, environment: Environment) -> Room:
    """What fits, on each of the engine's devices."""
    shape, memory = read_shape(spec.model), device_bytes(environment)
    if isinstance(shape, str):
        return Room(spec.name, spec.max_seq_len, device_bytes=memory, why=f"the model's shape is {shape}")
    widths, split = widths_of(spec), Split(spec.tp, spec.pp)
    weights, per_token = stored_bytes(shape, widths, split), kv_bytes_per_token(shape, widths, split)
    if memory is None:
        return Room(spec.name, spec.max_seq_len, weights, per_token, why="the run does not tell the device's memory")
    left, bound = _left(spec, memory, weights)
    length = spec.max_seq_len if shape.window is None else min(shape.window, spec.max_seq_len)
    tokens = int(left // per_token)
    why = "; ".join(filter(None, (bound, _by_key(environment)))) if tokens else "the weights alone do not fit"
    return Room(spec.name, spec.max_seq_len, weights, per_token, memory, tokens, tokens // length, why)


def _left(spec: EngineSpec, memory: float, weights: float) -> tuple[float, str]:
    """Bytes for the KV cache on a device, and by which argument of the engine; what is left by default where none is.

    `gpu_memory_utilization` is a share of all memory, weights included, `kv_cache_memory_bytes` overrides it (vLLM's
    CacheConfig); TensorRT-LLM's `free_gpu_memory_fraction` is a share of what the weights leave.
    """
    args = dict(spec.engine_args)
    for name, of_bytes in _BOUNDS.items():
        if isinstance(told := args.get(name), (int, float)):
            return max(of_bytes(float(told), memory, weights), 0.0), f"by the engine's {name} {told}"
    return max(memory * USABLE - weights, 0.0), ""


_BOUNDS: Mapping[str, Callable[[float, float, float], float]] = {
    "kv_cache_memory_bytes": lambda told, memory, weights: min(told, memory - weights),
    "gpu_memory_utilization": lambda told, memory, weights: memory * told - weights,
    "kv_cache_config.free_gpu_memory_fraction": lambda told, memory, weights: (memory - weights) * told,
    "kv_cache_free_gpu_memory_fraction": lambda told, memory, weights: (memory - weights) * told,
}  # the first that is given counts


def _by_key(environment: Environment) -> str:
    return "" if environment.gpus else "the device's memory as its key has it, rounded up"


def stored_bytes(shape: ModelShape, widths: Widths, split: Split) -> float:
    """Bytes of all weights on one device: every expert, the head, and the embedding where it is not the head's."""
    blocks = shape.attention_params + shape.router_params + shape.experts * shape.expert_params
    embedding = 0.0 if shape.is_tied else shape.head_params * _HALF
    return (blocks * widths.block + shape.head_params * widths.head + embedding) / split.devices


def device_bytes(environment: Environment) -> float | None:
    """The memory of the first GPU as NVML told it, else at most what the device's key says; None of a CPU."""
    if environment.gpus:
        return float(environment.gpus[0].memory_bytes)
    size = re.search(r"-(\d+)gb$", environment.device)
    return int(size[1]) * 2.0**30 if size else None
