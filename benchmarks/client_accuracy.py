"""How right the measuring client is: its figures against the log of a server whose send times are exact.

    python benchmarks/client_accuracy.py [--streams 1 16 128 512 1024] [--tokens 64] [--repeats 1] [--real-time]
                                         [--out FILE]

Prints Markdown; FILE gets the errors as JSON, which benchmarks/client_figures.py draws. Server and client have a
core each where there are two. Beside the client run readers in the style of `benchmark_serving` on aiohttp and httpx,
where these are installed. Errors are of what is reported against what the server logged of the same run, so
neighbours that slow both do not enter; read absolute times as ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from calibrated_server.ruler import Ruler, Truth, ruler

from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.job import LoadResult
from perfgate.load.target import Target

TTFT_MS, ITL_MS = 50.0, 10.0
READERS = ("aiohttp", "httpx")
RATE, RATE_REQUESTS = 400.0, 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """Latencies of a run in ms, as one side tells them: the client or the server."""

    ttft: tuple[float, ...]
    itl: tuple[float, ...]
    e2el: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: errors in ms, and its price. late_us: how late the server's own sends were on average."""

    client: str
    streams: int
    errors: tuple[float, ...]  # TTFT mean, TTFT p99, ITL mean, ITL p99, E2EL mean, E2EL p99
    itl_p99_share: float
    tokens_per_s: float
    cpu_ms_per_1k: float
    late_us: float
    note: str = ""


def main() -> None:
    options = parsed()
    cores = sorted(os.sched_getaffinity(0))
    shape = f"TTFT {TTFT_MS:g} ms, ITL {ITL_MS:g} ms, {options.tokens} tokens a request"
    how = "real-time" if options.real_time else "ordinary"
    print(f"Server on core {cores[0]}, client on core {cores[-1]} of {len(cores)}; {shape}; {how} class.\n")
    cells = accuracy(options, cores)
    if options.out:
        keep(options, shape, cells)
    prices(options, cores)
    open_loop(options, cores)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 16, 128, 512, 1024])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="requests a stream; single streams get 10 at least")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--readers", nargs="*", default=list(READERS), choices=READERS)
    parser.add_argument(
        "--real-time", action="store_true", help="server and client in the real-time class (needs the right)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the errors as JSON too")
    return parser.parse_args()


def keep(options: argparse.Namespace, shape: str, cells: Sequence[Cell]) -> None:
    told = {
        "command": " ".join(["python", *sys.argv]),
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        "shape": f"{shape}, closed loop",
        "cells": [kept_cell(cell) for cell in cells],
    }
    options.out.write_text(json.dumps(told, indent=1) + "\n")


def kept_cell(cell: Cell) -> dict[str, object]:
    names = ("ttft_mean_ms", "ttft_p99_ms", "itl_mean_ms", "itl_p99_ms", "e2el_mean_ms", "e2el_p99_ms")
    return {
        "client": cell.client, "streams": cell.streams, "tokens_per_s": cell.tokens_per_s, "note": cell.note,
        **dict(zip(names, cell.errors, strict=True)),
    }  # fmt: skip


def accuracy(options: argparse.Namespace, cores: Sequence[int]) -> list[Cell]:
    heads = ["client", "streams", "TTFT mean", "TTFT p99", "ITL mean", "ITL p99", "E2EL mean", "E2EL p99",
             "ITL p99 off", "tokens/s", "CPU ms per 1k tokens", "server late, us", "note"]  # fmt: skip
    print("Errors in ms (reported - true).\n\n" + row(heads) + row(["---"] * len(heads)), end="", flush=True)
    cells = []
    for client in ["perfgate", *readers(options.readers)]:
        for streams in options.streams:
            for _ in range(options.repeats):
                cells.append(one_cell(client, streams, options, cores))
                print(row(cell_words(cells[-1])), end="", flush=True)
    for missing in sorted(set(options.readers) - set(readers(options.readers))):
        print(f"\n{missing} is not installed: skipped.")
    print()
    return cells


