"""SIGTERM and SIGINT, full disks, folders that cannot be written, endless logs: real processes."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from killing import ENDED_S, MARK, SLOW_DISK, Project, await_free, await_so, half_written, hunted, is_free
from perfgate.errors import StorageError
from perfgate.journal import Header, Journal
from perfgate.keeper import Trimmed
from perfgate.measure import LOG_OF_VALID_BYTES
from perfgate.process import start
from perfgate.record import write_atomic
from perfgate.stopping import Stop, Stopped

VARIABLES = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
OWN = """
import time
from pathlib import Path

def test_whole(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("pace_s", 1.0, unit="s", better="lower")

def test_cut_off(perfgate_gate):
    for number in perfgate_gate.rounds():
        perfgate_gate.record("pace_s", 1.0, unit="s", better="lower")
        if number == 2:
            Path("measuring").touch()
            time.sleep(600)

def test_more():
    raise AssertionError("it began")
"""
HEADER = Header("small", "2026-01-14T08:00:00+00:00", "f00d")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project.make(tmp_path / "project")
    yield made
    made.kill_all()


def _hanging(project: Project) -> None:
    """A second engine hangs, so that a gate is caught at work."""
    suite = project.root / "suite.yaml"
    suite.write_text(suite.read_text().replace("workloads:\n", "  never: {engine_args: {hang: true}}\nworkloads:\n", 1))


@pytest.mark.parametrize(
    ("sign", "workers"),
    [(signal.SIGTERM, ()), (signal.SIGINT, None), (signal.SIGTERM, ("-n", "2"))],
    ids=["pytest", "perfgate run", "pytest-xdist"],
)
def test_a_stopped_gate_tells_what_it_measured_and_is_red(
    project: Project, sign: signal.Signals, workers: tuple[str, ...] | None
) -> None:
    """workers: options of pytest; None: it is no pytest."""
    _hanging(project)
    (project.root / "test_more.py").write_text("def test_more():\n    raise AssertionError('it began')\n")
    by_pytest = None if workers is None else project.pytest("--perfgate-rounds", "1", *workers)
    gate = project.start(by_pytest or project.command("run", "--rounds", "1"))
    await_so(lambda: any('"engine":"one"' in line for line in project.rounds()), gate)

    gate.send_signal(sign)
    code = gate.wait(6 * ENDED_S)

    assert code == 1, project.told
    assert f"stopped by {sign.name} after 1 round: the same command goes on from there" in project.told
    told = json.loads((project.root / "perfgate-out" / "comparison.json").read_bytes())
    verdicts = {one["case"]: one for case in told["cases"] for one in case["metrics"]}
    assert verdicts["one-build"]["verdict"] == "no-baseline"
    assert verdicts["never-build"]["reason"].startswith("not measured")
    assert "stopped by" in (project.root / "perfgate-out" / "summary.txt").read_text()
    assert workers or "it began" not in project.told  # workers run tests of others meanwhile
    assert project.await_quiet() == []
    assert len(list(project.rounds())) == 1  # to be taken up
    assert not (project.root / ".perfgate" / "baselines").exists()


def test_a_stopped_gate_over_a_server_leaves_neither_process_nor_port(tmp_path: Path) -> None:
    """Its second engine's server answers no request."""
    with hunted(tmp_path / "project", serves=True) as project:
        suite = project.root / "suite.yaml"
        never = "  never: {engine_args: {server_first_ms: 600000}}\nworkloads:\n"
        suite.write_text(suite.read_text().replace("workloads:\n", never, 1))
        gate = project.start(project.command("run", "--rounds", "1"))
        await_so(lambda: any('"engine":"one"' in line for line in project.rounds()), gate)
        await_so(lambda: any("perfgate.load.process" in one.command for one in project.processes), gate)
        (port,) = project.ports
        assert not is_free(port)

        gate.send_signal(signal.SIGTERM)
        code = gate.wait(6 * ENDED_S)

        assert code == 1, project.told
        assert "stopped by SIGTERM after 1 round: the same command goes on from there" in project.told
        assert "Traceback" not in project.told
        told = json.loads((project.root / "perfgate-out" / "comparison.json").read_bytes())
        verdicts = {one["case"]: one for case in told["cases"] for one in case["metrics"]}
        assert verdicts["one-c2"]["verdict"] == "no-baseline"
        assert verdicts["never-c2"]["reason"].startswith("not measured")
        assert "stopped by" in (project.root / "perfgate-out" / "summary.txt").read_text()
        assert project.await_quiet() == []
        assert await_free([port]) == []
        assert len(list(project.rounds())) == 1  # to be taken up


def test_a_stopped_sweep_reports_what_it_has_and_goes_on_from_there(project: Project) -> None:
    suite = project.root / "suite.yaml"
    axes = "axes: {engine_args: {hang: [null, true]}}"
    suite.write_text(suite.read_text().replace("axes: {max_batch_size: [1, 2]}", axes))
    sweep = project.start(project.command("sweep"))
    await_so(lambda: len(list(project.rounds())) == 1, sweep)

    sweep.send_signal(signal.SIGTERM)
    code = sweep.wait(6 * ENDED_S)
    told = json.loads((project.root / "perfgate-out" / "tradeoffs.json").read_bytes())
    suite.write_text(suite.read_text().replace("[null, true]", "[null]"))
    again = project.run(project.command("sweep"))

    assert code == 1
    why = "stopped by SIGTERM after 1 round: the same command goes on from there"
    assert (told["stopped"], told["failed"][0]["reason"]) == (why, f"not measured: {why}")
    assert [one["name"] for one in told["options"]] == ["own_hang"]
    assert again == 0, project.told
    assert "1 round is already measured" in project.told
    assert project.await_quiet() == []


@pytest.mark.parametrize("words", [("ab", "one", "two", "--workloads", "b1"), ("calibrate", "--levers", "none")])
def test_other_commands_that_are_stopped_report_what_they_have_and_are_red(
    project: Project, words: tuple[str, ...]
) -> None:
    suite = project.root / "suite.yaml"
    suite.write_text(suite.read_text().replace("workloads:\n", "  two: {max_batch_size: 2}\nworkloads:\n", 1))
    at_work = project.start(project.command(*words))
    await_so(lambda: any(f"{one} 2" in project.told for one in ("round", "pair")), at_work)

    at_work.send_signal(signal.SIGINT)
    code = at_work.wait(6 * ENDED_S)

    assert code == 1, project.told
    assert re.search(r"stopped by SIGINT after \d+ rounds?: the same command begins anew", project.told)
    assert "reports: perfgate-out/" in project.told
    assert "Traceback" not in project.told
    assert not list(project.root.glob(".perfgate/noise/**/*.json"))
    assert project.await_quiet() == []


def test_a_stopped_test_of_its_own_figures_is_told_and_nothing_is_kept(project: Project) -> None:
    (project.root / "test_own.py").write_text(OWN)
    session = project.start(project.pytest("test_own.py"))
    await_so((project.root / "measuring").exists, session)

    session.send_signal(signal.SIGTERM)
    code = session.wait(6 * ENDED_S)

    assert code == 2, project.told  # pytest's own of a session that was interrupted
    told = json.loads((project.root / "perfgate-out" / "own-tests" / "comparison.json").read_bytes())
    assert told["stopped"] == "stopped by SIGTERM: nothing of this session is kept; the same command begins anew"
    outcomes = {one["case"]["id"]: one["outcome"] for one in told["cases"]}
    assert outcomes == {"test_own-test_whole": "warned", "test_own-test_cut_off": "failed"}
    assert "it began" not in project.told
    assert not (project.root / ".perfgate" / "baselines").exists()
    assert not (project.root / ".perfgate" / "history.sqlite").exists()


def test_a_signal_before_children_run_ends_them_before_they_start() -> None:
    stop = Stop()
    stop.note(signal.SIGTERM)

    with pytest.raises(Stopped), stop.interrupts():
        raise AssertionError("nothing may begin")


def test_a_signal_where_nothing_is_waited_for_ends_the_next_wait() -> None:
    stop, done = Stop(), []

    with stop.interrupts():
        stop.note(signal.SIGTERM)
        done.append("at work")
        with pytest.raises(Stopped), stop.ending(now=True):
            done.append("waited")
        with stop.ending(now=True):  # once is enough: what follows ends in order
            done.append("cleaned up")

    assert done == ["at work", "cleaned up"]
    with pytest.raises(Stopped), stop.interrupts():
        raise AssertionError("nothing may begin")


def test_a_signal_anywhere_in_a_test_ends_it_but_no_child_is_half_begun() -> None:
    stop, done = Stop(), []

    def at_work() -> None:
        with stop.interrupts(anywhere=True):
            with stop.ending(now=False):
                stop.note(signal.SIGTERM)
                done.append("begun")
            done.append("went on")

    with pytest.raises(Stopped):
        at_work()

    assert done == ["begun"]


def test_a_signal_while_a_child_that_failed_is_ended_is_not_forgotten() -> None:
    stop = Stop()

    def at_work() -> None:
        with stop.interrupts(anywhere=True), stop.ending(now=False):
            stop.note(signal.SIGTERM)
            raise ValueError("no end in time")

    with pytest.raises(Stopped):
        at_work()


INTERRUPTED = """
import os, signal, subprocess, sys
from pathlib import Path
from perfgate import process
from perfgate.stopping import Stopped, stop_by_signals

class Popen(subprocess.Popen):
    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        if "sleep" in str(args):
            os.kill(os.getpid(), signal.SIGINT)

process.subprocess.Popen = Popen
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had us ignore it
command = [sys.executable, "-c", "import time; time.sleep(600)"]
def run(): process.run("child", command, 60, Path("child.log"), os.environ)
"""


@pytest.mark.parametrize(
    "rest",
    [
        """
with stop_by_signals() as stop:
    try:
        with stop.interrupts(): run()
    except Stopped: print(stop.sign.name)
""",
        "try: run()\nexcept KeyboardInterrupt: print('SIGINT')\n",
    ],
    ids=["watched", "nobody watches"],
)
def test_a_signal_while_a_child_is_being_started_leaves_none(tmp_path: Path, rest: str) -> None:
    variables = VARIABLES | {MARK: str(tmp_path)}

    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED + rest], cwd=tmp_path, env=variables,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (ended.stdout, ended.stderr) == ("SIGINT\n", "")
    assert Project(tmp_path).await_quiet() == []


