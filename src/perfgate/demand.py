"""What a case asks of a device, from its spec, its workload and the config.json of its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perfgate.case import Batching, Case, Drafting, EngineSpec, KvDtype, LatencyWork, Precision, ServingWork
from perfgate.load.lengths import parse_lengths
from perfgate.model_shape import ModelShape, read_shape
from perfgate.model_work import Split, Widths, decode_step, prefill
from perfgate.roofline import Ceilings, Demand, Limits, Work

_SCALE_BYTES = 2.0  # a group of int4 weights has a 16-bit scale; zero points, a quarter of it, are left out
_GROUPS = {Precision.INT4_WO: 32, Precision.INT4_AWQ: 128, Precision.INT4_GPTQ: 128}
_BLOCK = {
    Precision.FP32: 4.0,
    Precision.FP16: 2.0,
    Precision.BF16: 2.0,
    Precision.FP8: 1.0,
    Precision.INT8_WO: 1.0,
    Precision.INT8_SQ: 1.0,
    **{precision: 0.5 + _SCALE_BYTES / group for precision, group in _GROUPS.items()},
}
_KV = {
    KvDtype.FP32: 4.0,
    KvDtype.FP16: 2.0,
    KvDtype.BF16: 2.0,
    KvDtype.FP8: 1.0,
    KvDtype.INT8: 1.0,
    KvDtype.INT4: 0.5,
}
_PLAIN = (Precision.FP32, Precision.FP16, Precision.BF16)
_HALF = 2.0
# What stays in 16 bits where weights are quantised: AWQ, GPTQ, ModelOpt, vLLM and torchao leave the vocabulary head
# alone; NNCF, which the embedded engine is made with, takes it to int8.
_HEAD_OF = {"openvino": 1.0}
# Weights alone are quantised: products are made of 16 bits on a GPU, of fp32 on a CPU.
_WIDENED = ("bf16", "fp16", "fp32")
_RATES = {
    Precision.FP32: ("fp32",),
    Precision.FP16: ("fp16",),
    Precision.BF16: ("bf16",),
    Precision.FP8: ("fp8",),
    Precision.INT8_SQ: ("int8",),
}
_DRAWS = 4096  # lengths whose mean stands for that of a distribution


def limits_of(cases: Sequence[Case], ceilings: Ceilings) -> Limits:
    """The limits, with the demand of every case that generates text."""
    works = (case for case in cases if isinstance(case.work, LatencyWork | ServingWork))
    return Limits(ceilings, {case.id: demand_of(case) for case in works})


def demand_of(case: Case) -> Demand:
    """What a latency or serving case asks of each of its devices."""
    assert isinstance(case.work, LatencyWork | ServingWork)
    spec, rates = case.engine, _RATES.get(case.engine.precision, _WIDENED)
    shape = read_shape(spec.model)
    if isinstance(shape, str):
        return Demand(rates, untold={"decode": shape, "prefill": shape})
    isl, osl, batch = _load(case.work, spec)
    decode = _decode(spec, shape, batch, isl + osl / 2)
    first = _prefill(spec, shape, batch, isl)
    untold = {name: part for name, part in (("decode", decode), ("prefill", first)) if isinstance(part, str)}
    return Demand(
        rates,
        None if isinstance(decode, str) else decode,
        None if isinstance(first, str) else first,
        is_speculative=spec.speculative is not None,
        is_queued=spec.batching is Batching.INFLIGHT and batch != 1,
        untold=untold,
    )


def widths_of(spec: EngineSpec) -> Widths:
    """Bytes of weights and of the KV cache; a cache in the engine's own choice (`auto`) is as wide as activations."""
    wide = 4.0 if spec.precision is Precision.FP32 else _HALF
    head = _BLOCK[spec.precision] if spec.precision in _PLAIN else _HEAD_OF.get(spec.backend, _HALF)
    return Widths(_BLOCK[spec.precision], head, _KV.get(spec.kv_cache_dtype, wide))


def _load(work: LatencyWork | ServingWork, spec: EngineSpec) -> tuple[float, float, float | None]:
    """Mean lengths of prompt and output, and how many requests run together; None in an open loop."""
    if isinstance(work, LatencyWork):
        return work.input_len, work.output_len, min(work.concurrency, spec.max_batch_size)
    batch = None if work.concurrency is None else min(work.concurrency, spec.max_batch_size)
    return mean_length(work.isl), mean_length(work.osl), batch


def mean_length(lengths: str) -> float:
    """The mean of lengths as a serving workload names them ("512", "uniform:100:500"), in tokens."""
    return float(parse_lengths(lengths).draw(_DRAWS, np.random.default_rng(0)).mean())


def _split(spec: EngineSpec) -> Split:
    return Split(spec.tp, spec.pp)


def _decode(spec: EngineSpec, shape: ModelShape, batch: float | None, context: float) -> Work | str:
    """A step at the mean context: the prompt and half of the output."""
    if batch is None:
        return "not known for an open loop: how many requests run together changes"
    widths, drafted = widths_of(spec), spec.speculative
    if drafted is None:
        return decode_step(shape, widths, _split(spec), batch, context)
    target = decode_step(shape, widths, _split(spec), batch, context, tokens=drafted.draft_len + 1)
    if drafted.method is Drafting.NGRAM or drafted.model is None:
        return target
    draft = read_shape(drafted.model)
    if isinstance(draft, str):
        return f"the draft model: {draft}"
    return target + decode_step(draft, widths, _split(spec), batch, context) * drafted.draft_len


def _prefill(spec: EngineSpec, shape: ModelShape, batch: float | None, prompt: float) -> Work | str:
    """The prompt of a request; under static batching those of the whole batch, which are computed together."""
    if spec.prefix_caching:
        return "not known with prefix caching: a part of the prompt may not be computed"
    one = prefill(shape, widths_of(spec), _split(spec), prompt)
    if spec.batching is Batching.INFLIGHT or batch is None:
        return one
    weights_once = prefill(shape, widths_of(spec), _split(spec), prompt * batch)
    return Work(weights_once.moved_bytes, one.flops * batch)
