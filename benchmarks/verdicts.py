"""Error rates of whole gates, counted by a decision simulator, and the figures of docs/verdicts.md.

    python benchmarks/verdicts.py run --sim decision_sim.py [--only typical,hostile] [--scale 1.0] [--jobs 2]
    python benchmarks/verdicts.py table
    python benchmarks/verdicts.py plot        (needs matplotlib: pip install 'pytest-perfgate[figures]')

`run` counts each line of EXPERIMENTS and keeps what came out in benchmarks/results/verdicts.json; `table`
and `plot` read that. The simulator is not part of this repository: it models gates of 20 engines with three
metrics each, with noise between samples, processes and sessions as it was seen on GPUs; its plug-in contract
is met by benchmarks/decider.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perfgate.percent import percent
from perfgate.selftest import Share, share_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "verdicts.json"
FIGURE = HERE.parent / "docs" / "figures" / "verdicts.svg"


@dataclass(frozen=True, slots=True)
class Experiment:
    """One call of the simulator: which decider, in which noise, for which true slowdowns (percent)."""

    name: str
    says: str
    decider: str = "decide"
    scenario: str = "typical"
    effects: str = "5"
    reps: int = 300
    start: int = 1
    cap: int = 32
    design: str = "hybrid"
    more: tuple[str, ...] = ()


EXPERIMENTS = (
    Experiment("typical", "typical noise", reps=1000),
    Experiment("hostile", "hostile noise: bad runs, more modes, drift", scenario="hostile", reps=400),
    Experiment("quiet", "quiet machine", scenario="quiet", reps=200),
    Experiment("cold", "no history at all", reps=300, more=("--set", '{"sessions": 0}')),
    Experiment("short", "history of 5 sessions", reps=150, more=("--set", '{"sessions": 5}')),
    Experiment("cap8", "at most 8 runs an engine", reps=300, cap=4),
    Experiment("thorough", "--perfgate-thorough, built for 3 %", "decide_thorough", effects="3", reps=200, cap=60),
    Experiment("stored", "baseline engine gone, 3 to 12 runs", "decide_stored", effects="5,10,20", reps=100,
               start=3, cap=12, design="stored"),
    Experiment("suite", "uniform shift of the whole suite, 4 runs", "decide_suite", effects="2", reps=400, start=2,
               cap=2, design="interleaved", more=("--scope", "suite")),
    Experiment("modes", "two levels 16 % apart in every second engine", effects="5,10", reps=100,
               more=("--set", '{"bimodal": [0.5, 0.16, 0.4]}')),
    Experiment("curve", "typical noise, by size", effects="1,2,3,4,7,10", reps=120),
    Experiment("curve-thorough", "thorough, by size", "decide_thorough", effects="1,2,4,5", reps=60, cap=60),
)  # fmt: skip


def run(sim: Path, names: Sequence[str], scale: float, jobs: int) -> None:
    """Count the named experiments and keep the outcome beside earlier ones."""
    for one in EXPERIMENTS:
        if not names or one.name in names:
            reps = max(2, round(one.reps * scale))
            row = _counted(sim, one, reps, jobs)
            kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            kept[one.name] = {**asdict(one), "reps": reps, "row": row}
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
            print("\n".join(_lines(kept[one.name])), flush=True)


def _counted(sim: Path, one: Experiment, reps: int, jobs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        options = {
            "--decider": f"benchmarks.decider:{one.decider}", "--design": one.design, "--scenario": one.scenario,
            "--effects": one.effects, "--reps": reps, "--start": one.start, "--step": 1, "--cap": one.cap,
            "--jobs": jobs, "--seed": 2027, "--out": out,
        }  # fmt: skip
        words = [str(word) for pair in options.items() for word in pair]
        env = {**os.environ, "PYTHONPATH": str(HERE.parent / "src"), "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, str(sim.resolve()), "gate", *words, *one.more],
            check=True, cwd=HERE.parent, env=env, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        row: dict[str, Any] = json.loads(out.read_text())[0]
        return row


def _wilson(share: float, gates: int) -> Share:
    return share_of(round(share * gates), gates)


def _share(share: float, gates: int) -> str:
    interval = _wilson(share, gates)
    return f"{percent(share, 2)} [{percent(interval.low, 2)}, {percent(interval.high, 2)}]"


def _lines(kept: Mapping[str, Any]) -> list[str]:
    """Table rows of one experiment: one for each true slowdown."""
    row, reps = kept["row"], kept["reps"]
    alarm = _share(row["false_alarm_suite"], reps)
    out = []
    for effect in kept["effects"].split(","):
        found, passed = _share(row[f"detect_{effect}"], reps), _share(row[f"passed_{effect}"], reps)
        undecided = f"{row[f'unresolved_{effect}']:.2%}"
        out.append(
            f"| {kept['says']} | {reps} | {alarm} | {effect} % | {found} | {passed} | {undecided} "
            f"| {row['runs_aa']:.1f} | {percent(row['unresolved_aa'], 2)} |"
        )
    return out


def table() -> None:
    """What was counted, as Markdown."""
    print("| noise | gates | false alarm a gate | true change | found | called ok | undecided | runs an engine "
          "| undecided of unchanged |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")  # fmt: skip
    kept = json.loads(RESULTS.read_text())
    for one in EXPERIMENTS:
        if one.name in kept:
            print("\n".join(_lines(kept[one.name])))


def plot() -> None:
    """What share of slowdowns is found and called ok, by their size; and what it costs in runs."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "perfgate"
    from matplotlib import pyplot as plt

    kept = json.loads(RESULTS.read_text())
    figure, (power, cost) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(3, 2))
    for names, label, colour in (
        (("curve", "typical"), "default, detect 5 %", "#1f5fbf"),
        (("curve-thorough", "thorough"), "thorough, detect 3 %", "#b3541e"),
    ):
        _draw_power(power, [kept[name] for name in names if name in kept], label, colour)
    power.set(xlabel="true slowdown of one metric, %", ylabel="% of gates", ylim=(-2, 102), xlim=(0, 10.2))
    power.set_title("found (solid), called ok (dashed); at 0: false alarms of a gate", fontsize=10)
    power.legend(frameon=False, loc="center right")
    shown = [name for name in ("quiet", "cap8", "typical", "cold", "hostile", "thorough") if name in kept]
    runs = [kept[name]["row"]["runs_aa"] for name in shown]
    bars = cost.barh([kept[name]["says"].split(":")[0] for name in shown], runs, color="#7a8797")
    cost.bar_label(bars, fmt="%.1f", padding=3)
    cost.set(xlabel="process runs an engine, both sides,\nwhen nothing changed", xlim=(0, max(runs) * 1.15))
    for axes in (power, cost):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})
    print(f"wrote {FIGURE}")


