"""How often the self-test of a baseline refuses plain noise, and how often it finds levels and drift.

Rounds of one case with six metrics are simulated; the shipped self-test (`perfgate.halves`) judges
them under a stated noise of 2 %. Usage: python benchmarks/self_test.py [--cases 300]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from perfgate.halves import discords
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side
from perfgate.terms import Gate, Noise

METRICS = ("ttft_p50", "itl_p50", "tpot_p50", "e2el_p50", "output_tokens_per_s", "requests_per_s")
STATED_SD = 0.02
RANDOM = np.random.default_rng(7)
GATE = Gate(tuple(CATALOGUE[name] for name in METRICS), Noise(STATED_SD, STATED_SD, STATED_SD * 1.5))

Shape = Callable[[int], NDArray[np.float64]]  # rounds -> log shift of each round

NONE: Shape = np.zeros
SHAPES: dict[str, Shape] = {
    "alternating, 23 % apart": lambda n: np.log(1.23) * (np.arange(n) % 2),
    "shifting half-way by 23 %": lambda n: np.log(1.23) * (np.arange(n) >= (n + 1) // 2),
    "random of two levels 23 % apart": lambda n: np.log(1.23) * RANDOM.integers(0, 2, n),
    "drifting by 50 %": lambda n: np.linspace(0, np.log(1.5), n),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="simulated cases per figure")
    cases = parser.parse_args().cases
    counts = (4, 5, 6, 10)
    print(f"{'refused of ' + str(cases) + ' cases, rounds:':<46}", *(f"{n:>6}" for n in counts))
    for factor in (0.5, 1.0, 2.5, 5.0):
        for tails in ("normal", "t3"):
            rates = [_refused(n, factor * STATED_SD, tails, NONE, cases) for n in counts]
            print(f"{f'{tails} noise, {factor:g} x the stated':<46}", *(f"{rate:>6.1%}" for rate in rates), flush=True)
    for name, shape in SHAPES.items():
        rates = [_refused(n, STATED_SD, "normal", shape, cases // 3) for n in counts]
        print(f"{name:<46}", *(f"{rate:>6.1%}" for rate in rates), flush=True)


def _refused(rounds: int, sd: float, tails: str, shape: Shape, cases: int) -> float:
    return float(np.mean([bool(discords(_run(rounds, sd, tails, shape), GATE)) for _ in range(cases)]))


def _run(rounds: int, sd: float, tails: str, shape: Shape) -> Run:
    size = (rounds, len(METRICS))
    noise = RANDOM.normal(0, sd, size) if tails == "normal" else RANDOM.standard_t(3, size) * sd / np.sqrt(3)
    values = np.exp(noise + shape(rounds)[:, None])
    measured = tuple(
        Round("e", Side.CANDIDATE, i, "", 1.0, (CaseRound("e-c", dict(zip(METRICS, map(float, row), strict=True))),))
        for i, row in enumerate(values)
    )
    environment = Environment("cpu/x", "simulated", {}, "")
    case, prepared = CaseInfo("e-c", "e", "latency", "00ff"), PreparedInfo("e", "k", False, {}, 1, {})
    return Run("s", "2026-01-14T08:00:00+00:00", environment, (case,), (prepared,), measured)


if __name__ == "__main__":
    main()
