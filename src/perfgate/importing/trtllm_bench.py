"""Reports of `trtllm-bench throughput` and `latency` (`--report_json`).

Keys as in tensorrt_llm/bench/dataclasses/reporting.py, from 0.20 on. Times with `_ms` in the name are milliseconds; the
percentile objects of TTFT and TPOT have no unit in theirs and are milliseconds in some versions and nanoseconds in
others, which their average beside `avg_ttft_ms` tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfgate.importing.fields import Fields
from perfgate.importing.latencies import is_near
from perfgate.importing.result import MS, Collector, Result, Setting, slug

INSTRUMENT = "trtllm-bench"
_UNTOLD = ("driver", "failed requests", "concurrency asked for")
_SECTIONS = ("engine", "world_info", "request_info", "performance")
_PERCENTILES = {"average": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_UNITS = (1e-9, 1e-6, MS, 1.0)  # seconds
_ENGINE = ("backend", "dtype", "kv_cache_dtype", "quantization", "max_input_length", "max_sequence_length")
_WORLD = (
    "tp_size", "pp_size", "ep_size", "world_size", "max_batch_size", "max_num_tokens", "scheduling_policy",
    "kv_cache_percentage",
)  # fmt: skip
_REQUESTS = ("num_requests", "avg_input_length", "avg_output_length")


def is_trtllm_bench(plain: Mapping[str, Any]) -> bool:
    """Whether an object looks like such a report."""
    return "performance" in plain and "request_info" in plain


def read_report(fields: Fields) -> Result:
    """One report. Faults of the file are told to `fields`; the result is of use only where there are none."""
    engine, world, requests, speed = (fields.inner(key, is_needed=True) for key in _SECTIONS)
    streaming, decoding, machine = (fields.inner(key) for key in ("streaming_metrics", "decoding_stats", "machine"))
    count = requests.whole("num_requests", is_needed=True) if requests else None
    into = Collector()
    seconds = _whole_run(into, requests, world, speed, count) if requests and world and speed else None
    if streaming:
        _streaming(into, streaming, count)
    if decoding:
        _decoding(into, decoding)
    version = engine.text("version") if engine else None
    product = machine.text("name") if machine else None
    untold = [*(() if version else ("versions",)), *_UNTOLD, "device key" if product else "device"]
    return Result(
        fields.where, _setting(engine, world, requests, streams=streaming is not None), into.figures(),
        seconds=seconds or 0.0, versions={"tensorrt_llm": version} if version else {}, product=product or "",
        untold=tuple(untold), ignored=fields.ignored,
    )  # fmt: skip


def _setting(engine: Fields | None, world: Fields | None, requests: Fields | None, *, streams: bool) -> Setting:
    """Limits count: a heuristic chooses those that were not given, and a release may choose others."""
    model = (engine.text("model") if engine else None) or ""
    told: dict[str, Any] = {"model": slug(model), "streaming": streams}
    for section, keys in ((engine, _ENGINE), (world, _WORLD), (requests, _REQUESTS)):
        if section:
            told |= {key: section.plain(key) for key in keys}
    lengths = "x".join(f"{told.get(key) or 0:g}" for key in _REQUESTS[1:] if _is_number(told.get(key)))
    parts = [slug(model, 30), str(told.get("quantization") or told.get("dtype") or ""), lengths]
    name = "-".join([*filter(None, parts), f"n{told.get('num_requests')}"])
    return Setting(INSTRUMENT, slug(name), model, {key: value for key, value in told.items() if value is not None})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _whole_run(into: Collector, requests: Fields, world: Fields, speed: Fields, count: int | None) -> float | None:
    """Throughput and request latency; returns the run's seconds. Totals are taken, never figures per GPU or user."""
    length = requests.number("avg_output_length")
    total_ms = speed.number("total_latency_ms", is_needed=True)
    seconds = None if total_ms is None else total_ms * MS
    tokens = None if count is None or length is None else round(count * length)
    rates = (("requests_per_s", "request_throughput_req_s", count),
             ("output_tokens_per_s", "system_output_throughput_tok_s", tokens))  # fmt: skip
    for metric, key, amount in rates:
        value = speed.number(key)
        if value is not None and amount and seconds and not is_near(value, amount / seconds):
            speed.fault(key, f"{value:.6g}", f"{amount / seconds:.6g}: {amount} over total_latency_ms")
        into.put(metric, value, key)
    _check_per_gpu(speed, world)
    into.put("total_tokens_per_s", speed.number("system_total_throughput_tok_s"), "system_total_throughput_tok_s")
    into.put("output_tokens", tokens, "avg_output_length")
    mean = speed.number("avg_request_latency_ms")
    _spread(into, speed, "e2el", "request_latency_percentiles_ms", mean, count)
    return seconds


def _check_per_gpu(speed: Fields, world: Fields) -> None:
    key = "output_throughput_per_gpu_tok_s"
    each, whole, size = speed.number(key), speed.number("system_output_throughput_tok_s"), world.whole("world_size")
    if each and whole and size and not is_near(each * size, whole):
        speed.fault(key, f"{each:.6g}", f"{whole / size:.6g}: the system's throughput over {size} GPUs")


def _streaming(into: Collector, streaming: Fields, count: int | None) -> None:
    for stem in ("ttft", "tpot"):
        _spread(into, streaming, stem, f"{stem}_percentiles", streaming.number(f"avg_{stem}_ms"), count)


def _spread(into: Collector, section: Fields, stem: str, key: str, mean_ms: float | None, count: int | None) -> None:
    """A mean in milliseconds and the percentiles beside it, in a unit that their own average tells."""
    into.put(f"{stem}_mean", None if mean_ms is None else mean_ms * MS, key)
    spread = section.inner(key)
    if spread is None:
        return
    figures = {name: spread.number(said) for said, name in _PERCENTILES.items()}
    average = figures.pop("mean")
    unit = _unit(average, mean_ms)
    if unit is None:
        if average:
            expected = f"the mean of {mean_ms:.6g} ms in s, ms, us or ns" if mean_ms else "a mean in ms beside it"
            spread.fault("average", f"{average:.6g}", expected)
        return
    for name, value in figures.items():
        into.put(f"{stem}_{name}", None if value is None else value * unit, f"{key}.{name}", count)


def _unit(average: float | None, mean_ms: float | None) -> float | None:
    """Seconds in the unit of an average, of which the mean in milliseconds is known; None where none fits."""
    if not average or not mean_ms:
        return None
    return next((unit for unit in _UNITS if is_near(average * unit, mean_ms * MS)), None)


def _decoding(into: Collector, decoding: Fields) -> None:
    key = "acceptance_length_percentiles"
    spread = decoding.inner(key)
    into.put("acceptance_len", spread.number("average") if spread else None, key)
