"""Results of `benchmark_serving` in its families: vLLM's, TensorRT-LLM's, SGLang's, and our own `serve-bench`.

Keys as in vllm/benchmarks/serve.py, tensorrt_llm/serve/scripts/benchmark_serving.py and sglang/bench_serving.py; ours
in `perfgate.load.bench_json`. Summaries are in milliseconds, per-request detail is in seconds.
"""

from __future__ import annotations

from datetime import UTC, datetime

from perfgate.importing.fields import Fields
from perfgate.importing.latencies import is_near, put_samples, put_summaries
from perfgate.importing.result import Collector, Figures, Result, Setting, slug

VLLM, TRTLLM, SGLANG = "vLLM's benchmark_serving", "TensorRT-LLM's benchmark_serving", "SGLang's bench_serving"
OURS = "perfgate serve-bench"

_UNTOLD = ("versions", "driver", "device", "whether the server was fresh")
# What the load was, as far as each family tells. Counts of tokens are of what was sent: other prompts, another case.
_LOAD = (
    "num_prompts", "burstiness", "max_concurrency", "ramp_up_strategy", "ramp_up_start_rps",
    "ramp_up_end_rps", "dataset_name", "random_input_len", "random_output_len", "random_range_ratio",
    "sharegpt_output_len", "total_input_tokens",
)  # fmt: skip
_DETAIL = {"ttft": ("ttfts",), "itl": ("itls",), "e2el": ("e2els", "latencies")}  # TensorRT-LLM, vLLM


def is_benchmark_serving(plain: dict[str, object]) -> bool:
    """Whether an object looks like such a result."""
    return "completed" in plain and "duration" in plain


def read_result(fields: Fields, plain: dict[str, object], requests_sent: int | None) -> Result:
    """One result. requests_sent: how many requests were asked for, where the file does not tell (SGLang).

    Faults of the file are told to `fields`; the result is of use only where there are none.
    """
    instrument = _family(plain)
    completed = fields.whole("completed", is_needed=True)
    seconds = fields.number("duration", is_needed=True)
    setting = _setting(fields, instrument, requests_sent)
    failures = _failures(fields, completed, requests_sent)
    figures = _figures(fields, completed, seconds, has_detail=not failures)
    faults = (*_invalid(fields, instrument), *failures)
    started, version = _moment(fields), _version(fields) if isinstance(plain.get("server_info"), dict) else {}
    untold = _UNTOLD[1:] if version else _UNTOLD
    return Result(
        fields.where, setting, figures, faults, started, seconds or 0.0, version,
        untold=(*untold, *(("time zone of the date",) if started and instrument != OURS else ())),
        ignored=fields.ignored,
    )  # fmt: skip


def _family(plain: dict[str, object]) -> str:
    """Whose client wrote it, by keys that only that one has; what none of them marks is vLLM's, the first of them."""
    if isinstance(plain.get("perfgate"), dict):
        return OURS
    if "total_output_tokens_retokenized" in plain or "mean_e2e_latency_ms" in plain:
        return SGLANG
    if "user_throughput" in plain or "avg_decoded_tokens_per_iter" in plain:
        return TRTLLM
    return VLLM


def _setting(fields: Fields, instrument: str, requests_sent: int | None) -> Setting:
    model = fields.text("model_id") or ""
    load = {key: fields.plain(key) for key in _LOAD} | {"request_rate": fields.plain("request_rate", may_be_inf=True)}
    if load["num_prompts"] is None:
        load["num_prompts"] = requests_sent
    backend = fields.text("endpoint_type") or fields.text("backend")
    told = {key: value for key, value in load.items() if value is not None}
    definition = {"model": slug(model) if model else None, "api": backend, **told}
    return Setting(instrument, _name(slug(model or backend or "model", 30), load), model, definition)


def _name(model: str, load: dict[str, str | int | float | bool | None]) -> str:
    """'llama-8b-c16-n1000': model, concurrency or rate, requests."""
    rate = load["request_rate"]
    parts = [
        f"c{load['max_concurrency']}" if load["max_concurrency"] is not None else "",
        f"r{rate}" if rate not in (None, "inf") else "",
        f"n{load['num_prompts']}" if load["num_prompts"] is not None else "",
    ]
    return slug("-".join([model, *filter(None, parts)]).replace("/", "-"))