def test_a_signal_while_files_are_written_waits_for_them() -> None:
    script = (
        "import os, signal; from perfgate.stopping import stop_by_signals\n"
        "with stop_by_signals() as stop:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('written', stop.sign.name)\n"
        "print(signal.getsignal(signal.SIGTERM).name)"
    )

    ended = subprocess.run([sys.executable, "-c", script], env=VARIABLES, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stdout) == (0, "written SIGTERM\nSIG_DFL\n"), ended.stderr


# ------------------------------------------------------------------ disks


def test_a_full_disk_costs_one_line_and_no_finished_round(tmp_path: Path) -> None:
    """A limit on the size of files ends a write half-way, as a full disk does."""
    path = tmp_path / "journal.jsonl"
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from perfgate.errors import StorageError; from perfgate.journal import Journal\n"
        "from test_kills import HEADER, _round\n"
        "journal = Journal(Path(sys.argv[1])); journal.resume(HEADER)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most))\n"
        "done = 0\n"
        "try:\n"
        "    while True: journal.append(_round(done)); done += 1\n"
        "except StorageError as exc: print(exc)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\n"
        "journal.append(_round(done)); print(done + 1)"  # there is room again
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, str(path)], env=VARIABLES,
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    told, done = ended.stdout.splitlines()
    assert told.startswith(f"{path} cannot be written: File too large; make room (perfgate cache prune")
    journal = Journal(path)
    assert len(journal.resume(HEADER)[1]) == int(done) > 1
    assert path.read_bytes().endswith(b"\n")


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "run.json", b"old")
    monkeypatch.setattr(os, "fsync", _full)

    with pytest.raises(StorageError, match=r"run\.json cannot be written: No space left on device; make room"):
        write_atomic(tmp_path / "run.json", b"new")

    assert (tmp_path / "run.json").read_bytes() == b"old"
    assert half_written(tmp_path) == []


