"""Processes killed at random or chosen moments, and what they left: for tests/test_kills.py and benchmarks/soak.py."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from perfgate.process_tree import Process, carriers, descendants

HERE = Path(__file__).parent
MARK = "PERFGATE_TEST_KILLS"  # a variable that all processes of a scene inherit, by which they are found
ENDED_S = 20.0  # in which all that a killed process started has to be gone: servers are given time to end in order
SERVER = "serving_server.py"
Name = tuple[str, str, int, str]  # of a round: engine, side, index, when it began

SUITE = """
schema: 1
suite: kills
defaults:
  engine: {{backend: "{backend}", model: model, engine_args: {{step_us: 400, device_us: 500, build_s: 0.05}}}}
engines:
  one: {{max_batch_size: 4}}
workloads:
  build: {{kind: build}}
  b1: {{kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 16, concurrency: 1, requests: 8}}
  text: {{kind: perplexity, text: texts.jsonl, window: 64, stride: 32}}
{workloads}
gate:
  metrics: {{device_decode_step_p50: {{margin: 5%}}, engine_bytes: {{}}, perplexity: {{}}{metrics}}}
  noise: {{round_sd: 2%, session_sd: 2%, pair_sd: 2%}}
  first_rounds: 2
  most_rounds: 3
  max_foreign_cpu: 100%
policy:
  local: {{no_baseline: record}}
sweep:
  engine: one
  axes: {{max_batch_size: [1, 2]}}
  workloads: [b1]
  traffic: b1
  rounds: 1
  builds: 1
"""
SERVING = "  c2: {kind: serving, isl: 8, osl: 4, concurrency: 2, requests: 8x}"


# Of every Python process that has its folder on its path: what goes to disk takes long, and comes there in pieces.
SLOW_DISK = """
import os, time
_write, _sync = os.write, os.fsync

