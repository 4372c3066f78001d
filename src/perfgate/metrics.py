"""The catalogue of metrics: name, unit, direction, how it is judged and its default limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean


class Unit(StrEnum):
    """Canonical units; figures are converted only when printed."""

    SECONDS = "s"
    BYTES = "B"
    TOKENS_PER_S = "tokens/s"
    REQUESTS_PER_S = "requests/s"
    JOULES_PER_TOKEN = "J/token"
    TOKENS = "tokens"
    RATIO = "1"
    BITS_PER_BYTE = "bits/byte"
    WATTS = "W"
    NATS_PER_TOKEN = "nats/token"
    SHARE = "share"


class Better(StrEnum):
    """Direction is data: never guessed from a name."""

    LOWER = "lower"
    HIGHER = "higher"


class Kind(StrEnum):
    """How a metric is judged."""

    NOISY = "noisy"  # differs between processes: sequential test over rounds
    EXACT = "exact"  # has no noise: compared with its margin, once
    PAIRED = "paired"  # per-document scores: judged on paired differences


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and the limits that a gate applies to it.

    margin: a relative change toward worse up to this is never red.
    detect: the smallest worsening that the gate promises to find (or to call inconclusive).
    """

    name: str
    unit: str  # a Unit; in words of the user's own for metrics of theirs
    better: Better
    kind: Kind
    margin: float
    detect: float
    doc: str
    works: tuple[str, ...] = ("latency",)  # the kinds of workload that measure it
    is_optional: bool = False  # absent where the machine or the engine cannot tell; otherwise absence is invalid

    def is_of(self, kind: str) -> bool:
        """Whether workloads of that kind measure it."""
        return kind in self.works

    def with_limits(self, margin: float | None, detect: float | None) -> Metric:
        """The same metric under a suite's own limits."""
        return replace(
            self,
            margin=self.margin if margin is None else margin,
            detect=self.detect if detect is None else detect,
        )

    def worse_by(self, baseline: float, candidate: float) -> float:
        """Relative change toward worse: 0.05 is 5 % worse, negative is better."""
        if self.better is Better.LOWER:
            return candidate / baseline - 1.0
        return baseline / candidate - 1.0


def _noisy(name: str, unit: Unit, better: Better, doc: str) -> Metric:
    return Metric(name, unit, better, Kind.NOISY, 0.02, 0.05, doc)


def _of_serving_too(metric: Metric) -> Metric:
    return replace(metric, works=("latency", "serving"))


def _of_serving(metric: Metric, *, is_optional: bool = False) -> Metric:
    return replace(metric, works=("serving",), is_optional=is_optional)


def _latencies(stem: str, doc: str) -> list[Metric]:
    """Mean and percentiles of one latency; a percentile needs samples (see `needed_samples`)."""
    words = {
        "mean": "mean",
        "tmean": "mean without the fastest and the slowest tenth, the least noisy summary of a round",
        "p10": "10th percentile, the time it takes when nothing interferes",
        "p50": "median",
        "p90": "90th percentile",
        "p95": "95th percentile",
        "p99": "99th percentile",
    }
    return [
        _of_serving_too(_noisy(f"{stem}_{key}", Unit.SECONDS, Better.LOWER, f"{doc}, {word}"))
        for key, word in words.items()
    ]


_S, _L, _H = Unit.SECONDS, Better.LOWER, Better.HIGHER
LOSS = "perplexity_loss"  # judged where a suite names a reference (`perfgate.loss`); no workload measures it alone
_TASKS_DOC = "share of right answers, the mean over the workload's tasks"
_TOP1_DOC = "share of tokens before which engine and reference find the same next token likeliest"
_KL_DOC = "mean KL divergence of next-token distributions from the reference's, a lower bound"
_BPB_DOC = "negative log-likelihood in bits per byte of scored text"
_GOODPUT_DOC = "finished requests that kept to the workload's slo, over the timed region"
_PREFILL_DOC = "device time of a request's prompt, run with those of its load, median"
_DECODE_DOC = "device time of a decode step at the case's load, median"
_BUSY_DOC = "share of the wall time of a decode step in which the device worked"
_MBU_DOC = (
    "weights and KV cache read by a decode step, over its time (the device's own where told) and the device's measured "
    "copy bandwidth"
)
_MFU_DOC = "FLOPs of a prompt, over the time to its first token and the device's measured matrix rate"
_ENERGY_DOC = "energy of the CPU package per output token, where a counter is readable"
_GPU_ENERGY_DOC = "energy of the engine's GPUs per output token"
_GPU_POWER_DOC = "mean power of the engine's GPUs together over the timed regions"
_GPU_BUSY_DOC = "share of the time in which the engine's GPUs ran a kernel, as NVML tells; says little of how well"

CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        *_latencies("ttft", "time to first token, from when the request was due"),
        *_latencies("tpot", "time per output token of a request, without its first token"),
        *_latencies("itl", "time between consecutive token events of a request, shared among the tokens of an event"),
        *_latencies("e2el", "time from when the request was due to its last token"),
        _of_serving_too(_noisy("output_tokens_per_s", Unit.TOKENS_PER_S, _H, "output tokens over the timed region")),
        _of_serving(
            _noisy("total_tokens_per_s", Unit.TOKENS_PER_S, _H, "input and output tokens over the timed region")
        ),
        _of_serving_too(_noisy("requests_per_s", Unit.REQUESTS_PER_S, _H, "finished requests over the timed region")),
        _of_serving(_noisy("goodput_per_s", Unit.REQUESTS_PER_S, _H, _GOODPUT_DOC), is_optional=True),
        _noisy("cpu_s_per_token", _S, _L, "CPU time of the engine process per output token"),
        replace(_noisy("device_prefill_p50", _S, _L, _PREFILL_DOC), is_optional=True),
        replace(_noisy("device_decode_step_p50", _S, _L, _DECODE_DOC), is_optional=True),
        Metric("device_busy_share", Unit.RATIO, _H, Kind.NOISY, 0.05, 0.15, _BUSY_DOC, is_optional=True),
        replace(_noisy("energy_j_per_token", Unit.JOULES_PER_TOKEN, _L, _ENERGY_DOC), is_optional=True),
        *(
            _of_serving_too(replace(_noisy(name, unit, better, doc), is_optional=True))
            for name, unit, better, doc in (
                ("gpu_energy_j_per_token", Unit.JOULES_PER_TOKEN, _L, _GPU_ENERGY_DOC),
                ("gpu_power_mean_w", Unit.WATTS, _L, _GPU_POWER_DOC),
                ("gpu_utilization", Unit.RATIO, _H, _GPU_BUSY_DOC),
            )
        ),
        replace(
            _noisy("acceptance_len", Unit.TOKENS, _H, "output tokens per step of the target model under speculation"),
            is_optional=True,
        ),
        *(
            _of_serving_too(replace(_noisy(name, Unit.SHARE, _H, doc), is_optional=True))
            for name, doc in (("mbu_decode", _MBU_DOC), ("mfu_prefill", _MFU_DOC))
        ),
        _of_serving_too(
            Metric("output_tokens", Unit.TOKENS, _H, Kind.EXACT, 0.0, 0.0, "tokens generated in the timed region")
        ),
        Metric(
            "load_s",
            _S,
            _L,
            Kind.NOISY,
            0.05,
            0.15,
            "time to load the prepared engine in a fresh process, its library included",
            ("build",),
        ),
        Metric(
            "build_s",
            _S,
            _L,
            Kind.NOISY,
            0.10,
            0.25,
            "time to prepare the engine, if prepared in this run",
            ("build",),
            True,
        ),
        Metric(
            "peak_memory_bytes", Unit.BYTES, _L, Kind.NOISY, 0.01, 0.05, "peak memory of the engine process", ("build",)
        ),
        Metric(
            "peak_gpu_memory_bytes",
            Unit.BYTES,
            _L,
            Kind.NOISY,
            0.01,
            0.05,
            "most GPU memory that the engine's library held, where it tells",
            ("build",),
            True,
        ),
        Metric("engine_bytes", Unit.BYTES, _L, Kind.EXACT, 0.01, 0.01, "bytes of the prepared engine", ("build",)),
        Metric(
            "perplexity",
            Unit.RATIO,
            _L,
            Kind.PAIRED,
            0.005,
            0.01,
            "exp of the mean negative log-likelihood",
            ("perplexity",),
        ),
        Metric("bits_per_byte", Unit.BITS_PER_BYTE, _L, Kind.PAIRED, 0.005, 0.01, _BPB_DOC, ("perplexity",)),
        Metric(LOSS, Unit.RATIO, _L, Kind.PAIRED, 0.01, 0.01, "perplexity against the reference engine's", ()),
        Metric("task_accuracy", Unit.SHARE, _H, Kind.EXACT, 0.02, 0.02, _TASKS_DOC, ("tasks",)),
        Metric("top1_agreement", Unit.SHARE, _H, Kind.EXACT, 0.01, 0.01, _TOP1_DOC, ("perplexity",), True),
        Metric("kl_divergence", Unit.NATS_PER_TOKEN, _L, Kind.EXACT, 0.1, 0.1, _KL_DOC, ("perplexity",), True),
    ]
}


PAIRED = frozenset(name for name, metric in CATALOGUE.items() if metric.kind is Kind.PAIRED)  # no user's own is
PROCESS_WIDE = frozenset({"peak_memory_bytes", "peak_gpu_memory_bytes"})  # under all loads of a process together


def catalogue(own: Iterable[Metric] = ()) -> Mapping[str, Metric]:
    """The metrics that are known, by name: perfgate's and the user's own."""
    return {**CATALOGUE, **{metric.name: metric for metric in own}}


TRIMMED = 0.1  # share of the samples that a trimmed mean leaves out at either end


def trimmed_mean(samples: Sequence[float]) -> float:
    """Mean without the lowest and the highest tenth: single wild samples do not reach it.

    Its standard error is 3 % above the mean's where samples are normal; the median's is 25 % above.
    """
    ordered, cut = sorted(samples), int(len(samples) * TRIMMED)
    return fmean(ordered[cut : len(ordered) - cut])


def needed_samples(metric_name: str) -> int:
    """Samples below which a percentile is not gated.

    64 for p90 and 662 for p99 are the counts at which the sample's extreme bounds the
    percentile with 99.87 % confidence: n >= ln(0.0013) / ln(p); p10 mirrors p90.
    """
    return {"p10": 64, "p90": 64, "p95": 130, "p99": 662}.get(metric_name.rsplit("_", 1)[-1], 1)
