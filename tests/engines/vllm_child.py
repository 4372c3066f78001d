"""The child of tests of the backend vllm: does one job through the double and prints what came of it as JSON.

Usage: vllm_child.py JOB, JSON with folder, spec (changes), decode, perplexity, lengths, concurrency, text, texts.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from perfgate.case import Batching, Drafting, EngineSpec, KvDtype, Precision, Speculation
from perfgate.device import Device
from perfgate.engines.base import Request
from perfgate.engines.device_steps import SteppedEngine
from perfgate.engines.vllm import Vllm
from perfgate.errors import PerfgateError
from perfgate.plant import Plant

H200 = Device("sm_90/h200-141gb", "NVIDIA H200", "580.1")
KINDS: dict[str, Any] = {"precision": Precision, "kv_cache_dtype": KvDtype, "batching": Batching}


class Clock:
    """In place of the machine's: each look takes a microsecond and nothing else takes time, so that tests repeat."""

    def __init__(self) -> None:
        self._now_ns = 0

    def perf_counter_ns(self) -> int:
        self._now_ns += 1000
        return self._now_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9


def spec_of(folder: Path, changes: dict[str, Any]) -> EngineSpec:
    plain = {name: KINDS.get(name, lambda value: value)(value) for name, value in changes.items()}
    if "speculative" in plain:
        plain["speculative"] = Speculation(Drafting.NGRAM, plain["speculative"])
    plain["engine_args"] = tuple(map(tuple, plain.get("engine_args", [["load_format", "dummy"]])))
    return EngineSpec("e", folder / "model", "vllm", **({"precision": Precision.BF16} | plain))


def _top(engine: Any, ids: list[int]) -> dict[str, Any]:
    found = engine.score_top(ids, 2, 3)
    return {"log_probs": found.log_probs.tolist(), "ids": found.top_ids.tolist(), "top": found.top_log_probs.tolist()}


def main(job: dict[str, Any]) -> dict[str, Any]:
    folder = Path(job["folder"])
    spec, prepared = spec_of(folder, job.get("spec", {})), folder / "engine"
    backend = Vllm()
    support = backend.support(spec, H200)
    if support.reason:
        return {"refused": support.reason}
    if not prepared.exists():
        prepared.mkdir()
        backend.prepare(spec, H200, prepared)
    plant = Plant(job.get("decode", 1.0), job.get("perplexity", 1.0))
    if job.get("serve"):
        with backend.serve(spec, prepared, plant, folder) as server:
            return {"model": server.facts.model, "version": server.facts.version, "argv": server.facts.argv}
    with backend.load(spec, prepared, plant) as engine:
        prompts = [list(range(length)) for length in job.get("lengths", [])]
        requests = [Request(index, tuple(ids), job.get("output_len", 4)) for index, ids in enumerate(prompts)]
        events = list(engine.generate(requests, job.get("concurrency", 1)))
        return {
            "itl_ns": [b.time_ns - a.time_ns for a, b in pairwise(events) if a.tokens and b.tokens],
            "events": [[event.request, event.tokens] for event in events],
            "is_ordered": all(a.time_ns <= b.time_ns for a, b in pairwise(events)),
            "steps": asdict(engine.device_steps(requests, 1)) if isinstance(engine, SteppedEngine) else None,
            "encoded": engine.encode(job.get("text", "")),
            "scores": [engine.score(ids).tolist() for ids in job.get("texts", [])],
            "tops": [_top(engine, ids) for ids in job.get("texts", []) if len(ids) > 1],
            "notes": engine.stats().notes,
            "kv_blocks": engine.stats().kv_blocks,
            "peak_gpu_bytes": engine.stats().peak_gpu_bytes,
            "is_speculative": engine.stats().is_speculative,
            "versions": backend.versions(),
        }


if __name__ == "__main__":
    clock = Clock()
    time.perf_counter, time.perf_counter_ns = clock.perf_counter, clock.perf_counter_ns
    try:
        answer = main(json.loads(sys.argv[1]))
    except PerfgateError as exc:
        answer = {"error": f"{type(exc).__name__}: {exc}"}
    sys.stdout.write("ANSWER" + json.dumps(answer))