def _slow_write(handle, data):
    if len(data) < 64:
        return _write(handle, data)
    time.sleep({delay_s})
    return _write(handle, bytes(data)[: len(data) // 2])

def _slow_sync(handle):
    time.sleep({delay_s})
    _sync(handle)

os.write, os.fsync = _slow_write, _slow_sync
"""


# The same of those with `who` in their command line: the first file that one brings to disk once there is a file `once`
# is never finished.
HOLD = """
import glob, os, sys, time
_sync = os.fsync

def _hold(handle):
    if glob.glob({once!r}, recursive=True):
        open({sign!r}, "w").close()
        time.sleep(600)
    _sync(handle)

if {who!r} in " ".join(sys.orig_argv):
    os.fsync = _hold
"""


def slow_disk(delay_s: float) -> None:
    """Make the disk of this process slow, for good."""
    exec(SLOW_DISK.format(delay_s=delay_s), {})  # noqa: S102 - our own


def fork_and_kill(work: Callable[[Callable[[int], None]], None], after_s: float) -> int:
    """Let a fork of us work and kill it some time after its first word; the last number that it had said.

    work: is given a function that says a number, which it calls when what the number stands for is finished.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            work(partial(_say, write))
        os._exit(3)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        first = pipe.read(4)
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        told = first + pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, "it ended before it was killed"
    return int.from_bytes(told[-4:], "big")


def _say(pipe: int, number: int) -> None:
    os.write(pipe, number.to_bytes(4, "big"))


def files_of(descriptors: Iterable[int]) -> list[str]:
    """The files that descriptors of this process are open on."""
    return [str(Path(f"/proc/self/fd/{one}").readlink()) for one in descriptors]


def half_written(root: Path) -> list[Path]:
    """Files that somebody began to write under `root` and did not finish."""
    return [path for path in root.rglob(".*") if f".{os.uname().nodename}." in path.name]


@dataclass(frozen=True, slots=True)
class Project:
    """A suite over the fake engine in a folder, whose figures are the same in every round."""

    root: Path

    @staticmethod
    def make(root: Path, *, serves: bool = False) -> Project:
        (root / "model").mkdir(parents=True)
        (root / "model" / "weights").write_bytes(b"weights")
        for name, text in {
            "config.json": '{"vocab_size": 256}', "tokenizer.json": '{"added_tokens": [{"id": 0, "special": true}]}'
        }.items():  # fmt: skip
            (root / "model" / name).write_text(text)
        lines = [json.dumps({"id": f"d{i}", "text": "def f(x): return x " * 8 + str(i)}) for i in range(4)]
        (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
        backend = "serving_engine:ServingBackend" if serves else "fake_engine:FakeBackend"
        more = (SERVING, ", output_tokens: {}") if serves else ("", "")
        suite = SUITE.format(backend=backend, workloads=more[0], metrics=more[1])
        (root / "suite.yaml").write_text(suite)
        (root / "test_gate.py").write_text(
            "import pytest\n\ndef test_case(perfgate_case, perfgate_verdict):\n    perfgate_verdict.assert_ok()\n"
        )
        return Project(root)

    @property
    def variables(self) -> dict[str, str]:
        paths = [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
        return {
            **{name: value for name, value in os.environ.items() if name not in ("CI", "PERFGATE_ROUND")},
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PERFGATE_LEASES": str(self.root / "leases"),
            MARK: str(self.root),
        }

    def command(self, *args: str) -> list[str]:
        """`perfgate ARGS` in the project."""
        start = "import sys; from perfgate.cli import main; sys.exit(main())"
        return [sys.executable, "-c", start, args[0], "--suite", "suite.yaml", *args[1:]]

    def pytest(self, *args: str) -> list[str]:
        plugins = ["-p", "no:cacheprovider", "-p", "perfgate.plugin"]
        return [sys.executable, "-m", "pytest", "-q", *plugins, "--perfgate-suite", "suite.yaml", *args]

    def start(self, command: list[str], **variables: str) -> subprocess.Popen[bytes]:
        """variables: more than usual; a PYTHONPATH stands before the usual one."""
        usual = self.variables
        if "PYTHONPATH" in variables:
            variables["PYTHONPATH"] += os.pathsep + usual["PYTHONPATH"]
        out = (self.root / "out.txt").open("wb")
        with out:
            return subprocess.Popen(command, cwd=self.root, env=usual | variables, stdout=out, stderr=out)

    def start_held(self, command: list[str], who: str, once: str = ".") -> subprocess.Popen[bytes]:
        """The same; returns when a process with `who` in its command line stands still, a file of it half-written.

        once: a pattern of files, one of which has to be there before; the root, which is, by default.
        """
        folder = Path(tempfile.mkdtemp(prefix="hold-", dir=self.root))
        sign = folder / "held"
        (folder / "sitecustomize.py").write_text(HOLD.format(who=who, once=once, sign=str(sign)))
        at_work = self.start(command, PYTHONPATH=str(folder))
        await_so(sign.exists, at_work)
        return at_work

    def run(self, command: list[str], timeout_s: float = 300.0) -> int:
        return self.start(command).wait(timeout_s)

    @property
    def told(self) -> str:
        return (self.root / "out.txt").read_text(errors="replace")

    @property
    def processes(self) -> list[Process]:
        """All that anything of this project started and that still runs."""
        return [one for one in carriers(f"{MARK}={self.root}".encode()) if one.lives]

    @property
    def ports(self) -> list[int]:
        """Where servers of this project listen."""
        commands = [words_of(one) for one in self.processes]
        return [int(words[2]) for words in commands if len(words) > 2 and words[1].endswith(SERVER)]

    def kill_all(self) -> None:
        """End what a failed test left."""
        for one in self.processes:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    def await_quiet(self) -> list[str]:
        """Wait until nothing runs any more; what runs all the same after a time, by its command."""
        deadline = time.monotonic() + ENDED_S
        while (left := self.processes) and time.monotonic() < deadline:
            time.sleep(0.02)
        return [one.command for one in left]

    def verdicts(self) -> list[tuple[str, str, str, object]]:
        """Case, metric, verdict and measured value of the last reports."""
        told = json.loads((self.root / "perfgate-out" / "comparison.json").read_bytes())
        return [
            (one["case"], one["metric"], one["verdict"], one["candidate"])
            for case in told["cases"]
            for one in case["metrics"]
        ]

    def rounds(self) -> Iterator[str]:
        """The whole lines of the journals, headers left out."""
        for path in sorted(self.root.glob(".perfgate/journal/*.jsonl")):
            yield from path.read_text().split("\n")[1:-1]

    def reported_rounds(self) -> list[Name]:
        """The rounds in the last run's record."""
        told = json.loads((self.root / "perfgate-out" / "run.json").read_bytes())
        return [_name(one) for one in told["rounds"]]

    @property
    def reported_ns(self) -> int:
        """When a gate or a sweep was last reported; 0 where none was."""
        reports = [self.root / "perfgate-out" / name for name in ("comparison.json", "tradeoffs.json")]
        return max((path.stat().st_mtime_ns for path in reports if path.exists()), default=0)


class Kept:
    """The rounds that a project has finished, looked at after each of its gates: figures are the same in all."""

    def __init__(self, project: Project) -> None:
        self._project, self._reported_ns = project, project.reported_ns
        self.rounds = list(project.rounds())

    def lost(self) -> list[str]:
        """Rounds of the last look that are in the journal no more, nor in reports that were written since."""
        before, reported_ns = self.rounds, self._reported_ns
        self.rounds, self._reported_ns = list(self._project.rounds()), self._project.reported_ns
        if self.rounds[: len(before)] == before:
            return []
        if self.rounds or self._reported_ns == reported_ns:
            return before
        told = self._project.reported_rounds()
        return [one for one in before if _is_of_gate(one) and round_name(one) not in told]


def _is_of_gate(line: str) -> bool:
    """Whether it is a gate's round: reports of a sweep do not name single ones."""
    return "index" in json.loads(line)


def round_name(line: str) -> Name:
    """Of a line of a gate's journal."""
    return _name(json.loads(line))


def _name(told: dict[str, Any]) -> Name:
    """What tells one round from all others."""
    return told["engine"], told["side"], told["index"], told["started"]


def words_of(process: Process) -> list[str]:
    """Its whole command line."""
    with suppress(OSError):  # it ended just now
        return Path(f"/proc/{process.pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


@contextmanager
def hunted(root: Path, *, serves: bool = False) -> Iterator[Project]:
    """A project of which nothing runs on, even where a test fails."""
    made = Project.make(root, serves=serves)
    try:
        yield made
    finally:
        made.kill_all()


def await_so(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until it is so; a failure where the process ended before, or after a time."""
    deadline = time.monotonic() + 6 * ENDED_S
    while not is_so() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_so()


def victim(gate: subprocess.Popen[bytes], rng: random.Random) -> Process | None:
    """Some process of a running gate: itself, a round, a build, a server, or who keeps them."""
    mine = Process(gate.pid, -1)
    below = sorted(descendants(gate.pid), key=lambda one: one.pid)
    return rng.choice([mine, *below]) if gate.poll() is None else None


def await_free(ports: Iterable[int]) -> list[int]:
    """Wait until nobody listens there any more; the ports where somebody does all the same after a time."""
    deadline, left = time.monotonic() + ENDED_S, list(ports)
    while (left := [port for port in left if not is_free(port)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False
