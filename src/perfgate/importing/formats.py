"""Which format a file is, and its results."""

from __future__ import annotations

from collections.abc import Sequence

from perfgate.importing.base_perf import is_base_perf, read_table
from perfgate.importing.benchmark_serving import is_benchmark_serving, read_result
from perfgate.importing.faults import Faults
from perfgate.importing.fields import Fields
from perfgate.importing.result import Result
from perfgate.importing.source import Source, documents
from perfgate.importing.trtllm_bench import is_trtllm_bench, read_report

EXPECTED = "a report of trtllm-bench, a result of benchmark_serving or serve-bench, or base_perf.csv"


def read_results(sources: Sequence[Source], requests_sent: int | None = None) -> list[tuple[Source, list[Result]]]:
    """The results of each file.

    requests_sent: how many requests were asked for, where files do not tell.

    Raises:
        ImportedFileError: every fault of every file.
    """
    faults = Faults()
    found = [(source, _results(source, requests_sent, faults)) for source in sources]
    faults.stop()
    return found


def _what(plain: dict[str, object]) -> str:
    """What an object is that none of the formats is."""
    if {"schema", "suite", "rounds"} <= plain.keys():
        return "a run of perfgate, which needs no import"
    return f"an object with {', '.join(sorted(plain)[:5]) or 'no key'}"


def _results(source: Source, requests_sent: int | None, faults: Faults) -> list[Result]:
    if is_base_perf(source.data):
        return read_table(source, faults)
    out = []
    for one in documents(source, faults):
        fields = Fields(one.where, one.plain, faults)
        if is_trtllm_bench(one.plain):
            out.append(read_report(fields))
        elif is_benchmark_serving(one.plain):
            out.append(read_result(fields, one.plain, requests_sent))
        else:
            faults.add(one.where, _what(one.plain), EXPECTED)
    return out
