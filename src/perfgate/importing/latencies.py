"""Latencies in the field's key names: `mean_ttft_ms`, `p99_itl_ms` and the like, or samples of each request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perfgate.importing.fields import Fields
from perfgate.importing.result import MS, Collector
from perfgate.metrics import needed_samples, trimmed_mean

_STEMS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2el", "e2e_latency": "e2el"}  # SGLang says the last
_WORDS = {"mean": "mean", "median": "p50", "p10": "p10", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
_SHARES = {"p10": 10, "p50": 50, "p90": 90, "p95": 95, "p99": 99}
NEAR = 0.02  # relative: two figures of one file that mean the same may differ by so much


def put_summaries(fields: Fields, into: Collector, requests: int | None) -> None:
    """Every latency summary that the file has, from milliseconds; what the samples gave already stands."""
    for said, stem in _STEMS.items():
        for word, name in _WORDS.items():
            key = f"{word}_{said}_ms"
            value = fields.number(key)
            into.put(f"{stem}_{name}", None if value is None else value * MS, key, requests)


def put_samples(fields: Fields, into: Collector, stem: str, key: str, samples: Sequence[float]) -> bool:
    """Summaries of samples (seconds) of one latency, checked against the file's own mean; whether they were taken."""
    measured = [one for one in samples if one > 0]
    if not measured:
        into.leave(key, "0: nothing was measured")
        return False
    mean, told = float(np.mean(samples)), fields.number(f"mean_{stem}_ms")
    if told is not None and not is_near(mean, told * MS):
        fields.fault(key, f"a mean of {mean:.6g}", f"{told * MS:.6g} s, as mean_{stem}_ms says")
        return False
    into.put(f"{stem}_mean", mean, key)
    into.put(f"{stem}_tmean", trimmed_mean(samples), key)
    for name, share in _SHARES.items():
        if len(samples) >= needed_samples(f"{stem}_{name}"):
            into.put(f"{stem}_{name}", float(np.percentile(samples, share)), key, len(samples))
        else:
            into.leave(key, f"{len(samples)} samples, {stem}_{name} needs {needed_samples(f'{stem}_{name}')}")
    return True


def is_near(a: float, b: float) -> bool:
    """Whether two figures that mean the same are the same."""
    return abs(a - b) <= NEAR * max(abs(a), abs(b))
