"""The figures of a serving workload in a round, from the request records of its load runs.

Definitions are those of `perfgate.load.figures`, over all requests but warm-up: TTFT and E2EL count from when the
request was due, TPOT is (last - first token event) / (tokens - 1), ITL is a gap between token events shared among the
tokens of the event that ended it, one sample a token. Throughput is over the load run, from the first send that counts
to the end of the last response. A failed request is one infinitely late sample of each latency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from perfgate.case import Slo
from perfgate.floats import Floats
from perfgate.load.figures import figures
from perfgate.load.request import RequestRecord
from perfgate.load.spread import percentile
from perfgate.metrics import needed_samples, trimmed_mean
from perfgate.record import CaseRound

_SUMMARIES = {"p10": 10.0, "p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


@dataclass(frozen=True, slots=True)
class Samples:
    """Latencies in seconds of the requests that succeeded; `failed` more are infinitely late.

    tpot, itl: None where the server does not tell how many tokens came, or how many an event held.
    """

    ttft: tuple[float, ...]
    tpot: tuple[float, ...] | None
    itl: tuple[float, ...] | None
    e2el: tuple[float, ...]
    failed: int


def samples_of(records: Sequence[RequestRecord]) -> Samples:
    """The latencies of streamed requests, without warm-up."""
    good = [one for one in records if one.fault is None]
    counted = all(one.output_tokens is not None for one in good)
    known = all(one.tokens_per_event_are_known for one in good)
    return Samples(
        ttft=_since_due(good, lambda one: one.first_token_ns),
        tpot=tuple(tpot / 1e9 for one in good if (tpot := one.tpot_ns) is not None) if counted else None,
        itl=tuple(gap / 1e9 for one in good for gap in one.gaps_per_token_ns) if known else None,
        e2el=_since_due(good, lambda one: one.last_token_ns),
        failed=len(records) - len(good),
    )


def summarise(
    case_id: str, runs: Sequence[Sequence[RequestRecord]], slo: Slo | None, doubted: Collection[str] = ()
) -> CaseRound:
    """Values of load runs together: their samples pooled, their counts over their seconds.

    doubted: metrics that the client may have moved (`perfgate.load.doubts`), which are left out.
    """
    counted = [[one for one in run if not one.is_warmup] for run in runs]
    pooled = [one for run in counted for one in run]
    found = samples_of(pooled)
    stems = {"ttft": found.ttft, "tpot": found.tpot, "itl": found.itl, "e2el": found.e2el}
    values = {
        name: value
        for stem, sample in stems.items()
        if sample
        for name, value in _summaries(stem, sample, found.failed).items()
        if name not in doubted
    }
    kept = {stem: Floats(sample) for stem, sample in stems.items() if sample and stem != "itl"}  # one a token: on disk
    return CaseRound(case_id, values | _rates(counted, slo), kept)


def _summaries(stem: str, sample: Sequence[float], failed: int) -> dict[str, float]:
    """Mean and those percentiles that the number of samples carries; what failures make infinite is left out."""
    ordered, count = sorted(sample), len(sample) + failed
    late = [*ordered, *[math.inf] * failed]
    found: dict[str, float | None] = {f"{stem}_mean": sum(late) / count, f"{stem}_tmean": trimmed_mean(late)}
    for name, percent in _SUMMARIES.items():
        if count >= needed_samples(f"{stem}_{name}"):
            found[f"{stem}_{name}"] = percentile(ordered, failed, percent)
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _rates(runs: Sequence[Sequence[RequestRecord]], slo: Slo | None) -> dict[str, float]:
    """Counts of requests that succeeded, over the seconds of all runs."""
    whole = [figures(run, None).throughput for run in runs]
    seconds = sum(one.seconds for one in whole)
    out = {"requests_per_s": sum(one.succeeded for one in whole) / seconds}
    tokens = [one.output_tokens for one in whole if one.output_tokens is not None]
    if len(tokens) == len(whole):
        out["output_tokens"] = float(sum(tokens))
        out["output_tokens_per_s"] = sum(tokens) / seconds
        out["total_tokens_per_s"] = (sum(tokens) + sum(one.input_tokens for one in whole)) / seconds
    if slo is not None:
        out["goodput_per_s"] = sum(is_good(one, slo) for run in runs for one in run) / seconds
    return out


def is_good(one: RequestRecord, slo: Slo) -> bool:
    """Whether a request succeeded within the SLO; a time that is not known keeps to no bound."""
    if one.fault is not None:
        return False
    ttft, e2el = (_since_due([one], moment) for moment in (lambda r: r.first_token_ns, lambda r: r.last_token_ns))
    tpot = 0.0 if one.output_tokens == 1 else one.tpot_ns
    tpot_s = None if tpot is None else tpot / 1e9
    held = ((slo.ttft_s, ttft[0] if ttft else None), (slo.tpot_s, tpot_s), (slo.e2el_s, e2el[0] if e2el else None))
    return all(bound is None or (time is not None and time <= bound) for bound, time in held)


def _since_due(records: Sequence[RequestRecord], moment: Callable[[RequestRecord], int | None]) -> tuple[float, ...]:
    return tuple((at - one.due_ns) / 1e9 for one in records if (at := moment(one)) is not None)
