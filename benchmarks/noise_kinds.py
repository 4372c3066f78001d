"""Error rates of the shipped judge by kind of noise, size of the change and rounds: figures of docs/verdicts.md.

    python benchmarks/noise_kinds.py run [--gates 200] [--only decode,prefill] [--jobs 2]
    python benchmarks/noise_kinds.py table
    python benchmarks/noise_kinds.py plot        (needs matplotlib: pip install 'pytest-perfgate[figures]')

A simulated gate has twelve engines with one metric each, all with one kind of noise (KINDS), 30 stored sessions of
two rounds, and the default limits. Rounds come as in a gate, B A A B B A A B, one at a time, to the engines that
are undecided, at most MOST a side. Each gate is counted twice: with nothing changed (false alarms), and with each
engine slower by another size of SIZES (what is found). Nothing outside this repository is needed; what was
counted is kept in benchmarks/results/noise_kinds.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from decider import GATE, decide
from numpy.typing import NDArray
from pictures import BLUE, GREEN, INK, ORANGE, PURPLE, drawing

from perfgate.percent import percent
from perfgate.selftest import Share, share_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "noise_kinds.json"
FIGURES = HERE.parent / "docs" / "figures"
SIZES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.15, 0.20, 0.30, 0.40)  # one for each engine
SESSIONS, ROUNDS, MOST, SEED = 30, 2, GATE.most_rounds, 2027
SHARED = 0.3  # share of the variance between processes that a session's have in common
RED, OK, OPEN = "regression", "ok", "unresolved"


@dataclass(frozen=True, slots=True)
class KindOfNoise:
    """Spread between processes on one level (log units), and the two levels, where there are two.

    gap: least and largest distance of the levels, as a ratio less one; slow: the probability of the slow one.
    """

    says: str
    colour: str
    sd: float
    gap: tuple[float, float] = (0.0, 0.0)
    slow: float = 0.0


KINDS: Mapping[str, KindOfNoise] = {
    "decode": KindOfNoise("GPU-bound decode steps: 0.2 %", BLUE, 0.002),
    "prefill": KindOfNoise("prefill: 1.3 %", GREEN, 0.013),
    "levels": KindOfNoise("host-bound: two levels 10 to 25 % apart", ORANGE, 0.02, (0.10, 0.25), 0.4),
    "host": KindOfNoise("host-bound: 10 %, one level", PURPLE, 0.10),
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How one engine's metric came out of a gate, and after how many rounds of both sides."""

    verdict: str
    rounds: int


# ------------------------------------------------------------------ the world


