"""Kills whole gates, sweeps and acceptances at random moments for some minutes, and counts what was lost: nothing.

    python benchmarks/soak.py --minutes 30

Each turn starts `perfgate run`, pytest, a gate over a server, `perfgate sweep` or `perfgate baseline accept` on the
fake engine, kills one of its processes or the whole at a random moment, and looks at what is left; every fifth time the
same command is let end, and its verdicts are compared with those of an undisturbed run. Prints a tally as JSON; exit
code 1 where anything was lost, half-written, left behind or judged otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / folder) for folder in ("tests", "src")]

from killing import (  # type: ignore[import-not-found] # noqa: E402 - of tests/
    ENDED_S,
    Kept,
    Project,
    await_free,
    half_written,
    is_free,
    victim,
)
from perfgate.engines.cache import EngineCache  # noqa: E402
from perfgate.engines.cache_use import unused  # noqa: E402
from perfgate.errors import PerfgateError  # noqa: E402
from perfgate.record import RUN_SCHEMA, Run, read_record  # noqa: E402

LONGEST_S = 8.0  # a gate is killed at the latest after so long
TURNS = 5  # kills of one command before it is let end


class Scene:
    """A project that is hunted beside what the same command gives undisturbed."""

    def __init__(self, root: Path, name: str, *, serves: bool = False) -> None:
        self.name, self.project = name, Project.make(root / name, serves=serves)
        if self.project.run(self.project.command("run", "--rounds", "5")) != 0:
            raise SystemExit(f"{name}: the first run fails:\n{self.project.told}")
        self.expected = self._whole()
        self.kept = Kept(self.project)

    @property
    def command(self) -> Any:
        match self.name:
            case "sweep":
                return self.project.command("sweep", "--rounds", "2")
            case "accept":
                words = ["perfgate-out/run.json", "--reason", "soak", "--alone"]
                return [*self.project.command("baseline")[:3], "baseline", "accept", "--suite", "suite.yaml", *words]
            case "pytest":
                return self.project.pytest("--perfgate-rounds", "3")
            case _:
                return self.project.command("run", "--rounds", "3")

    def hunt(self, rng: random.Random, tally: Counter[str]) -> None:
        """Start, kill at a random moment, look."""
        gate = self.project.start(self.command)
        longest_s = 2.0 if self.name == "accept" else LONGEST_S
        with suppress(Exception):
            gate.wait(rng.uniform(0.2, longest_s))
        one, ports = victim(gate, rng), [port for port in self.project.ports if not is_free(port)]
        if one is None:
            tally["ended before it was killed"] += 1
        else:
            tally[f"{self.name}: {_kind(one.command)} killed"] += 1
            tally["kills"] += 1
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
            gate.kill()
        gate.wait()
        self._look(tally)
        tally["kills while a server listened"] += bool(ports)
        tally["ports left behind"] += len(await_free(ports))

    def _look(self, tally: Counter[str]) -> None:
        if left := self.project.await_quiet():
            tally["processes left behind"] += len(left)
        tally["finished rounds lost"] += len(self.kept.lost())
        tally["most rounds that a kill left to go on with"] = max(
            tally["most rounds that a kill left to go on with"], len(self.kept.rounds)
        )
        begin = time.monotonic()
        held = [path.with_suffix("") for path in self.project.root.rglob("*.use")]
        while (held := [path for path in held if not _is_free(path)]) and time.monotonic() - begin < ENDED_S:
            tally["most ms that a lock outlived the last process"] = max(
                tally["most ms that a lock outlived the last process"], round((time.monotonic() - begin) * 1000)
            )
            time.sleep(0.01)  # the keeper, which carries no mark of ours, sees that nothing is left, and lets go
        tally["locks left behind"] += len(held)
        try:
            read_record(self.project.root / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
            EngineCache(self.project.root / ".perfgate" / "engines", str).entries()
        except PerfgateError:
            tally["read half-written"] += 1

    def settle(self, tally: Counter[str]) -> None:
        """Let it end, and compare."""
        code = self.project.run(self.command)
        tally["finished rounds lost"] += len(self.kept.lost())
        tally["runs let end"] += 1
        if self.name == "accept":
            tally["accepted twice"] += code not in (0, 4)
            for path in self.project.root.glob("baselines/*/*/*.json"):
                path.unlink()
            return
        tally["ended red"] += code != 0
        tally["other verdicts"] += self.name != "sweep" and self._whole() != self.expected
        tally["half-written files left"] += len(half_written(self.project.root))

    def _whole(self) -> list[tuple[str, str]]:
        """Case and metric with the figure measured, which is the same in each round."""
        return [(f"{case} {metric}", str(value)) for case, metric, _, value in self.project.verdicts()]


def _is_free(engine: Path) -> bool:
    with unused(engine) as is_free:
        return is_free


def _kind(command: str) -> str:
    kinds = {
        "perfgate.worker": "round", "perfgate.builder": "build", "perfgate.keeper": "keeper", "supervisor": "keeper",
        "serving_server": "server", "perfgate.load": "client",
    }  # fmt: skip
    return next((kind for part, kind in kinds.items() if part in command), "gate")


BAD = (
    "processes left behind", "finished rounds lost", "locks left behind", "read half-written", "ended red",
    "other verdicts", "half-written files left", "accepted twice", "ports left behind",
)  # fmt: skip


def main() -> int:
    """Soak, and print the tally."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    wish = parser.parse_args()
    rng, tally = random.Random(wish.seed), Counter[str](dict.fromkeys(("kills", *BAD), 0))  # noqa: S311 - moments
    with tempfile.TemporaryDirectory() as folder:
        names = ("run", "pytest", "serving", "sweep", "accept")
        scenes = [Scene(Path(folder), name, serves=name == "serving") for name in names]
        until = time.monotonic() + wish.minutes * 60
        while time.monotonic() < until:
            scene = rng.choice(scenes)
            for _ in range(TURNS):
                scene.hunt(rng, tally)
            scene.settle(tally)
    json.dump({"minutes": wish.minutes, "seed": wish.seed, **dict(sorted(tally.items()))}, sys.stdout, indent=1)
    print()
    return 1 if any(tally[name] for name in BAD) else 0


if __name__ == "__main__":
    sys.exit(main())
