"""What it does to verdicts on stored rounds alone that history tells only sessions which were found unchanged.

    python benchmarks/conditioned_history.py --margin 0.05 --detect 0.25 --days 0.03 --rounds 0.01

Series of unchanged engines, one accepted session of five rounds each, then 15 gates of eight rounds, one a day; at
the last also 25 and 50 % slower. The same noise under three rules: which sessions count is all that differs.
(docs/verdicts.md)
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.judge import judge
from perfgate.metrics import Better, Kind, Metric
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.terms import Gate
from perfgate.verdict import MetricVerdict

GATES, SLOWER = 15, (1.25, 1.5, 1.5, 1.25)
CASES = tuple(CaseInfo(f"e{i}", f"e{i}", "own", "h") for i in range(len(SLOWER)))
HERE, MADE = Environment("d", "", {}, ""), Provenance("", "", "", {}, "")
RULES: Mapping[str, Callable[[MetricVerdict], bool]] = {
    "accepted sessions only": lambda _: False,
    "all sessions": lambda _: True,
    "unchanged sessions": lambda one: one.is_unchanged,
}
Floats = NDArray[np.float64]  # [case, round]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("margin", "detect", "days", "rounds"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--suites", type=int, default=25, help="of four engines each")
    args = parser.parse_args()
    gate = Gate((Metric("x_s", "s", Better.LOWER, Kind.NOISY, args.margin, args.detect, "", ("own",), True),))
    for name, rule in RULES.items():
        rng, unchanged, slower = np.random.default_rng(1), Counter[str](), Counter[str]()
        for _ in range(args.suites):
            days = [_day(rng, args.days, args.rounds, 8 if number else 5) for number in range(GATES + 1)]
            _series(days, gate, rule, unchanged, slower)
        print(f"{name}: unchanged {dict(unchanged)}, slower {dict(slower)}")


def _day(rng: np.random.Generator, days: float, rounds: float, count: int) -> Floats:
    noise = rng.normal(0, days, (len(CASES), 1)) + rng.normal(0, rounds, (len(CASES), count))
    return np.asarray(np.exp(noise))


def _series(
    days: list[Floats], gate: Gate, rule: Callable[[MetricVerdict], bool], unchanged: Counter[str], slower: Counter[str]
) -> None:
    """The verdicts of one suite, added to the tallies."""
    accepted = {case.id: Series("s", (_values(row),)) for case, row in zip(CASES, days[0], strict=True)}
    baseline = Baseline("s", "d", MADE, {case: BaselineCase("h", "k", {"x_s": one}) for case, one in accepted.items()})
    known: dict[tuple[str, str], tuple[tuple[float, ...], ...]] = {}
    for number, values in enumerate(days[1:], 1):
        found = judge(_run(values), baseline, gate, known)
        unchanged.update(str(one.verdict) for one in found)
        if number == GATES:
            worse = judge(_run(values * np.array(SLOWER)[:, None]), baseline, gate, known)
            slower.update(f"{by}: {one.verdict}" for by, one in zip(SLOWER, worse, strict=True))
        for row, one in zip(values, found, strict=True):
            if rule(one):
                known[one.case, "x_s"] = (*known.get((one.case, "x_s"), ()), _values(row))


def _values(row: Floats) -> tuple[float, ...]:
    return tuple(map(float, row))


def _run(values: Floats) -> Run:
    rounds = (
        Round(case.engine, Side.CANDIDATE, number, "", 1.0, (CaseRound(case.id, {"x_s": value}),))
        for case, row in zip(CASES, values, strict=True)
        for number, value in enumerate(_values(row))
    )
    return Run("s", "", HERE, CASES, (), tuple(rounds))


if __name__ == "__main__":
    main()