# In a namespace of its own, where a user may mount what others do not see. "$@" is the gate, which begins with nothing.
SMALL_DISK = """
sum() { find .perfgate -type f | sort | xargs sha256sum | sha256sum; }
mkdir .perfgate; mount -t tmpfs -o size=1m small .perfgate; head -c 978944 /dev/zero > .perfgate/ballast
"$@"; echo "== ended with $?"
rm .perfgate/ballast
"$@"; echo "== ended with $?"
mount -o remount,ro .perfgate; before=$(sum)
"$@"; echo "== ended with $?"
test "$before" = "$(sum)" && echo "as it was"
"""


def test_a_full_disk_and_one_that_cannot_be_written_are_a_line_each_and_cost_nothing(project: Project) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not allowed here: nothing can be mounted")

    project.run(["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", *project.command("run", "--rounds", "1")])

    full, room, read_only, rest = project.told.split("== ended with ")
    assert "cannot be written: No space left on device; make room" in full
    assert room.startswith("4\n")
    assert "1 round is already measured" in room  # it did not fit when it was made the baseline
    assert read_only.startswith("0\n"), room
    assert "cannot be written: Read-only file system; name a folder that you may write to" in read_only
    assert rest == "4\nas it was\n"
    assert "Traceback" not in project.told
    assert project.await_quiet() == []


