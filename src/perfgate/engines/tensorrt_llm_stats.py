"""TensorRT-LLM's own statistics as figures: of requests (RequestPerfMetrics) and of iterations (`get_stats`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from statistics import fmean
from typing import Any

from perfgate.engines.device_steps import Step, StepKind, Steps


def request_figures(metrics: Sequence[Any]) -> dict[str, float]:
    """Means over requests: times in seconds by the engine's own clock; a figure without samples is absent.

    The first token counts from arrival; queueing is from arrival to the first schedule. Times are of a clock
    that starts anywhere, so only differences are taken; one that is not above 0 was not measured.
    """
    spans = [_spans(one) for one in metrics]
    out = {name: _mean(span.get(name) for span in spans) for name in ("engine_ttft_s", "engine_e2el_s", "queue_s")}
    blocks = [one.kv_cache_metrics for one in metrics if getattr(one, "kv_cache_metrics", None) is not None]
    drafts = [one.speculative_decoding for one in metrics if getattr(one, "speculative_decoding", None) is not None]
    if blocks:
        out["kv_reused_blocks"] = float(sum(one.num_reused_blocks for one in blocks))
        out["kv_missed_blocks"] = float(sum(one.num_missed_blocks for one in blocks))
    if proposed := sum(one.total_draft_tokens for one in drafts):
        accepted = sum(one.total_accepted_draft_tokens for one in drafts)
        out |= {"drafts": float(proposed), "accepted_drafts": float(accepted), "acceptance_rate": accepted / proposed}
    return {name: value for name, value in out.items() if value is not None}


def _spans(one: Any) -> dict[str, float]:
    timing = getattr(one, "timing_metrics", None)
    if timing is None:
        return {}
    arrival = timing.arrival_time
    ends = {
        "engine_ttft_s": timing.first_token_time,
        "engine_e2el_s": timing.last_token_time,
        "queue_s": timing.first_scheduled_time,
    }
    found = {name: _seconds(end) - _seconds(arrival) for name, end in ends.items()}
    return {name: span for name, span in found.items() if span > 0}


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def iteration_figures(iterations: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Figures over iterations that did work; a key that no iteration has gives no figure.

    iteration_s is host time where the overlap scheduler runs: the device works on while the host goes on.
    The mean acceptance length is upstream's: (accepted + requests with drafts) / requests with drafts.
    """
    busy = [one for one in iterations if one.get("numActiveRequests", 0) > 0]
    out: dict[str, float | None] = {
        "iterations": float(len(busy)) if iterations else None,
        "iteration_s": _scaled(_mean(one.get("iterLatencyMS") for one in busy)),
        "host_step_s": _scaled(_mean(one.get("hostStepTimeMS") for one in busy)),
        "device_step_s": _scaled(_mean(_device_step(one) for one in busy)),
        "active_requests": _mean(one.get("numActiveRequests") for one in busy),
        "most_active_requests": _most(one.get("numActiveRequests") for one in busy),
        "gpu_memory_bytes": _most(one.get("gpuMemUsage") for one in iterations),
    }
    out |= _cache_figures([one["kvCacheStats"] for one in iterations if one.get("kvCacheStats")])
    out |= _draft_figures([one["specDecodingStats"] for one in busy if one.get("specDecodingStats")])
    return {name: value for name, value in out.items() if value is not None}


def _device_step(iteration: Mapping[str, Any]) -> float | None:
    """Milliseconds on the device, in those versions that tell: of this batch, else of the one before it."""
    for name in ("gpuForwardTimeMS", "prevDeviceStepTimeMS"):
        if (value := iteration.get(name)) is not None:
            return float(value)
    return None


def told_late(iterations: Sequence[Mapping[str, Any]]) -> int:
    """How many iterations are of what ran before: the engine may tell its last steps after the last token was out.

    Work of its own begins with a prompt. 0 where no iteration tells of one.
    """
    prompts = (at for at, one in enumerate(iterations) if _ran(one).get("numContextRequests", 0))
    return next(prompts, 0)


def steps_told(iterations: Sequence[Mapping[str, Any]]) -> Steps:
    """Iterations as steps, where they tell their time on the device and what ran in them.

    gpuForwardTimeMS is of the iteration itself; prevDeviceStepTimeMS is of the one before it. Both are between CUDA
    events around the forward pass, so that without CUDA graphs they hold gaps in which the device waited.
    """
    following = [*iterations, {}][1:]
    steps = [step for one, after in zip(iterations, following, strict=True) if (step := _step(one, after)) is not None]
    if steps:
        return Steps(tuple(steps))
    what = "tell no device time; those of 1.3 do" if iterations else "are off or were lost"
    return Steps(reason=f"TensorRT-LLM's iteration statistics {what}")


def _step(one: Mapping[str, Any], after: Mapping[str, Any]) -> Step | None:
    ran = _ran(one)
    prompts, decoding = ran.get("numContextRequests", 0), ran.get("numGenRequests", 0)
    device_ms = one.get("gpuForwardTimeMS", after.get("prevDeviceStepTimeMS"))
    if device_ms is None or not prompts + decoding:
        return None
    kind = StepKind.MIXED if prompts and decoding else StepKind.PREFILL if prompts else StepKind.DECODE
    host_s = _scaled(one.get("hostStepTimeMS", one.get("iterLatencyMS")))
    return Step(kind, prompts + decoding, device_ms / 1000, host_s)


def _ran(one: Mapping[str, Any]) -> Mapping[str, Any]:
    return one.get("inflightBatchingStats") or {}


def _cache_figures(stats: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    if not stats:
        return {}
    last = stats[-1]
    tokens = last.get("maxNumBlocks", 0) * last.get("tokensPerBlock", 0)
    return {
        "kv_tokens": float(tokens) if tokens else None,
        "most_kv_blocks_used": _most(one.get("usedNumBlocks") for one in stats),
        "kv_hit_rate": last.get("cacheHitRate"),
    }


def _draft_figures(stats: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    drafted = [one for one in stats if one.get("numDraftTokens", 0) > 0]
    requests = sum(one["numRequestsWithDraftTokens"] for one in drafted)
    if not requests:
        return {}
    accepted = sum(one["numAcceptedTokens"] for one in drafted)
    return {"engine_acceptance_len": (accepted + requests) / requests}


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found else None


def _most(values: Iterable[float | None]) -> float | None:
    found = [float(value) for value in values if value is not None]
    return max(found) if found else None


def _scaled(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
