"""Memory of a whole `pytest perf_tests`, seen from outside, and what it leaves on disk, over the rounds of two hours.

    python benchmarks/long_gate.py --rounds 700 [--terminal] [-- -n 0]

A gate with the plugin and every file of perf_tests on the fake engine, judged against a baseline of the same engine.
Every round is a process of its own, with log, heartbeat and the samples of 256 requests of 64 tokens. Two hours have
700 rounds of 10 s. These last as long as starting a process takes: the engine's clock counts the time that its steps
should take, without waiting. What `--` is followed by goes to pytest.

/proc tells every other second how much memory the pytest process and its keeper have. Prints JSON: the first tenth of
the measuring beside the last, and the growth between; sizes on disk; exit code 1 where the gate was not as it should.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("tests", "src")]

from killing import Project  # type: ignore[import-not-found] # noqa: E402 - of tests/
from perfgate.process_tree import descendants  # noqa: E402

SUITE = """
schema: 1
suite: long
defaults:
  engine:
    backend: "fake_engine:FakeBackend"
    model: model
    engine_args: {step_us: 400, clock: steps, noise: 0.02}
engines:
  one: {max_batch_size: 4}
workloads:
  build: {kind: build}
  b1: {kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 64, concurrency: 4, requests: 256}
  text: {kind: perplexity, text: texts.jsonl, window: 64, stride: 32}
gate:
  metrics: {itl_p50: {margin: 5%}, engine_bytes: {}, perplexity: {}}
  noise: {round_sd: 2%, session_sd: 2%, pair_sd: 3%}
  pairing: interleaved
  budget: 6h
  max_foreign_cpu: 100%
policy:
  local: {no_baseline: record}
"""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running gate. Memory is resident, in MB of a million bytes; so are sizes on disk."""

    seconds: float
    rounds: int  # in the journal
    pytest_mb: float
    open_files: int
    threads: int
    keeper_mb: float
    journal_mb: float
    logs_mb: float


