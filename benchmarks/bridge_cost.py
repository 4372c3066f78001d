"""What the bridge (perfgate.engines.bridge) adds to an engine, with its HTTP side in a process or in a thread.

    PYTHONPATH=src:tests python benchmarks/bridge_cost.py [--streams 1 8 32] [--tokens 64] [--repeats 3] [--openvino]

Each row is one engine at one number of streams (closed loop, prompts of 32 ids): in process, as `generate` yields
tokens; behind the bridge, whose HTTP side is a process of its own; and with that side as a thread of the engine's
process. Ways take turns within each repeat; figures are medians over repeats. The fake engine keeps the interpreter's
lock during its whole step, as a PyTorch decode loop does while it launches kernels; with --openvino the shipped model
runs too. --price STREAMS adds what a token costs both processes in CPU time, by an engine that sleeps. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from perfgate.case import Batching, EngineSpec, KvDtype
from perfgate.device import find_device
from perfgate.engines import backend
from perfgate.engines.base import Request
from perfgate.engines.bridge import launch, serve_engine
from perfgate.engines.bridge_job import Job
from perfgate.engines.kept import free_port
from perfgate.engines.openai import Server, serve
from perfgate.load.ask import Ask, LoadPlan
from perfgate.load.client import run_load
from perfgate.load.target import Target
from perfgate.plant import Plant

ROOT = Path(__file__).resolve().parent.parent
IN_THREAD = Path(__file__).with_name("bridge_in_thread.py")
PROMPT = tuple(range(10, 42))
STEPS_US = (1000, 10_000)


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in ms: the first token behind the moment at which a request was due, and gaps between tokens."""

    ttft_p50: float
    itl_mean: float
    itl_p99: float
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Engine:
    spec: EngineSpec
    prepared: Path


def figures(times_ns: Sequence[Sequence[int]]) -> Figures:
    """Of each request: when it was due, then when each of its tokens came."""
    first = [one[1] - one[0] for one in times_ns]
    gaps = [later - earlier for one in times_ns for earlier, later in pairwise(one[1:])]
    span_s = (max(one[-1] for one in times_ns) - min(one[0] for one in times_ns)) / 1e9
    tokens = sum(len(one) - 1 for one in times_ns)
    return Figures(
        float(np.median(first)) / 1e6, float(np.mean(gaps)) / 1e6, float(np.quantile(gaps, 0.99)) / 1e6, tokens / span_s
    )


# ------------------------------------------------------------------ ways


def in_process(engine: Engine, streams: int, tokens: int, requests: int) -> Figures:
    """As the engine's own events tell."""
    work = [Request(at, PROMPT, tokens) for at in range(requests)]
    times = dict[int, list[int]]()
    with backend(engine.spec.backend).load(engine.spec, engine.prepared, Plant()) as loaded:
        list(loaded.generate(work[:streams], streams))
        for event in loaded.generate(work, streams):
            times.setdefault(event.request, []).append(event.time_ns)
    return figures(list(times.values()))


def bridged(engine: Engine, streams: int, tokens: int, requests: int, *, is_thread: bool = False) -> Figures:
    """As the client measures."""
    body = {"model": engine.spec.name, "prompt": list(PROMPT), "max_tokens": tokens, "ignore_eos": True}
    plan = LoadPlan((Ask(body, len(PROMPT), tokens),) * (requests + streams), streams, streams)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = launch(Job(engine.spec, engine.prepared, free_port()), folder)
        if is_thread:
            start = replace(start, argv=(sys.executable, str(IN_THREAD), start.argv[-1]))
        with serve(start, folder / "server.log") as server:
            result = run_load(Target(server.url), plan, folder)
    measured = [one for one in result.records if not one.is_warmup]
    assert not any(one.fault for one in measured), next(one.fault for one in measured if one.fault)
    return figures([(one.due_ns, *one.event_ns[:-1]) for one in measured])