def one_cell(client: str, streams: int, options: argparse.Namespace, cores: Sequence[int]) -> Cell:
    count = max(10, options.rounds * streams)
    with ruler(TTFT_MS, ITL_MS, cores[0], is_real_time=options.real_time) as server, folder() as place:
        before = children_cpu_s()
        if client == "perfgate":
            load = plan(count, streams, options.tokens)
            result = run(server, load, place, cores[-1], is_real_time=options.real_time)
            told, note = of_result(result), words(result)
        else:
            told, note = run_reader(client, server, count, streams, options.tokens, place, cores[-1]), ""
        cpu_s = children_cpu_s() - before
        truth = server.truth()
    return cell(client, streams, told, truth, cpu_s, note)


def cell(client: str, streams: int, told: Seen, truth: Sequence[Truth], cpu_s: float, note: str) -> Cell:
    true = of_truth(truth)
    tokens = sum(len(one.token_ns) for one in truth)
    span_s = (max(one.token_ns[-1] for one in truth) - min(one.arrival_ns for one in truth)) / 1e9
    pairs = ((told.ttft, true.ttft), (told.itl, true.itl), (told.e2el, true.e2el))
    errors = [float(how(mine) - how(theirs)) for mine, theirs in pairs for how in (np.mean, p99)]
    late = sum(one.late_ns for one in truth) / tokens / 1e3
    return Cell(
        client, streams, tuple(errors), errors[3] / p99(true.itl), tokens / span_s, cpu_s * 1e6 / tokens, late, note
    )


def prices(options: argparse.Namespace, cores: Sequence[int]) -> None:
    """CPU of a token alone: the slope between a short and a long run, so start-up falls out."""
    print("CPU of the client's process, decoding included, as the slope between two runs:\n")
    print(row(["streams", "requests", "tokens/s", "CPU ms per 1k tokens", "start to first request, s"])
          + row(["---"] * 5), end="", flush=True)  # fmt: skip
    for streams, few, many in ((32, 64, 640), (1024, 1024, 5120)):
        if streams > 2 * max(options.streams):
            continue
        runs = [priced(streams, count, options.tokens, cores) for count in (few, many)]
        slope = (runs[1][0] - runs[0][0]) * 1e6 / ((many - few) * options.tokens)
        starts = ", ".join(f"{one[2]:.2f}" for one in runs)
        print(row([streams, f"{few}, {many}", f"{runs[1][1]:,.0f}", f"{slope:.1f}", starts]), end="", flush=True)
    print()


def priced(streams: int, count: int, tokens: int, cores: Sequence[int]) -> tuple[float, float, float]:
    """CPU s, tokens/s, and seconds from the start of the client's process to the first request's arrival."""
    with ruler(TTFT_MS, ITL_MS, cores[0]) as server, folder() as place:
        before, begin = children_cpu_s(), time.monotonic_ns()
        run(server, plan(count, streams, tokens), place, cores[-1])
        cpu_s = children_cpu_s() - before
        truth = server.truth()
    first = min(one.arrival_ns for one in truth)
    span_s = (max(one.token_ns[-1] for one in truth) - first) / 1e9
    return cpu_s, count * tokens / span_s, (first - begin) / 1e9


def open_loop(options: argparse.Namespace, cores: Sequence[int]) -> None:
    asks = [replace(ask, due_s=at / RATE) for at, ask in enumerate(plan(RATE_REQUESTS, 1, 16).asks)]
    with ruler(TTFT_MS, ITL_MS, cores[0], is_real_time=options.real_time) as server, folder() as place:
        result = run(server, LoadPlan(tuple(asks), None), place, cores[-1], is_real_time=options.real_time)
        truth = server.truth()
    arrivals = sorted(one.arrival_ns for one in truth)
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 1e9
    late = np.array([one.sent_ns - one.due_ns for one in result.records if one.sent_ns is not None]) / 1e6
    told, true = of_result(result), of_truth(truth)
    print(f"Open loop, {RATE:g} requests/s asked, {RATE_REQUESTS} requests of 16 tokens: {rate:.3f}/s arrived "
          f"({rate / RATE - 1:+.4%}); send lateness p50 {np.median(late):.3f}, p99 {p99(late):.3f}, "
          f"max {late.max():.3f} ms; TTFT error mean {np.mean(told.ttft) - np.mean(true.ttft):.3f}, "
          f"p99 {p99(told.ttft) - p99(true.ttft):.3f} ms. {words(result)}")  # fmt: skip