def test_a_signal_waits_for_a_slow_disk_and_the_round_is_kept(project: Project) -> None:
    slow = project.root / "slow" / "sitecustomize.py"
    slow.parent.mkdir()
    slow.write_text(SLOW_DISK.format(delay_s=0.2))
    gate = project.start(project.command("run", "--rounds", "3"), PYTHONPATH=str(slow.parent))
    await_so(lambda: any((project.root / ".perfgate" / "journal").glob("*.jsonl")), gate)
    await_so(lambda: b'"engine"' in _bytes_of_journals(project), gate)  # the line is being written, piece by piece

    gate.send_signal(signal.SIGTERM)
    code = gate.wait(6 * ENDED_S)
    rounds = list(project.rounds())
    again = project.run(project.command("run", "--rounds", "3"))

    assert code == 1, project.told
    assert len(rounds) == 1
    assert half_written(project.root) == []
    assert again == 0, project.told
    assert "1 round is already measured" in project.told


def _bytes_of_journals(project: Project) -> bytes:
    return b"".join(path.read_bytes() for path in project.root.glob(".perfgate/journal/*.jsonl"))


def test_a_state_that_cannot_be_written_is_one_line(project: Project) -> None:
    (project.root / ".perfgate").write_text("a file, where not even root can make a folder")

    code = project.run(project.command("run"))

    assert code != 0
    assert "Traceback" not in project.told
    assert ".perfgate/seats cannot be written: Not a directory; name a folder that you may write to" in project.told


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "x cannot be written: No space left on device; make room"),
        (errno.EROFS, "x cannot be written: Read-only file system; name a folder that you may write to"),
        (errno.EACCES, "x cannot be written: Permission denied; name a folder that you may write to"),
    ],
)
def test_what_cannot_be_written_says_what_to_do(number: int, told: str) -> None:
    exc = OSError(number, os.strerror(number), "x")

    assert StorageError.is_of(exc)
    assert str(StorageError.of(exc)).startswith(told)


# ------------------------------------------------------------------ logs


def test_a_log_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    trimmed = Trimmed(log, most=1000)
    log.write_bytes(b"first words\n" + b"x" * 5000 + b"\nlast words\n")
    trimmed.look()
    with log.open("ab") as more:
        more.write(b"y" * 5000 + b"\nvery last words\n")
    trimmed.look()

    text = log.read_bytes()
    assert len(text) < 1100
    assert text.startswith(b"first words\n")
    assert text.endswith(b"\nvery last words\n")
    assert b"bytes of this log were left out here" in text


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1000)

    Trimmed(log, most=1000).look()

    assert log.read_bytes() == b"x" * 1000


def test_of_a_round_that_went_well_little_of_its_log_is_kept(project: Project) -> None:
    suite = project.root / "suite.yaml"
    suite.write_text(suite.read_text().replace("step_us: 400", "step_us: 400, chatty: 5000000"))

    assert project.run(project.command("run", "--rounds", "1")) == 0, project.told

    (log,) = project.root.glob(".perfgate/work/cpu/000-one-candidate.log")
    assert LOG_OF_VALID_BYTES / 2 < log.stat().st_size < LOG_OF_VALID_BYTES
    assert b"bytes of this log were left out here" in log.read_bytes()


def test_an_endless_log_does_not_fill_the_disk(tmp_path: Path) -> None:
    """Written until far more than the limit came; a limit on the file's size would end the child."""
    script = "import sys\nwhile True: sys.stdout.write('flood ' * 1000)"
    child = start([sys.executable, "-c", script], tmp_path / "log", os.environ, log_bytes=1_000_000)
    try:
        await_so(lambda: b"were left out here" in (tmp_path / "log").read_bytes()[:600_000], child.process)
    finally:
        child.end()

    assert b"flood" in (tmp_path / "log").read_bytes()


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")
