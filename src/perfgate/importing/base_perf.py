"""NVIDIA's perf-test baselines: `base_perf.csv` and its kin, one figure a row, one value a case.

Columns and metric types as in tests/integration/defs/perf/ of TensorRT-LLM (`base_perf*.csv`, `utils.py`); units are
those of the log lines that `test_perf.py` reads. Times there are milliseconds, build times seconds, engine sizes MiB.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from perfgate.importing.faults import Faults
from perfgate.importing.result import BUILD, LATENCY, MS, Collector, Result, Setting, slug
from perfgate.importing.source import Source

INSTRUMENT = "NVIDIA's perf tests"
MOST_ROWS = 100_000
_NEEDED = ("network_name", "perf_case_name", "metric_type", "perf_metric")
_UNTOLD = ("versions", "driver", "device key", "how many runs are behind a figure", "failed requests")
_MIB = 2.0**20  # bytes
_LARGEST = 1e15


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a metric type is to us. scale: to the metric's unit. is_served: means this in rows of a server only."""

    metric: str
    scale: float
    kind: str = LATENCY
    is_served: bool = False
    is_per_gpu: bool = False  # total and per-GPU figures are the same on one GPU alone


_MEANINGS = {
    "INFERENCE_TIME": Meaning("e2el_mean", MS, is_served=True),
    "MEDIAN_INFERENCE_TIME": Meaning("e2el_p50", MS, is_served=True),
    "P99_INFERENCE_TIME": Meaning("e2el_p99", MS, is_served=True),
    "SEQ_LATENCY": Meaning("e2el_mean", MS),
    "FIRST_TOKEN_TIME": Meaning("ttft_mean", MS),
    "MEDIAN_FIRST_TOKEN_TIME": Meaning("ttft_p50", MS),
    "P99_FIRST_TOKEN_TIME": Meaning("ttft_p99", MS),
    "OUTPUT_TOKEN_TIME": Meaning("tpot_mean", MS),
    "MEDIAN_OUTPUT_TOKEN_TIME": Meaning("tpot_p50", MS),
    "P99_OUTPUT_TOKEN_TIME": Meaning("tpot_p99", MS),
    "INTER_TOKEN_TIME": Meaning("itl_mean", MS),
    "MEDIAN_INTER_TOKEN_TIME": Meaning("itl_p50", MS),
    "P99_INTER_TOKEN_TIME": Meaning("itl_p99", MS),
    "SEQ_THROUGHPUT": Meaning("requests_per_s", 1.0),
    "TOTAL_OUTPUT_THROUGHPUT": Meaning("output_tokens_per_s", 1.0),
    "TOKEN_THROUGHPUT": Meaning("output_tokens_per_s", 1.0, is_per_gpu=True),
    "TOTAL_TOKEN_THROUGHPUT": Meaning("total_tokens_per_s", 1.0),
    "BUILD_TIME": Meaning("build_s", 1.0, BUILD),
    "ENGINE_SIZE": Meaning("engine_bytes", _MIB, BUILD, is_per_gpu=True),
}


@dataclass(slots=True)
class _Case:
    network: str
    kind: str
    into: Collector = field(default_factory=Collector)
    seen: set[str] = field(default_factory=set)


def is_base_perf(data: bytes) -> bool:
    """Whether a file begins as such a table."""
    first = data[:4096].removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    return b"perf_metric" in first and b"metric_type" in first


def read_table(source: Source, faults: Faults) -> list[Result]:
    """Every case of the table, of one round. Empty after a fault is told."""
    before = len(faults.found)
    cases: dict[tuple[str, str], _Case] = {}
    gpus: dict[str, int] = {}
    for line, row in _rows(source, faults):
        where = f"{source.name}:{line}"
        gpu = row["perf_case_name"].partition("/")[0].partition("-")[0]
        gpus.setdefault(gpu, line)
        _take(where, row, cases, faults)
    if len(gpus) > 1:
        faults.add(source.name, f"rows of {len(gpus)} GPUs: {', '.join(sorted(gpus))}", "one: split the file by GPU")
    if not cases and len(faults.found) == before:
        faults.add(source.name, "no row", "at least one")
    if len(faults.found) > before:
        return []
    return [_result(source.name, case, next(iter(gpus))) for case in cases.values()]


