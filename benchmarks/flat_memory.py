"""Memory of a gate's process, and what lies in its state folder, over as many rounds as two hours hold and more.

    python benchmarks/flat_memory.py --rounds 350

A whole gate (plan, journal, judging after each round, reports) on the fake engine, in this process. Only the rounds'
processes are stood in for: each round is there at once, with the samples, log and heartbeat of a real one. Prints JSON:
resident memory (MB) and sizes on disk after every so many rounds, and at the end. long_gate.py looks at a whole pytest.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / folder) for folder in ("tests", "src")]

from killing import Project  # type: ignore[import-not-found] # noqa: E402 - of tests/
from perfgate.floats import Floats  # noqa: E402
from perfgate.gate import close_gate, run_gate  # noqa: E402
from perfgate.history import history_path  # noqa: E402
from perfgate.measure import Bench, Turnout  # noqa: E402
from perfgate.plan import Options, make_plan  # noqa: E402
from perfgate.recall import recall  # noqa: E402
from perfgate.record import CaseRound, DocumentScore, Host, Round, now  # noqa: E402
from perfgate.report import Behind, write_reports  # noqa: E402
from perfgate.suite import load_suite  # noqa: E402

REQUESTS, TOKENS = 256, 64  # of a latency workload: ttft, tpot and e2el of each request, itl of its further tokens
LOG_LINE = b"measuring one-b1, %d of 256 requests\n"


class Quiet:
    """A teller that says nothing."""

    def step(self, text: str, done: int, total: int, left_s: float) -> None: ...
    def note(self, text: str) -> None: ...


class Watched:
    """Makes rounds up, and looks at this process every so often."""

    def __init__(self, root: Path, rounds: int) -> None:
        self.root, self.every, self.seen = root, max(rounds // 10, 1), list[dict[str, float]]()
        self.rng, self.begin = random.Random(1), time.monotonic()  # noqa: S311 - figures to judge
        self.itl = [self.rng.gauss(1.0, 0.02) for _ in range(REQUESTS * (TOKENS - 1))]

    def measure(self, bench: Bench, turnout: Turnout, rounds: Sequence[Round]) -> list[Round]:
        made = [self._made(bench, ask.engine, ask.side, len(rounds) + at) for at, ask in enumerate(turnout)]
        if len(rounds) % self.every == 0:
            self.look(len(rounds))
        return made

    def _made(self, bench: Bench, engine: str, side: Any, index: int) -> Round:
        log = bench.folder / f"{index:03}-{engine}-{side}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"".join(LOG_LINE % number for number in range(REQUESTS)))
        samples = {
            name: Floats(self.rng.gauss(1.0, 0.02) for _ in range(REQUESTS)) for name in ("ttft", "tpot", "e2el")
        } | {"itl": Floats(self.itl)}
        latency = CaseRound(
            f"{engine}-b1", {"device_decode_step_p50": self.rng.gauss(0.0005, 0.00001)}, samples=samples
        )
        scores = {f"d{number}": DocumentScore(100.0, 50, 200) for number in range(4)} if not index else {}
        text = [CaseRound(f"{engine}-text", {"perplexity": 7.4}, documents=scores)] if scores else []
        built = CaseRound(f"{engine}-build", {"engine_bytes": 56.0})
        return Round(engine, side, index, now(), 10.0, (built, latency, *text), Host())

    def look(self, rounds: int) -> None:
        state = self.root / ".perfgate"
        self.seen.append(
            {
                "rounds": rounds,
                "seconds": round(time.monotonic() - self.begin, 1),
                "resident MB": round(_resident() / 1e6, 1),
                "journal MB": round(_size(state / "journal") / 1e6, 2),
                "logs MB": round(_size(state / "work") / 1e6, 2),
            }
        )


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> int:
    """Run the gate, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=350)
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Project.make(Path(folder) / "project")
        os.chdir(project.root)
        sys.path.insert(0, str(project.root))
        os.environ["PYTHONPATH"] = project.variables["PYTHONPATH"]
        os.environ["PERFGATE_LEASES"] = str(project.root / "leases")
        print(json.dumps(_gates(project.root, wish.rounds), indent=1))
    return 0


def _gates(root: Path, rounds: int) -> dict[str, object]:
    """A gate that records, and a long one that is judged."""
    suite, out = load_suite(root / "suite.yaml"), root / "perfgate-out"
    watched = Watched(root, rounds)
    with mock.patch.object(Bench, "measure", lambda *asked: watched.measure(*asked)):  # noqa: PLW0108 - takes the bench
        for count in (3, rounds):
            watched.seen.clear()
            options = Options(root / "baselines", root / ".perfgate", "local", rounds=count, budget_s=1e9)
            plan = make_plan(suite, suite.cases, options)
            with ExitStack() as held:
                run, comparison = run_gate(suite, suite.cases, options, plan, Quiet(), held)
                watched.look(len(run.rounds))
                past = recall(history_path(options.state), run, plan.baseline)
                write_reports(run, comparison, out, Behind.of(plan.baseline, past))
                close_gate(comparison, plan, options)
    watched.look(len(run.rounds))
    reports = {path.name: round(path.stat().st_size / 1e6, 2) for path in sorted(out.iterdir())}
    return {"over the rounds": watched.seen, "reports MB": reports}


if __name__ == "__main__":
    sys.exit(main())