WAYS: Mapping[str, Callable[[Engine, int, int, int], Figures]] = {
    "in process": in_process,
    "HTTP in a process": bridged,
    "HTTP in a thread": lambda *rest: bridged(*rest, is_thread=True),
}


# ------------------------------------------------------------------ price


def price(folder: Path, streams: int, tokens: int) -> tuple[float, float]:
    """CPU time of a token in us: of the HTTP side, and of the engine's process with an engine that only sleeps."""
    step_us = streams * 40
    spec = fake(f"price {streams}", folder, streams, ("step_us", step_us), ("sleep", True))
    body = {"model": spec.name, "prompt": list(PROMPT), "max_tokens": tokens, "ignore_eos": True}
    plan = LoadPlan((Ask(body, len(PROMPT), tokens),) * 3 * streams, streams)
    with serve_engine(spec, folder, Plant(), folder) as server:
        before = used(server)
        assert not any(one.fault for one in run_load(Target(server.url), plan, folder).records)
        after = used(server)
    http, engine = (1e6 * (late - early) / (3 * streams * tokens) for early, late in zip(before, after, strict=True))
    return http, engine


def used(server: Server) -> tuple[float, float]:
    """CPU seconds so far of the HTTP side and of the engine's process."""
    with urllib.request.urlopen(f"{server.url}/server_info") as answer:  # noqa: S310 - our own server
        http = json.load(answer)["http_side"]["cpu_s"]
    words = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return http, (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------ engines


def fake(name: str, folder: Path, streams: int, *args: tuple[str, int | bool]) -> EngineSpec:
    """The fake engine with so many places."""
    (folder / "weights.bin").write_text("weights")
    return EngineSpec(name, folder, "fake_engine:FakeBackend", max_batch_size=streams, engine_args=args)


def engines(folder: Path, streams: int, *, has_openvino: bool) -> Iterator[Engine]:
    """Engines with places for so many streams."""
    for step_us in STEPS_US:
        yield Engine(fake(f"busy for {step_us / 1000:g} ms a step", folder, streams, ("step_us", step_us)), folder)
    if has_openvino:
        model = ROOT / "fixtures" / "models" / "tiny-llama"
        spec = EngineSpec("openvino", model, kv_cache_dtype=KvDtype.FP32, max_batch_size=streams)
        static = replace(spec, name="openvino static", batching=Batching.STATIC, paged_kv=False)
        for one in (spec, static):
            into = folder / one.name
            if not into.exists():
                into.mkdir()
                backend("openvino").prepare(one, find_device(), into)
            yield Engine(one, into)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 8, 32])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--requests", type=int, default=4, help="a stream")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--price", type=int, nargs="*", default=[], metavar="STREAMS")
    wish = parser.parse_args()
    print(
        "| engine | streams | way | TTFT p50 ms | ITL mean ms | ITL p99 ms | tokens/s |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        for streams in wish.streams:
            for engine in engines(Path(name), streams, has_openvino=wish.openvino):
                seen: dict[str, list[Figures]] = {way: [] for way in WAYS}
                for _ in range(wish.repeats):
                    for way, measure in WAYS.items():
                        seen[way].append(measure(engine, streams, wish.tokens, wish.requests * streams))
                for way, runs in seen.items():
                    print(f"| {engine.spec.name} | {streams} | {way} | {row(runs)} |", flush=True)
        if wish.price:
            print("\n| streams | HTTP side us/token | engine's process us/token |\n|---|---|---|")
        for streams in wish.price:
            http, engine_us = price(Path(name), streams, wish.tokens)
            print(f"| {streams} | {http:.1f} | {engine_us:.1f} |", flush=True)
    return 0


def row(runs: Sequence[Figures]) -> str:
    """Medians over repeats."""
    middle = [statistics.median(getattr(run, name) for run in runs) for name in Figures.__slots__]
    return " | ".join([*(f"{value:.2f}" for value in middle[:3]), f"{middle[3]:.0f}"])


if __name__ == "__main__":
    sys.exit(main())
