"""The docs' pictures, of real gates: what they print on a terminal, and their pages in a browser.

    python scripts/screenshots.py [--keep FOLDER] [--out docs/figures]

makes a repository with the shipped model, begins a gate in it as docs/starting.md says, and runs it three times: the
baseline, a commit that changes nothing, and a planted slowdown. Takes about six minutes on two quiet cores. Needs the
extras `embedded` and `browser`, and Chromium (`PERFGATE_CHROMIUM`, else the one on PATH).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from page_pictures import Browser
from terminal_picture import Lines, Terminal, between, write_svg

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "fixtures" / "models" / "tiny-llama"
TRADEOFFS = ROOT / "docs" / "results" / "tradeoffs-cpu" / "tradeoffs.html"
SLOWER = "decode=1.25"
HALF_WAY = re.compile(r"(\d+)/(\d+)  .* left: (?!preparing)")


@dataclass(slots=True)
class Project:
    """Someone's repository with a gate, and where pictures of it go."""

    folder: Path
    out: Path
    half_way: dict[str, Lines] = field(default_factory=dict)

    def picture(
        self, name: str, title: str, *command: str, expected: Sequence[int] = (0,), cut: Callable[[Lines], Lines]
    ) -> None:
        """Run a command and draw the part of its output that the picture is about."""
        lines = self.run(name, *command, expected=expected)
        write_svg(self.out / f"{name}.svg", [*lines[:1], *cut(lines[1:])], title)

    def run(self, name: str, *command: str, expected: Sequence[int] = (0,)) -> Lines:
        """What a command shows, after the prompt that called it.

        Raises:
            SystemExit: it ended otherwise than expected.
        """
        terminal = Terminal(command, self.folder)
        status = terminal.run(lambda seen: self._keep_half_way(name, seen))
        lines = terminal.lines()
        (self.folder.parent / f"{name}.txt").write_text("\n".join(line.plain for line in lines) + "\n")
        if status not in expected:
            raise SystemExit(f"{name}: exit status {status}, expected one of {expected}\n" + "\n".join(map(str, lines)))
        return [terminal.prompt(), *lines]

    def _keep_half_way(self, name: str, seen: Terminal) -> None:
        lines = seen.lines()
        found = HALF_WAY.search(lines[-1].plain) if lines and name not in self.half_way else None
        if found and int(found[1]) * 2 >= int(found[2]):
            self.half_way[name] = [seen.prompt(), *lines]

    def git(self, *words: str) -> None:
        me = ("-c", "user.name=A Developer", "-c", "user.email=developer@example.org")
        subprocess.run(["git", *me, *words], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "figures", help="where pictures go")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in and to leave: reports, outputs as text")
    parser.add_argument("--sleeping", action="store_true", help="engines whose steps sleep: for a machine that is busy")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    os.environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        project = begun(
            (args.keep or Path(temporary)).resolve() / "chatbot", args.out.resolve(), is_sleeping=args.sleeping
        )
        terminal_pictures(project)
        page_pictures(project)
    for path in sorted(args.out.iterdir()):
        print(f"{path.stat().st_size:>9,}  {path}")


def begun(folder: Path, out: Path, *, is_sleeping: bool) -> Project:
    """A repository with a checkpoint and the gate that `perfgate init` writes for it, made shorter."""
    project = Project(folder, out)
    shutil.copytree(MODEL, folder / "models" / "tiny-llama")
    project.git("init", "-q", "-b", "main")
    project.run("init", "perfgate", "init", "--backend", "openvino", "--ci", "github", "--yes")
    suite = folder / "suite.yaml"
    plain = yaml.safe_load(suite.read_text(encoding="utf-8"))
    shorten(plain)
    if is_sleeping:
        put_to_sleep(plain)
    suite.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    project.commit("A gate on the speed and the perplexity of our model")
    return project


def shorten(plain: dict[str, Any]) -> None:
    """Two engines instead of three, and rounds that count beside other work too: there are always pictures."""
    del plain["engines"]["int4"], plain["quality"]["precisions"]
    plain["gate"] |= {"max_foreign_cpu": "100%", "budget": "5min"}


def put_to_sleep(plain: dict[str, Any]) -> None:
    """The stand-in of the tests: its steps sleep, so that busy cores hardly lengthen them."""
    plain["defaults"]["engine"]["backend"] = "fake_engine:FakeBackend"
    plain["engines"]["fp32"] = {"engine_args": {"sleep": True, "step_us": 8000}}
    plain["engines"]["int8"] |= {"engine_args": {"sleep": True, "step_us": 5000, "loss": 0.001}}
    for load in ("b1", "b8"):
        plain["workloads"][load]["output_len"] = 12
    # Load and memory are those of a process without an engine; throughput waits for whoever else is on the cores.
    for name in ("load_s", "peak_memory_bytes", "output_tokens_per_s"):
        del plain["gate"]["metrics"][name]


def terminal_pictures(project: Project) -> None:
    """Every command that the docs show, in the order in which somebody meets them."""
    gate = ("pytest", "perf_tests")
    project.picture("doctor", "perfgate doctor", "perfgate", "doctor", expected=(0, 1), cut=whole)
    project.run("baseline", *gate)
    project.commit("Shorter system prompt")
    project.picture("gate-green", "a gate that passes", *gate, cut=report)
    project.commit("New sampler")
    project.picture("gate-red", "a gate that fails", *gate, "--perfgate-inject", SLOWER, expected=(1,), cut=report)
    prompt, *lines = project.half_way["gate-red"]
    write_svg(project.out / "gate-live.svg", [prompt, *between(lines, r"^collected ")], "a gate at work")
    project.picture("explain", "why a verdict", "perfgate", "explain", "fp32-b1", cut=whole)
    project.picture("plan-budget", "cases worth the minutes", "perfgate", "plan", "--budget", "1min", cut=whole)


def whole(lines: Lines) -> Lines:
    return lines


def report(lines: Lines) -> Lines:
    """From perfgate's closing table on."""
    return between(lines, r"=+ perfgate")


def page_pictures(project: Project) -> None:
    """report.html of the last gate, and the page of a sweep that was measured for the docs."""
    page = project.folder / "perfgate-out" / "report.html"
    with Browser(project.out) as browser:
        browser.top("report", page, height=1000)
        browser.top("report-dark", page, height=1000, scheme="dark")
        browser.top("report-phone", page, width=390, height=844)
        browser.case("report-case", page, "fp32-b1")
        browser.top("tradeoffs", TRADEOFFS, height=1000)


if __name__ == "__main__":
    sys.exit(main())