# ------------------------------------------------------------------ figures


def _figures(fields: Fields, completed: int | None, seconds: float | None, *, has_detail: bool) -> Figures:
    """has_detail: per-request lists hold what was measured; those of failed requests hold zeros."""
    into, samples = Collector(), {}
    for stem, keys in _DETAIL.items() if has_detail else ():
        for key in keys:
            mine = fields.pooled(key) if stem == "itl" else fields.numbers(key)
            if mine and put_samples(fields, into, stem, key, mine):
                samples[stem] = mine
    put_summaries(fields, into, completed)
    tokens = fields.whole("total_output_tokens")
    into.put("output_tokens", tokens, "total_output_tokens")
    into.put("requests_per_s", _rate(fields, "request_throughput", completed, seconds), "request_throughput")
    into.put("output_tokens_per_s", _rate(fields, "output_throughput", tokens, seconds), "output_throughput")
    for key in ("total_token_throughput", "total_throughput"):  # SGLang says the second
        into.put("total_tokens_per_s", fields.number(key), key)
    for key in ("spec_decode_acceptance_length", "accept_length"):  # vLLM, SGLang
        into.put("acceptance_len", fields.number(key), key)
    return into.figures(samples)


def _rate(fields: Fields, key: str, count: int | None, seconds: float | None) -> float | None:
    """A rate of the whole run, checked against its count and duration: per GPU or per user is another figure."""
    value = fields.number(key)
    if value is not None and count and seconds and not is_near(value, count / seconds):
        fields.fault(key, f"{value:.6g}", f"{count / seconds:.6g}: {count} over the duration of {seconds:.6g} s")
        return None
    return value


# ------------------------------------------------------------------ what makes it invalid


def _invalid(fields: Fields, instrument: str) -> tuple[str, ...]:
    """Why our own client says that its run must not be judged."""
    ours = fields.inner("perfgate") if instrument == OURS else None
    reasons = ours.listed("invalid") if ours else None
    if ours is not None and reasons is None:
        ours.fault("invalid", "nothing", "a list of reasons")
    return tuple(str(one)[:200] for one in reasons or ())


def _failures(fields: Fields, completed: int | None, requests_sent: int | None) -> tuple[str, ...]:
    """Requests that failed are in no latency of these clients: the fewer come back, the faster it seems."""
    asked, failed = fields.whole("num_prompts"), fields.whole("failed")
    errors = [one for one in fields.listed("errors") or () if one]
    sent = asked if asked is not None else requests_sent
    if failed is None and sent is None and completed is not None:
        sent = len(fields.listed("errors") or ()) or None
    if completed is not None and sent is not None and completed > sent:
        fields.fault("completed", str(completed), f"at most the {sent} requests that were sent")
        return ()
    missing = max(failed or 0, len(errors), (sent or 0) - (completed or 0) if sent is not None else 0)
    if missing:
        return (f"{missing} of {sent if sent is not None else (completed or 0) + missing} requests failed",)
    if sent is None and failed is None:
        return ("the file does not tell how many requests were sent, so failures cannot be seen: give --requests",)
    return () if completed else ("no request was completed",)


# ------------------------------------------------------------------ when and what


def _moment(fields: Fields) -> str | None:
    """The date as UTC, ISO 8601. The clients write local time without its zone ('20260114-081500'); ours writes UTC."""
    text = fields.text("date")
    if text is None:
        return None
    try:
        short = len(text) == 15  # noqa: PLR2004 - as strftime("%Y%m%d-%H%M%S") writes it
        when = datetime.strptime(text, "%Y%m%d-%H%M%S").replace(tzinfo=UTC) if short else datetime.fromisoformat(text)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return when.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        fields.fault("date", repr(text[:40]), "a date such as 20260114-081500")
        return None


def _version(fields: Fields) -> dict[str, str]:
    """The server's version, which only SGLang's client asks for."""
    info = fields.inner("server_info")
    version = info.text("version") if info else None
    return {"sglang": version} if version else {}
