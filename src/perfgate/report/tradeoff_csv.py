"""trtllm_tradeoffs.csv: a row a configuration, in the field's columns. tradeoffs.csv: a row a metric of a workload."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy import special

from perfgate.case import EngineSpec, Precision, ServingWork
from perfgate.foreign_json import ForeignJsonError, read_json
from perfgate.metrics import CATALOGUE
from perfgate.pareto import CONFIDENCE
from perfgate.report.csv import cell
from perfgate.sweep import Sweep
from perfgate.tradeoffs import Option, Tradeoffs
from perfgate.versus import geometric_mean

FIELD_COLUMNS = (
    "model_family", "model_name", "dtype", "quantization", "kv_cache_dtype", "max_batch_size", "max_input_len",
    "max_output_len", "tp_size", "pp_size", "build_time_s", "p95_total_ms", "throughput_req_per_sec", "mean_ttfb_ms",
)  # fmt: skip
COLUMNS = (
    "suite", "device", "configuration", "state", "reason", "on_front", "dominated_by", "workload", "metric", "unit",
    "better", "rounds", "mean", "min", "max", "low", "high", "sd_log",
)  # fmt: skip
_PLAIN = (Precision.FP32, Precision.FP16, Precision.BF16)  # not quantised


def field_csv(found: Tradeoffs, sweep: Sweep) -> str:
    """Measured configurations only; means are geometric, over rounds.

    dtype is the precision where it is not quantised, else 'auto': the compute type is then the engine's own choice.
    max_input_len is the spec's, else max_seq_len; max_output_len what it leaves of max_seq_len, else the traffic's.
    """
    specs = {one.name: one.spec for one in sweep.configurations}
    traffic = next(work for work in sweep.works if work.name == sweep.traffic)
    asked = traffic.osl if isinstance(traffic, ServingWork) else str(getattr(traffic, "output_len", ""))
    return _table(FIELD_COLUMNS, (_field_row(one, specs[one.name], asked) for one in found.options))


def _field_row(option: Option, spec: EngineSpec, asked_output: str) -> list[str]:
    is_plain = spec.precision in _PLAIN
    dtype, quantization = (spec.precision, "none") if is_plain else ("auto", spec.precision)
    limits = [spec.max_seq_len, asked_output]
    if spec.max_input_len is not None:
        limits = [spec.max_input_len, spec.max_seq_len - spec.max_input_len]
    figures = [
        geometric_mean(option.figures[name]) * factor if name in option.figures else math.nan
        for name, factor in (("build_s", 1), ("e2el_p95", 1e3), ("requests_per_s", 1), ("ttft_mean", 1e3))
    ]
    words = (family(spec.model), spec.model.name, dtype, quantization, spec.kv_cache_dtype)
    numbers = (spec.max_batch_size, *limits, spec.tp, spec.pp)
    return [*map(cell, words), *map(str, numbers), *("" if math.isnan(one) else f"{one:.6g}" for one in figures)]


def family(model: Path) -> str:
    """`model_type` of the checkpoint's config.json; empty where it does not tell."""
    with suppress(OSError, ForeignJsonError):
        plain = read_json(model / "config.json")
        told = plain.get("model_type") or plain.get("architecture") if isinstance(plain, dict) else None
        return str(told or "")
    return ""


def rich_csv(found: Tradeoffs) -> str:
    """Every metric of every workload with its spread, in canonical units; what has none, with its reason.

    mean, low and high are of the rounds' logarithms: a geometric mean and its 95 % interval by the configuration's own
    rounds; sd_log is their standard deviation.
    """
    rows = [row for one in found.options for row in _rich_rows(found, one)]
    for state, absent in (("failed", found.failed), ("skipped", found.skipped)):
        blank = [""] * (len(COLUMNS) - 5)
        rows += [[*_head(found), cell(one.name), state, cell(one.reason), *blank] for one in absent]
    return _table(COLUMNS, rows)


def _head(found: Tradeoffs) -> list[str]:
    return [cell(found.suite), cell(found.environment.device)]


def _rich_rows(found: Tradeoffs, option: Option) -> Iterable[list[str]]:
    on_front = "true" if option.is_on_front else "false"
    head = [*_head(found), cell(option.name), "measured", "", on_front, cell(" ".join(option.dominated_by))]
    for row in option.rows:
        metric = CATALOGUE.get(row.metric)
        words = (row.workload, row.metric, metric.unit if metric else "", metric.better if metric else "")
        yield [*head, *map(cell, words), str(len(row.values)), *_spread(row.values)]


def _spread(values: Sequence[float]) -> list[str]:
    if min(values) <= 0 or not math.isfinite(max(values)):  # no logarithm
        return [f"{sum(values) / len(values):.8g}", f"{min(values):.8g}", f"{max(values):.8g}", "", "", ""]
    mean, ends, sd = geometric_mean(values), ["", ""], ""
    if len(values) > 1:
        spread = float(np.log(values).std(ddof=1))
        half = float(special.stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(len(values))
        sd = f"{spread:.6g}"
        ends = [f"{mean * math.exp(sign * half):.8g}" for sign in (-1, 1)]
    return [*(f"{one:.8g}" for one in (mean, min(values), max(values))), *ends, sd]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()