class World:
    """Twelve engines with their noise and stored rounds, and today's session. Values are log units."""

    def __init__(self, kind: KindOfNoise, seed: int) -> None:
        self._kind, self._rng = kind, np.random.default_rng(seed)
        self._gap = np.log1p(self._rng.uniform(*kind.gap, len(SIZES)))
        days = [self._day(self._session()) for _ in range(SESSIONS)]
        self.stored = [[day[:, engine].tolist() for day in days] for engine in range(len(SIZES))]
        self._today = self._session()

    def _session(self) -> NDArray[np.float64]:
        """What the rounds of a session have in common, half of it over all engines."""
        sd = self._kind.sd * (SHARED / 2) ** 0.5
        common, own = self._rng.normal(0, sd, 1), self._rng.normal(0, sd, len(SIZES))
        return np.asarray(common + own, dtype=np.float64)

    def _day(self, session: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([self._processes(session) for _ in range(ROUNDS)])

    def _processes(self, session: NDArray[np.float64]) -> NDArray[np.float64]:
        """A round of every engine: each a process, on the level on which it happens to be."""
        count = len(SIZES)
        level = (self._rng.random(count) < self._kind.slow) * self._gap
        own = self._rng.normal(0, self._kind.sd * (1 - SHARED) ** 0.5, count)
        return np.asarray(session + level + own, dtype=np.float64)

    def today(self) -> NDArray[np.float64]:
        """A round of every engine in today's session, unchanged."""
        return self._processes(self._today)


# ------------------------------------------------------------------ a gate


def gate(kind: KindOfNoise, changes: Sequence[float], seed: int) -> list[Ended]:
    """A whole gate; engine i of the candidate is slower by changes[i]."""
    world, engines = World(kind, seed), range(len(changes))
    context = {
        "config": list(engines),
        "history": [[[[float(np.exp(one))] for one in day] for day in days] for days in world.stored],
    }
    sides: dict[str, list[list[list[float]]]] = {"A": [[] for _ in engines], "B": [[] for _ in engines]}
    ended: dict[int, Ended] = {}
    for side in islice(_order(), 2 * MOST):
        slower = np.log1p(changes) if side == "B" else 0.0
        now = np.exp(world.today() + slower)
        for engine in set(engines) - ended.keys():
            sides[side][engine].append([float(now[engine])])
        found = decide([(sides["A"][i], sides["B"][i], "lower") for i in engines], context)
        rounds = [len(sides["A"][i]) + len(sides["B"][i]) for i in engines]
        ended |= {i: Ended(found[i], rounds[i]) for i in set(engines) - ended.keys() if found[i] != OPEN}
        if len(ended) == len(changes):
            break
    return [ended.get(i, Ended(OPEN, rounds[i])) for i in engines]


def _order() -> Iterator[str]:
    while True:
        yield from "BAAB"


def _both(name: str, seed: int) -> tuple[list[Ended], list[Ended]]:
    """The same world without and with changes."""
    return gate(KINDS[name], [0.0] * len(SIZES), seed), gate(KINDS[name], SIZES, seed)


# ------------------------------------------------------------------ counting


def run(names: Sequence[str], gates: int, jobs: int) -> None:
    """Count the kinds named and keep the outcome beside earlier ones."""
    with ProcessPoolExecutor(jobs) as pool:
        for name in names or KINDS:
            pairs = list(pool.map(_both, [name] * gates, range(SEED, SEED + gates), chunksize=4))
            kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            kept[name] = _counted(KINDS[name], [same for same, _ in pairs], [slower for _, slower in pairs])
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            print("\n".join(_rows(kept[name])), flush=True)


def _counted(kind: KindOfNoise, same: Sequence[Sequence[Ended]], slower: Sequence[Sequence[Ended]]) -> dict[str, Any]:
    """Counts of gates and of single metrics; `by_rounds`: red after so many rounds of both sides, or earlier."""
    every = [one for ended in same for one in ended]
    return {
        **asdict(replace(kind, colour="")),
        "gates": len(same),
        "falsely_red_gates": sum(any(one.verdict == RED for one in ended) for ended in same),
        "unchanged": _tally(every),
        "sizes": [{"size": size, **_tally([ended[i] for ended in slower])} for i, size in enumerate(SIZES)],
    }


def _tally(ended: Sequence[Ended]) -> dict[str, Any]:
    red = [one.rounds for one in ended if one.verdict == RED]
    return {
        "metrics": len(ended),
        "red": len(red),
        "ok": sum(one.verdict == OK for one in ended),
        "rounds": float(np.mean([one.rounds for one in ended])),
        "by_rounds": [sum(one <= count for one in red) for count in range(1, 2 * MOST + 1)],
    }


# ------------------------------------------------------------------ words and pictures


def _percent(share: Share) -> str:
    return f"{percent(share.count / share.of)} [{percent(share.low)}, {percent(share.high)}]"


def _rows(kept: Mapping[str, Any]) -> Iterator[str]:
    """Table rows of one kind of noise."""
    alarm = _percent(share_of(kept["falsely_red_gates"], kept["gates"]))
    same = kept["unchanged"]
    yield (
        f"| {kept['says']} | none | {alarm} of gates | {percent(same['ok'] / same['metrics'])} "
        f"| {percent(1 - (same['ok'] + same['red']) / same['metrics'])} | {same['rounds']:.1f} |"
    )
    for one in kept["sizes"]:
        if one["size"] in {0.02, 0.05, 0.10, 0.20}:
            count = one["metrics"]
            yield (
                f"| | {percent(one['size'], 0)} | {_percent(share_of(one['red'], count))} "
                f"| {percent(one['ok'] / count)} | {percent(1 - (one['ok'] + one['red']) / count)} "
                f"| {one['rounds']:.1f} |"
            )


def table() -> None:
    """What was counted, as Markdown."""
    print("| noise between processes | true change | red | ok | inconclusive | rounds, both sides |\n"
          "|---|--:|--:|--:|--:|--:|")  # fmt: skip
    kept = json.loads(RESULTS.read_text())
    for name in KINDS:
        if name in kept:
            print("\n".join(_rows(kept[name])))


def plot() -> None:
    """By kind of noise: what is found and what is called ok over the size; what 5 and 20 % take in rounds."""
    kept = json.loads(RESULTS.read_text())
    shown = [(KINDS[name], kept[name]) for name in KINDS if name in kept]
    with drawing(FIGURES / "by-size.svg", 2, (11, 4.2)) as (red, fine):
        for kind, one in shown:
            _over_sizes(red, kind, one, "red")
            _over_sizes(fine, kind, one, "ok")
        red.set_title("found (red)", loc="left")
        fine.set_title("called ok", loc="left")
        for axes in (red, fine):
            _percent_axis(axes, "true slowdown, %", "% of metrics")
            axes.set_xscale("symlog", linthresh=0.5)
            axes.set_xlim(-0.05, 45)
            axes.minorticks_off()
            axes.set_xticks([0, 1, 2, 5, 10, 20, 40], ["0", "1", "2", "5", "10", "20", "40"])
            for limit in (2, 5):
                axes.axvline(limit, color=INK, lw=0.8, ls=":")
        red.text(2, 103, "margin", color=INK, ha="center", fontsize=8)
        red.text(5, 103, "detect", color=INK, ha="center", fontsize=8)
        red.legend(loc="center left", fontsize=8)
    with drawing(FIGURES / "by-rounds.svg", 2, (11, 4.2)) as panels:
        for axes, size in zip(panels, (0.05, 0.20), strict=True):
            for kind, one in shown:
                counts = next(each for each in one["sizes"] if each["size"] == size)
                shares = [0.0, *(100 * red / counts["metrics"] for red in counts["by_rounds"])]
                axes.step(range(len(shares)), shares, where="post", color=kind.colour, label=kind.says)
            axes.set_title(f"a slowdown of {percent(size, 0)}: found by")
            _percent_axis(axes, "rounds of both engines together", "% of metrics")
            axes.set_xlim(0, 2 * MOST + 0.5)
            axes.set_xticks(range(0, 2 * MOST + 1, 4))
        panels[0].legend(loc="center right", fontsize=8)


def _over_sizes(axes: Any, kind: KindOfNoise, one: Mapping[str, Any], what: str) -> None:
    """Shares with 95 % intervals; at 0 the unchanged metrics."""
    points = [(0.0, one["unchanged"]), *((100 * each["size"], each) for each in one["sizes"])]
    shares = [share_of(counts[what], counts["metrics"]) for _, counts in points]
    middle = np.array([share.count / share.of for share in shares])
    bars = 100 * np.array([middle - [share.low for share in shares], [share.high for share in shares] - middle])
    axes.errorbar([at for at, _ in points], 100 * middle, bars, fmt="o-", ms=4, lw=1.5, capsize=2,
                  color=kind.colour, label=kind.says)  # fmt: skip


def _percent_axis(axes: Any, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y, ylim=(-2, 102))
    axes.grid(axis="y", color=INK, alpha=0.25, lw=0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "plot"])
    parser.add_argument("--gates", type=int, default=200, help="gates a kind of noise, each without and with changes")
    parser.add_argument("--only", default="", help="kinds: " + ", ".join(KINDS))
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.what == "run":
        run([name for name in args.only.split(",") if name], args.gates, args.jobs)
    else:
        {"table": table, "plot": plot}[args.what]()


if __name__ == "__main__":
    main()
