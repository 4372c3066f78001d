"""How well creep and suite-wide shifts are seen, in the noise of a simulator of GPU benchmarks.

    python benchmarks/watching.py --sim decision_sim.py [--suites 400] [--seeds 1,2,3] [--jobs 2]

The simulator is not part of this repository; it must offer `World`, `Gate`, `learn`, `SCENARIOS` and `KINDS`.
Creep: suites of 60 metrics, 90 sessions, the change from session 30 on; a session is one gate of BAAB
rounds (or as the first column says); 'falsely' counts suites with any alarm at any of the watched sessions, without
a change. Shift: 20 engines x 3 metrics, 2 ABBA pairs an engine; the plain t is
the test to beat. Brackets are Wilson intervals at 95 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from perfgate.selftest import share_of
from perfgate.shift import LEVEL
from perfgate.watch import PINNED, creep, suite_shift

LENGTH, START, RAMP = 90, 30, 40
SHAPES = {
    "creep 5 %": lambda s: math.log(1.05) * np.clip((s - START) / RAMP, 0, 1),
    "creep 3 %": lambda s: math.log(1.03) * np.clip((s - START) / RAMP, 0, 1),
    "step 5 %": lambda s: math.log(1.05) * (s > START),
}
WAYS = {"BAAB beside": 4, "BA beside": 2, "BB alone": 2}
SHIFTS = (0.0, 0.005, 0.01, 0.02)
ONE = "one engine 30 %"


@dataclass(frozen=True)
class Job:
    """One suite to simulate."""

    sim: Path
    scenario: str
    seed: int
    number: int


def load(path: Path) -> ModuleType:
    """The simulator as a module, once per process."""
    if "perfgate_sim" not in sys.modules:
        spec = importlib.util.spec_from_file_location("perfgate_sim", path)
        if spec is None or spec.loader is None or not path.exists():
            raise SystemExit(f"--sim {path}: no such simulator")
        module = importlib.util.module_from_spec(spec)
        sys.modules["perfgate_sim"] = module
        spec.loader.exec_module(module)
    return sys.modules["perfgate_sim"]


def watched(job: Job) -> dict[tuple[str, str], tuple[int, int, list[int]]]:
    """By way of measuring and shape: whether the suite alarmed, metrics caught after the change, their delays."""
    sim = load(job.sim)
    world = sim.World(replace(sim.SCENARIOS[job.scenario], sessions=LENGTH, runs=4), [job.seed, job.number, 7])
    rounds = np.asarray(world.hist)  # [metric, session, round] log cost; rounds stand for B A A B
    sides = {
        "BAAB beside": (rounds[:, :, [0, 3]].mean(axis=2), rounds[:, :, [1, 2]].mean(axis=2)),
        "BA beside": (rounds[:, :, 0], rounds[:, :, 1]),
        "BB alone": (rounds[:, :, [0, 3]].mean(axis=2), np.full(rounds.shape[:2], np.nan)),
    }
    found = {}
    session = np.arange(LENGTH)
    for way, (level, beside) in sides.items():
        shapes: dict[str, Callable[[np.ndarray], np.ndarray]] = {"none": np.zeros_like, **SHAPES}
        for shape, add in shapes.items():
            seen = creep(level + add(session.astype(float)), beside, tests=len(level)).first
            late = seen[seen > START] - START
            found[way, shape] = (int((seen >= 0).any()), len(late), late.tolist())
    return found


def shifted(job: Job) -> dict[tuple[str, str], tuple[bool, bool]]:
    """By what is known beforehand and true change: whether 'slower' and 'faster' were said."""
    sim = load(job.sim)
    world = sim.World(sim.SCENARIOS[job.scenario], [job.seed, job.number])
    kinds = len(sim.KINDS)
    known = 2 * np.asarray(sim.learn(world.hist).run_var).reshape(-1, kinds)
    changes = {f"{100 * size:g} %": np.full(world.m, math.log1p(size)) for size in SHIFTS}
    changes[ONE] = np.where(world.config == job.number % world.s.configs, math.log(1.3), 0.0)
    found = {}
    for number, (name, change) in enumerate(changes.items()):
        gate = sim.Gate(world, change, [job.seed, job.number, number])
        gate.pairs(2)
        ratios = (gate.medians("B") - gate.medians("A")).reshape(-1, kinds, 2)
        plain = sim.stats.ttest_1samp(ratios.mean(axis=(1, 2)), 0.0, alternative="greater").pvalue
        found["plain t of means", name] = (bool(plain < LEVEL), bool(plain > 1 - LEVEL))
        for rule, var in (("pairs alone", None), ("noise known", known)):
            shift = suite_shift(ratios, pair_var=var)
            found[rule, name] = (shift.is_slower, shift.is_faster)
    return found


def wilson(hits: int, of: int) -> str:
    """A share in percent with its interval (Wilson 1927)."""
    share = share_of(hits, of)
    return f"{100 * hits / of:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def each(work: Callable[[Job], Any], jobs: list[Job], processes: int) -> Iterator[Any]:
    with multiprocessing.Pool(processes) as pool:
        yield from pool.imap_unordered(work, jobs, chunksize=4)


def print_creep(jobs: list[Job], processes: int, scenario: str) -> None:
    results = list(each(watched, jobs, processes))
    metrics = 60
    print(f"\ncreep, {scenario}, {len(jobs)} suites of {metrics} metrics, {LENGTH - PINNED} watched sessions")
    print(
        "| rounds of a session | suites falsely % | " + " | ".join(f"{name} caught %, delay" for name in SHAPES) + " |"
    )
    print("|---|---|" + "---|" * len(SHAPES))
    for way in WAYS:
        cells = [way, wilson(sum(one[way, "none"][0] for one in results), len(results))]
        for shape in SHAPES:
            caught = sum(one[way, shape][1] for one in results)
            delays = [delay for one in results for delay in one[way, shape][2]]
            middle = f"{np.median(delays):.0f}" if delays else "-"
            cells.append(f"{wilson(caught, metrics * len(results))}, {middle}")
        print("| " + " | ".join(cells) + " |", flush=True)


def print_shift(jobs: list[Job], processes: int, scenario: str) -> None:
    results = list(each(shifted, jobs, processes))
    changes = list(dict.fromkeys(change for _, change in results[0]))
    print(f"\nsuite-wide shift, {scenario}, {len(jobs)} gates: 'slower' said %")
    print("| rule | " + " | ".join(changes) + " | 'faster' at 0 % |")
    print("|---|" + "---|" * (len(changes) + 1))
    for rule in dict.fromkeys(rule for rule, _ in results[0]):
        cells = [wilson(sum(one[rule, change][0] for one in results), len(results)) for change in changes]
        faster = wilson(sum(one[rule, changes[0]][1] for one in results), len(results))
        print(f"| {rule} | " + " | ".join(cells) + f" | {faster} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sim", type=Path, required=True, help="the simulator's file")
    parser.add_argument("--suites", type=int, default=400, help="suites per seed and scenario")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--scenarios", default="typical,hostile")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--only", choices=["creep", "shift"])
    args = parser.parse_args()
    load(args.sim)
    for scenario in args.scenarios.split(","):
        job = partial(Job, args.sim.resolve(), scenario)
        jobs = [job(int(seed), number) for seed in args.seeds.split(",") for number in range(args.suites)]
        if args.only != "shift":
            print_creep(jobs, args.jobs, scenario)
        if args.only != "creep":
            print_shift(jobs, args.jobs, scenario)


if __name__ == "__main__":
    main()
