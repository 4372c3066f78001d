"""What a run measured of servers, as the result folders that are compared: ENGINE/round_K/concurrency_N.json.

The suite says with `versus: {reference: ENGINE}` that its engines are to be compared. Every round of an engine under
test is one result a concurrency; a round that failed is an invalid one with its fault.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from perfgate.case import Case, EngineSpec, ServingWork
from perfgate.load.spread import percentile
from perfgate.record import CaseRound, Round, Run, Side
from perfgate.suite import Suite

_LATENCIES = ("ttft", "tpot", "itl", "e2el")
_WORDS = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
_PERCENTS = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
_ROUTE = "openai"


def result_files(run: Run, suite: Suite) -> dict[Path, bytes]:
    """The result files of a run's rounds, by their paths below a folder; nothing of the baseline's side."""
    out: dict[Path, bytes] = {}
    for case in suite.compared:
        if any(info.id == case.id and info.skip is None for info in run.cases):
            for number, measured in enumerate(_rounds(run, case.engine.name), 1):
                plain = result(run, case, measured)
                path = Path(case.engine.name) / f"round_{number}" / f"concurrency_{plain['max_concurrency']}.json"
                out[path] = json.dumps(plain, indent=1, allow_nan=False).encode() + b"\n"
    return out


def _rounds(run: Run, engine: str) -> Iterator[Round]:
    return (one for one in run.rounds if one.engine == engine and one.side is Side.CANDIDATE)


def result(run: Run, case: Case, measured: Round) -> dict[str, Any]:
    """One round of a closed loop in the key names of `benchmark_serving`; latencies in milliseconds."""
    work = case.work
    assert isinstance(work, ServingWork)
    found = next((one for one in measured.cases if one.case == case.id), None)
    faults = [measured.fault] if measured.fault else list(found.faults) if found else ["it was not measured"]
    out: dict[str, Any] = {
        "date": measured.started,
        "backend": _ROUTE,
        "model_id": "/".join(case.engine.model.parts[-2:]),
        "num_prompts": work.requests,
        "max_concurrency": work.concurrency,
        "request_rate": "inf",
    }
    if found and not faults:
        out |= _counts(work, found) | dict(_latencies(found))
    ours = {"schema": 1, "invalid": faults, "itl": "between events, shared among an event's tokens"}
    return out | {"perfgate": ours | {"about": _about(run, case.engine)}}


def _counts(work: ServingWork, found: CaseRound) -> dict[str, Any]:
    """Requests, tokens and rates, as far as the round tells them."""
    completed = len(found.samples.get("ttft", ()))
    values = found.values
    out: dict[str, Any] = {"completed": completed, "failed": work.requests - completed}
    rates = {
        "request_throughput": "requests_per_s",
        "output_throughput": "output_tokens_per_s",
        "total_token_throughput": "total_tokens_per_s",
    }
    out |= {key: values[name] for key, name in rates.items() if name in values}
    if values.get("output_tokens_per_s"):
        seconds = values["output_tokens"] / values["output_tokens_per_s"]
        every = values["total_tokens_per_s"] * seconds
        out |= {
            "duration": seconds,
            "total_output_tokens": round(values["output_tokens"]),
            "total_input_tokens": round(every - values["output_tokens"]),
        }
    return out


def _latencies(found: CaseRound) -> Iterator[tuple[str, float]]:
    """mean_ttft_ms, ...: the round's values; percentiles that it holds too few samples to gate are of its samples."""
    for stem in _LATENCIES:
        sample = sorted(found.samples.get(stem, ()))
        for key, word in _WORDS.items():
            seconds = found.values.get(f"{stem}_{key}")
            if seconds is None and sample and key in _PERCENTS:
                seconds = percentile(sample, 0, _PERCENTS[key])
            if seconds is not None:
                yield f"{word}_{stem}_ms", seconds * 1e3


def _about(run: Run, spec: EngineSpec) -> dict[str, Any]:
    versions: Mapping[str, str] = next((info.versions for info in run.prepared if info.engine == spec.name), {})
    return {
        "engine": spec.name,
        "backend": dict(spec.engine_args).get("profile", spec.backend),
        "versions": dict(versions),
        "precision": spec.precision,
        "kv_cache_dtype": spec.kv_cache_dtype,
        "tp": spec.tp,
        "pp": spec.pp,
        "device": run.environment.device,
        "product": run.environment.product,
    }


def sides_of(suite: Suite, measured: Collection[str]) -> tuple[str, ...]:
    """The engines with results, the reference first; empty where there is none of it or of any other."""
    others = [name for name in dict.fromkeys(measured) if name != suite.reference]
    if suite.reference is None or suite.reference not in measured or not others:
        return ()
    return (suite.reference, *others)