def run(server: Ruler, load: LoadPlan, place: Path, core: int, *, is_real_time: bool = False) -> LoadResult:
    """The client as users run it: in a process of its own, on one core."""
    result = run_load(Target(server.url), load, place, cpus=(core,), is_real_time=is_real_time)
    faults = [one.fault for one in result.records if one.fault]
    if faults or len(result.records) != len(load.asks):
        raise RuntimeError(f"{len(faults)} of {len(result.records)} requests failed, the first: {faults[:1]}")
    return result


def run_reader(name: str, server: Ruler, count: int, streams: int, tokens: int, place: Path, core: int) -> Seen:
    out = place / "reader.json"
    script = str(Path(__file__).with_name("reference_readers.py"))
    command = [sys.executable, script, name, server.url, *map(str, (count, streams, tokens)), str(out)]
    subprocess.run(["taskset", "-c", str(core), *command], check=True)  # noqa: S607
    found = json.loads(out.read_text())
    return Seen(
        ms(one["ttft_ns"] for one in found),
        ms(gap for one in found for gap in one["itl_ns"]),
        ms(one["e2el_ns"] for one in found),
    )


def plan(count: int, streams: int, tokens: int) -> LoadPlan:
    body = {"model": "m", "prompt": "x", "max_tokens": tokens, "ignore_eos": True}
    return LoadPlan(tuple(Ask(body | {"seed": seed}, 1, tokens) for seed in range(count)), streams)


def of_result(result: LoadResult) -> Seen:
    sent = [(one, one.sent_ns or 0, one.token_ns) for one in result.records]
    return Seen(
        ms(events[0] - start for _, start, events in sent),
        ms(gap for _, _, events in sent for gap in np.diff(np.array(events))),
        ms(events[-1] - start for _, start, events in sent),
    )


def of_truth(truth: Iterable[Truth]) -> Seen:
    kept = list(truth)
    return Seen(
        ms(one.ttft_ns for one in kept), ms(gap for one in kept for gap in one.itl_ns), ms(one.e2el_ns for one in kept)
    )


def words(result: LoadResult) -> str:
    watch = result.watch
    lag = f"lag p99 {(watch.lag.p99_s or 0) * 1e3:.2f} ms, merged {watch.merged_share:.2%}, CPU {watch.cpu_share:.0%}"
    return f"{result.path}; {lag}" + "".join(
        [
            *(f"; CLIENT WAS THE LIMIT: {one}, holds {watch.holds}" for one in watch.limits),
            *(f"; in doubt: {one.words}" for one in watch.doubts),
        ]
    )


def cell_words(cell: Cell) -> list[object]:
    errors = [f"{one:+.3f}" for one in cell.errors]
    return [cell.client, cell.streams, *errors, f"{cell.itl_p99_share:+.2%}", f"{cell.tokens_per_s:,.0f}",
            f"{cell.cpu_ms_per_1k:.1f}", f"{cell.late_us:.0f}", cell.note]  # fmt: skip


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |\n"


def readers(wished: Sequence[str]) -> list[str]:
    return [name for name in READERS if name in wished and importlib.util.find_spec(name)]


def ms(samples_ns: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(one) / 1e6 for one in samples_ns)


def p99(samples: Iterable[float]) -> float:
    return float(np.percentile(list(samples), 99))


def children_cpu_s() -> float:
    """CPU time of all ended children. The server is not among them: it is asked before it ends."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


if __name__ == "__main__":
    main()