def _draw_power(axes: Any, parts: Sequence[Mapping[str, Any]], label: str, colour: str) -> None:
    points = {
        float(effect): (part["row"][f"detect_{effect}"], part["row"][f"passed_{effect}"], part["reps"])
        for part in parts
        for effect in part["effects"].split(",")
    }
    alarms = [(part["row"]["false_alarm_suite"], part["reps"]) for part in parts]
    most = max(alarms, key=lambda one: one[1])
    sizes = [0.0, *sorted(points)]
    found = [most[0], *(points[size][0] for size in sizes[1:])]
    counts = [most[1], *(points[size][2] for size in sizes[1:])]
    bars = [_wilson(share, count) for share, count in zip(found, counts, strict=True)]
    low = [100 * (share - one.low) for share, one in zip(found, bars, strict=True)]
    high = [100 * (one.high - share) for share, one in zip(found, bars, strict=True)]
    axes.errorbar(sizes, [100 * share for share in found], [low, high], fmt="o-", color=colour, label=label, capsize=2)
    axes.plot(sizes[1:], [100 * points[size][1] for size in sizes[1:]], "--", color=colour, alpha=0.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "plot"])
    parser.add_argument("--sim", type=Path, help="the simulator's file")
    parser.add_argument(
        "--only", default="", help="names of experiments: " + ", ".join(one.name for one in EXPERIMENTS)
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of gates")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    if args.what == "run":
        if args.sim is None:
            parser.error("run needs --sim FILE")
        run(args.sim, [name for name in args.only.split(",") if name], args.scale, args.jobs)
    else:
        {"table": table, "plot": plot}[args.what]()


if __name__ == "__main__":
    main()
