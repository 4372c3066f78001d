"""A load run in the key names of `benchmark_serving` (vLLM's and TensorRT-LLM's), so that their readers read it.

What those clients do not tell stands under "perfgate": failures by class, where token counts are from, what the load
reached, the client's watch over itself and why the run must not be judged. A percentile that failures make infinite
is null. Latencies are in milliseconds; TTFT and E2EL count from when a request was due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perfgate.load.figures import Figures
from perfgate.load.job import LoadResult
from perfgate.load.spread import Spread


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run was asked for. request_rate: requests a second, None for a closed loop."""

    model: str
    url: str
    concurrency: int | None
    request_rate: float | None
    date: str  # UTC, ISO 8601


def as_benchmark_serving(asked: Asked, found: Figures, result: LoadResult, invalid: Sequence[str]) -> dict[str, Any]:
    """The run as plain data."""
    whole = found.throughput
    out: dict[str, Any] = {
        "date": asked.date,
        "backend": "openai",
        "model_id": asked.model,
        "base_url": asked.url,
        "num_prompts": found.requests,
        "max_concurrency": asked.concurrency,
        "request_rate": "inf" if asked.request_rate is None else asked.request_rate,
        "duration": whole.seconds,
        "completed": whole.succeeded,
        "failed": found.failed,
        "total_input_tokens": whole.input_tokens,
        "total_output_tokens": whole.output_tokens,
        "request_throughput": whole.requests_per_s,
        "output_throughput": whole.output_tokens_per_s,
        "total_token_throughput": _all_tokens_per_s(found),
    }
    for name, spread in _spreads(found).items():
        out |= dict(_latency(name, spread))
    return out | {"perfgate": _ours(found, result, invalid)}


def _all_tokens_per_s(found: Figures) -> float | None:
    whole = found.throughput
    if whole.output_tokens is None or not whole.seconds:
        return None
    return (whole.input_tokens + whole.output_tokens) / whole.seconds


def _spreads(found: Figures) -> Mapping[str, Spread]:
    of = found.latencies
    return {"ttft": of.ttft, "tpot": of.tpot, "itl": of.itl, "e2el": of.e2el}


def _latency(name: str, spread: Spread) -> Iterator[tuple[str, float | None]]:
    """mean_ttft_ms, median_ttft_ms, ... with the field's words for them."""
    words = {
        "mean": spread.mean_s, "median": spread.p50_s, "std": spread.sd_s,
        "p90": spread.p90_s, "p95": spread.p95_s, "p99": spread.p99_s,
    }  # fmt: skip
    for word, seconds in words.items():
        yield f"{word}_{name}_ms", None if seconds is None else seconds * 1e3


def _ours(found: Figures, result: LoadResult, invalid: Sequence[str]) -> dict[str, Any]:
    return {
        "schema": 1,
        "invalid": list(invalid),
        "path": result.path,
        "failures": dict(found.failures),
        "token_sources": dict(found.sources),
        "tokens_per_event": found.tokens_per_event,
        "itl_per_token": asdict(found.latencies.itl_per_token) if found.latencies.itl_per_token else None,
        "ttft_from_send": asdict(found.latencies.ttft_from_send),
        "e2el_from_send": asdict(found.latencies.e2el_from_send),
        "window": asdict(found.window) if found.window else None,
        "steady": asdict(found.steady) if found.steady else None,
        "steady_throughput": asdict(found.steady_throughput) if found.steady_throughput else None,
        "reached": asdict(found.reached),
        "stalls": found.stalls,
        "failed_tokens": found.throughput.failed_tokens,
        "client": asdict(result.watch),
    }