class Gate:
    """A running `pytest perf_tests`: what it says goes to a file, by way of a terminal where that is asked for."""

    def __init__(self, project: Project, args: list[str], *, on_terminal: bool) -> None:
        self.root, self.begin = project.root, time.monotonic()
        self.looks = list[Look]()
        command = [sys.executable, "-m", "pytest", "-p", "perfgate.plugin", "perf_tests", *args]
        variables = project.variables | {"TERM": "xterm", "COLUMNS": "120"}
        with (self.root / "out.txt").open("wb") as out:
            if not on_terminal:
                self.process = subprocess.Popen(command, cwd=self.root, env=variables, stdout=out, stderr=out)
                return
        master, slave = os.openpty()
        self.process = subprocess.Popen(
            command, cwd=self.root, env=variables, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        threading.Thread(target=_copy, args=(master, self.root / "out.txt"), daemon=True).start()

    def watch(self, every_s: float) -> int:
        """Look at it until it ends; its exit code."""
        while self.process.poll() is None:
            with suppress(OSError):  # it ended just now
                self.looks.append(self._look())
            time.sleep(every_s)
        return self.process.returncode

    def _look(self) -> Look:
        state, mine = self.root / ".perfgate", Path(f"/proc/{self.process.pid}")
        keepers = [one.pid for one in descendants(self.process.pid) if "perfgate.keeper" in one.command]
        return Look(
            round(time.monotonic() - self.begin, 1), _rounds(state / "journal"), _resident_mb(self.process.pid),
            len(list((mine / "fd").iterdir())), len(list((mine / "task").iterdir())),
            sum(map(_resident_mb, keepers)), _size_mb(state / "journal"), _size_mb(state / "work", "*.log"),
        )  # fmt: skip


def _copy(terminal: int, path: Path) -> None:
    with path.open("wb") as out, suppress(OSError):  # the last process that had it open has ended
        while said := os.read(terminal, 65536):
            out.write(said)
            out.flush()


def _rounds(folder: Path) -> int:
    """Whole lines of journals, headers left out."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in folder.glob("*.jsonl"))


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 2)


def _size_mb(folder: Path, pattern: str = "*") -> float:
    """Of files that may go while they are looked at."""
    size = 0
    for path in folder.rglob(pattern):
        with suppress(OSError):
            size += path.lstat().st_size
    return round(size / 1e6, 2)


def main() -> int:
    """Record a baseline, run the long gate beside it, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=700, help="of both sides, candidate and baseline (default: 700)")
    parser.add_argument("--terminal", action="store_true", help="pytest has a terminal, and draws its progress live")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks (default: 2)")
    parser.add_argument("--looks", type=Path, metavar="FILE", help="where every look goes, as JSON lines")
    parser.add_argument("pytest", nargs="*", metavar="ARG", help="arguments of pytest, after --")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="long-gate-") as folder:
        project = _project(Path(folder) / "project")
        short, long = (["--perfgate-rounds", str(rounds)] for rounds in (2, wish.rounds // 2))
        if Gate(project, short, on_terminal=False).watch(0.1):
            raise SystemExit(f"the first gate fails:\n{project.told}")
        gate = Gate(project, [*long, *wish.pytest], on_terminal=wish.terminal)
        code = gate.watch(wish.every)
        if wish.looks:
            wish.looks.write_text("".join(f"{json.dumps(asdict(look))}\n" for look in gate.looks))
        reported = len(project.reported_rounds())
        print(json.dumps({"exit code": code, "rounds reported": reported} | _summary(gate), indent=1))
        if code or reported != wish.rounds // 2 * 2:
            print(project.told[-3000:], file=sys.stderr)
            return 1
    return 0


def _project(root: Path) -> Project:
    project = Project.make(root)
    (root / "suite.yaml").write_text(SUITE)
    (root / "test_gate.py").unlink()
    (root / "pytest.ini").write_text("[pytest]\nperfgate_suite = suite.yaml\n")
    shutil.copytree(REPOSITORY / "perf_tests", root / "perf_tests", ignore=shutil.ignore_patterns("__pycache__"))
    return project


def _summary(gate: Gate) -> dict[str, Any]:
    most = max(look.rounds for look in gate.looks)
    measuring = [look for look in gate.looks if 0 < look.rounds < most]
    tenth = max(len(measuring) // 10, 1)
    first, last = _stretch(measuring[:tenth]), _stretch(measuring[-tenth:])
    grown_mb = last["pytest MB"] - first["pytest MB"]
    return {
        "seconds": gate.looks[-1].seconds,
        "looks": len(gate.looks),
        "first tenth": first,
        "last tenth": last,
        "pytest grew by": f"{grown_mb / first['pytest MB']:.1%}",
        "kB a round": round(1000 * grown_mb / max(last["rounds"] - first["rounds"], 1), 2),
        "most pytest MB": {
            "while measuring": max(look.pytest_mb for look in measuring),
            "to its end": max(look.pytest_mb for look in gate.looks),
        },
        "most on disk, MB": {
            "journal": max(look.journal_mb for look in gate.looks),
            "logs": max(look.logs_mb for look in gate.looks),
        },
        "left on disk, MB": _left(gate.root),
    }


def _stretch(looks: list[Look]) -> dict[str, float]:
    """Means over some looks."""
    return {
        "rounds": round(fmean(look.rounds for look in looks)),
        "pytest MB": round(fmean(look.pytest_mb for look in looks), 2),
        "keeper MB": round(fmean(look.keeper_mb for look in looks), 2),
        "open files": round(fmean(look.open_files for look in looks), 1),
        "threads": round(fmean(look.threads for look in looks), 1),
    }


def _left(root: Path) -> dict[str, float]:
    state, out = root / ".perfgate", root / "perfgate-out"
    sizes = {f"{path.relative_to(root)}": _size_mb(path) for path in sorted(state.iterdir()) if path.is_dir()}
    files = [*out.rglob("*"), *state.glob("*"), root / "out.txt"]
    sizes |= {f"{path.relative_to(root)}": round(path.stat().st_size / 1e6, 2) for path in files if path.is_file()}
    return {name: size for name, size in sizes.items() if size >= 0.01}


if __name__ == "__main__":
    sys.exit(main())