def _rows(source: Source, faults: Faults) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Line and row of the table, every column there and a text."""
    try:
        reader = csv.DictReader(io.StringIO(source.data.decode("utf-8-sig"), newline=""), strict=True)
        if missing := [name for name in _NEEDED if name not in (reader.fieldnames or ())]:
            faults.add(f"{source.name}:1", f"no column {', '.join(missing)}", f"columns {', '.join(_NEEDED)}")
            return
        for number, row in enumerate(reader):
            where = f"{source.name}:{reader.line_num}"
            if number >= MOST_ROWS:
                faults.add(where, f"more than {MOST_ROWS} rows", "at most that many")
                return
            if None in row or None in row.values():
                faults.add(where, "another number of cells than columns", f"{len(reader.fieldnames or ())}")
            else:
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as exc:
        faults.add(source.name, f"no table ({exc})", "UTF-8 text with commas")


def _take(where: str, row: Mapping[str, str], cases: dict[tuple[str, str], _Case], faults: Faults) -> None:
    """Put one row's figure into its case."""
    said, network = row["metric_type"], row["network_name"]
    value = _number(row["perf_metric"])
    if value is None:
        faults.add(f"{where} perf_metric", repr(row["perf_metric"]), "a finite number of 0 or more")
        return
    if not network:
        faults.add(f"{where} network_name", "nothing", "the name of a case")
        return
    meaning = _MEANINGS.get(said)
    kind = meaning.kind if meaning else LATENCY
    case = cases.setdefault((network, kind), _Case(network, kind))
    if said in case.seen:
        faults.add(f"{where} metric_type", f"{said} of this case again", "one row for each metric of a case")
        return
    case.seen.add(said)
    why = _why_not(meaning, network)
    if meaning is None or why:
        case.into.leave(said, why or "means nothing to perfgate")
    else:
        case.into.put(meaning.metric, value * meaning.scale, said, _requests(network))


def _why_not(meaning: Meaning | None, network: str) -> str | None:
    if meaning and meaning.is_served and "-bench-" in network:
        return "the time of the whole run, which requests_per_s tells"
    if meaning and meaning.is_per_gpu and _gpu_count(network) != 1:
        return "per GPU or of all GPUs: the file does not tell"
    return None


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\s*\d+(\.\d*)?([eE][+-]?\d{1,3})?\s*", text, re.ASCII):
        return None
    value = float(text)
    return value if value <= _LARGEST else None


def _gpu_count(network: str) -> int:
    """GPUs as the case's name tells: 'gpus:8', 'tp:4-pp:2'; one where it says nothing."""
    named = {key: int(count) for key, count in re.findall(r"(?:^|-)(gpus|tp|pp):(\d{1,4})", network)}
    return named.get("gpus", named.get("tp", 1) * named.get("pp", 1))


def _requests(network: str) -> int | None:
    """Requests of a run as the case's name tells: 'reqs:8192'."""
    found = re.search(r"(?:^|-)reqs:(\d{1,9})(?:-|$)", network)
    return int(found[1]) if found else None


def _result(where: str, case: _Case, gpu: str) -> Result:
    name = slug(case.network.replace("/", "-"), 100) + ("-build" if case.kind == BUILD else "")
    model = re.split(r"-(?:bench|serve|cppmanager|server)-", case.network)[0]
    setting = Setting(INSTRUMENT, name, model, {"network_name": case.network, "gpu": gpu}, case.kind)
    ignored = ("test_name", "threshold", "absolute_threshold", "device_subtype")
    return Result(where, setting, case.into.figures(), product=gpu, untold=_UNTOLD, ignored=ignored)
