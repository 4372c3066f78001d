"""Engines, rounds and suites by hand, for advice without measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perfgate.advising.advice import Material
from perfgate.advising.sources import Source, Sources
from perfgate.case import BuildWork, Case, EngineSpec, LatencyWork, PerplexityWork, Precision, Workload
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Gate, Noise

BF16 = EngineSpec("bf16", Path("m"), "vllm", Precision.BF16)
FP8 = replace(BF16, name="fp8", precision=Precision.FP8)
GRAPHS_OFF = replace(BF16, name="no-graphs", cuda_graphs=False)
BUILD, TEXT = BuildWork("build"), PerplexityWork("text", Path("t"))
C1, C64 = (LatencyWork(f"c{n}", Path("t"), 512, 128, concurrency=n, requests=2 * n) for n in (1, 64))
WORKS: tuple[Workload, ...] = (BUILD, C1, C64, TEXT)
GPU = Environment("sm_90/h200-141gb", "NVIDIA H200", {}, "abc")

Rounds = Mapping[str, Sequence[Mapping[str, float]]]  # case -> values of each round


def suite(*specs: EngineSpec, works: Sequence[Workload] = WORKS) -> Suite:
    cases = tuple(Case(spec, work) for spec in specs for work in works)
    gate = Gate((CATALOGUE["perplexity"],), Noise(0.01, 0.01, 0.01))
    return Suite("small", Path("small.yaml"), cases, gate, tuple(DEFAULT_POLICIES.items()))


def run(of: Suite, rounds: Rounds, losses: Mapping[str, float] | None = None, **changes: Any) -> Run:
    """Rounds of all engines in turn. losses: nats a token that an engine scores worse, by name; scored once."""
    engines = list(dict.fromkeys(case.engine.name for case in of.cases))
    count = max(map(len, rounds.values()), default=1)
    made: list[Round] = []
    for number in range(count):
        for engine in engines:
            mine = [case.id for case in of.cases if case.engine.name == engine]
            found = [CaseRound(name, rounds[name][number]) for name in mine if number < len(rounds.get(name, ()))]
            if number == 0 and losses and engine in losses:
                found.append(CaseRound(f"{engine}-text", {"perplexity": 5.0}, documents=scores(losses[engine])))
            made.append(Round(engine, Side.CANDIDATE, len(made), "", 1.0, tuple(found)))
    infos = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash) for case in of.cases)
    made_of = Run(of.name, "2026-11-21T20:00:00+00:00", GPU, infos, (), tuple(made))
    return replace(made_of, **changes)


def scores(loss: float, documents: int = 12) -> dict[str, DocumentScore]:
    """Documents that lose so many nats a token, a little more or less each."""
    wobble = (0.9, 1.0, 1.1, 1.0)
    return {f"d{n}": DocumentScore(500 * (1.6 + 0.02 * n + loss * wobble[n % 4]), 500, 2000) for n in range(documents)}


def times(metric: str, level: float, spread: float = 0.002, count: int = 6) -> list[dict[str, float]]:
    """Values of a metric in so many rounds, spread about a level."""
    pattern = (1.0, -1.0, 0.5, -0.5, 0.8, -0.8)
    return [{metric: level * (1 + spread * pattern[n % 6])} for n in range(count)]


def material(of: Suite, *runs: Run, raw: Mapping[str, Any] | None = None, **changes: Any) -> Material:
    sources = tuple(Source(f"run{n}.json", one) for n, one in enumerate(runs))
    known: dict[str, dict[str, Any]] = {case.engine.name: {} for case in of.cases}
    made = Material(of, raw if raw is not None else {"engines": known}, Sources(sources))
    return replace(made, **changes)
