"""Never green by accident: whatever was not measured, or measured nonsense, is an error or a verdict, never a pass.

One baseline is recorded once; every row starts from a copy of it and must end red, or, under the local policy that
only warns, skipped with its reason. `docs/promises-input.md` lists the rows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from conftest import HERE, SUITE, TESTS
from gpu.nvml_machine import double
from gpu.test_rounds_on_gpus import GATE, Measured, measured
from perfgate.baselines import Series, find_baseline, save_baseline
from perfgate.cli import main
from perfgate.comparison import COMPARISON_SCHEMA, Comparison, compare
from perfgate.device import find_device
from perfgate.record import RUN_SCHEMA, CaseInfo, Environment, Round, Run, Side, encode, read_record
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES
from perfgate.waivers import today_utc
from test_action import Runner

__all__ = ["measured"]  # a fixture

ROOT = HERE.parent
OK, RED, USAGE_ERROR, NOTHING_COLLECTED = 0, 1, 4, 5
ENVIRONMENT = Environment("sm_90/h200-141gb", "NVIDIA H200", {}, "")
SMALL = SUITE.format(engines="").replace("model: model", "model: files/model")  # cases know a path's last two parts
BUILD_ONLY = re.sub(r"\n  (b1|text): .*", "", SMALL).replace("perplexity: {}", "").replace(
    "itl_p10: {margin: 5%, detect: 20%}", ""
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a baseline of its build case that was just measured, and is green."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "files" / "model").mkdir(parents=True)
    (root / "files" / "model" / "weights").write_bytes(b"weights")
    lines = [f'{{"id": "d{at}", "text": "{"def f(x): return x " * 8}{at}"}}' for at in range(8)]
    (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (root / "suite.yaml").write_text(BUILD_ONLY)
    (root / "test_gate.py").write_text(TESTS)
    (root / "pytest.ini").write_text("[pytest]\nperfgate_suite = suite.yaml\n")
    assert _pytest(root, "--perfgate-policy", "local", "-k", "build").returncode == OK
    shutil.copytree(root / ".perfgate" / "baselines", root / "baselines")
    green = _pytest(root, "-k", "build")
    assert green.returncode == OK, green.stdout
    assert "1 passed" in green.stdout
    return root


@pytest.fixture
def project(recorded: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil."""
    ignored = shutil.ignore_patterns("perfgate-out", "__pycache__")
    shutil.copytree(recorded, pytester.path, ignore=ignored, dirs_exist_ok=True)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PYTHONPATH", _import_path())
    monkeypatch.syspath_prepend(str(HERE))
    return pytester.path


def _import_path(*more: str) -> str:
    return os.pathsep.join([*more, str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


def _pytest(root: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A gate as CI runs it, in a process of its own, with one round of each engine."""
    command = [sys.executable, "-m", "pytest", *_ARGS, *args]
    usual = {"PYTHONPATH": _import_path(), "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=root, env=os.environ | usual | variables, capture_output=True, text=True, check=False
    )


_ARGS = ("-p", "no:cacheprovider", "--perfgate-rounds", "1")


def _stored(root: Path) -> Path:
    found = find_baseline([root / "baselines"], find_device().key, "small")
    assert found is not None
    return found[0]


# ---------------------------------------------------------------------- sessions


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return spoil


def _write(name: str, text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / name).write_text(text)

    return spoil


def _change_stored(change: Callable[[str], str]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        path = _stored(root)
        path.write_text(change(path.read_text()))

    return spoil


def _without_baseline(root: Path) -> None:
    shutil.rmtree(root / "baselines")
    shutil.rmtree(root / ".perfgate" / "baselines")


def _of_another_device(root: Path) -> None:
    path = _stored(root)
    path.write_text(path.read_text().replace(find_device().key, "sm_90/h200-141gb"))


def _nothing(root: Path) -> None:
    del root


@dataclass(frozen=True, slots=True)
class Row:
    """What is spoilt, and how it has to end: exit code, and a line of the output."""

    name: str
    code: int
    words: str
    args: tuple[str, ...] = ()
    spoil: Callable[[Path], None] = _nothing
    variables: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.name


LOCAL = ("--perfgate-policy", "local", "-rs")
SKIPPED = "@pytest.mark.skip(reason='later')\ndef test_build"
GROWN = _edit("suite.yaml", "max_batch_size: 4", "max_batch_size: 4444")  # engine_bytes and the case change
SESSIONS = [
    Row("no test is there", NOTHING_COLLECTED, "no tests ran", spoil=_write("test_gate.py", "")),
    Row("-k fits nothing", NOTHING_COLLECTED, "3 deselected", ("-k", "nothing")),
    Row("all tests are deselected", NOTHING_COLLECTED, "deselected", ("--deselect", "test_gate.py")),
    Row("the suite has no such case", RED, "no test of the gate was judged", ("-k", "latency or perplexity")),
    Row("all tests are skipped", RED, "no test of the gate was judged", ("-k", "build"),
        _edit("test_gate.py", "def test_build", SKIPPED)),
    Row("no engine is supported", RED, "nothing was judged that could have failed (1 skipped)", ("-k", "build"),
        _edit("suite.yaml", "step_us: 400", "refuse: no such kernel")),
    Row("every test is expected to fail", RED, "no test of the gate was judged", ("-k", "build"),
        _edit("test_gate.py", "def test_build", "@pytest.mark.xfail\ndef test_build")),
    Row("an engine cannot be built", RED, "told to fail at 'build'", ("-k", "build"),
        _edit("suite.yaml", "step_us: 400", "fail: build")),
    Row("baseline missing", RED, "no baseline for this case on this device", ("-k", "build"),
        _without_baseline),
    Row("baseline empty", USAGE_ERROR, "is damaged", ("-k", "build"), _change_stored(lambda _: "")),
    Row("baseline without cases", USAGE_ERROR, "holds no case", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"cases": {}}))),
    Row("baseline truncated", USAGE_ERROR, "is damaged", ("-k", "build"),
        _change_stored(lambda text: text[: len(text) // 2])),
    Row("baseline of a newer schema", USAGE_ERROR, "has schema 99", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"schema": 99}))),
    Row("baseline of another device", USAGE_ERROR, "never cross devices", ("-k", "build"), _of_another_device),
    Row("baseline of another suite", USAGE_ERROR, "belongs to suite 'other'", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"suite": "other"}))),
    Row("the case was changed", RED, "no-baseline, the case was changed", ("-k", "build"), GROWN),
    Row("-p no:perfgate with its options", USAGE_ERROR, "unrecognized arguments",
        ("-p", "no:perfgate", "-p", "no:perfgate.plugin")),
    Row("a conftest raises", USAGE_ERROR, "RuntimeError: broken on purpose", (),
        _write("conftest.py", "raise RuntimeError('broken on purpose')\n")),
    Row("settings that cannot be meant", USAGE_ERROR, "PERFGATE_THOROUGH: found 'perhaps'", ("-k", "build"),
        variables=(("PERFGATE_THOROUGH", "perhaps"),)),
    Row("a setting that is no number", USAGE_ERROR, "PERFGATE_BUDGET: found 'soon'", ("-k", "build"),
        variables=(("PERFGATE_BUDGET", "soon"),)),
    Row("a policy that is none", USAGE_ERROR, "PERFGATE_POLICY: found 'lenient'", ("-k", "build"),
        variables=(("PERFGATE_POLICY", "lenient"),)),
    Row("only names no engine", USAGE_ERROR, "fault", ("-k", "build"),
        _edit("suite.yaml", "workloads:\n", "workloads:\n  x: {kind: build, only: [nobody]}\n")),
    Row("a suite without engines", USAGE_ERROR, "fault", ("-k", "build"),
        _edit("suite.yaml", "engines:\n  one: {max_batch_size: 4}", "engines: {}")),
    Row("local: nothing supported is a skip", OK, "not supported: no such kernel", (*LOCAL, "-k", "build"),
        _edit("suite.yaml", "step_us: 400", "refuse: no such kernel")),
    Row("local: no baseline is a skip", OK, "recorded, nothing judged yet", (*LOCAL, "-k", "build"), GROWN),
]  # fmt: skip


@pytest.mark.parametrize("row", SESSIONS, ids=str)
def test_a_session_that_judged_nothing_is_not_green(
    project: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    row.spoil(project)
    for name, value in row.variables:
        monkeypatch.setenv(name, value)

    found = pytester.runpytest_inprocess(*_ARGS, *row.args)  # the plugin is imported already: a third of the time

    said = f"{found.stdout}\n{found.stderr}"
    assert found.ret == row.code, said
    assert row.words in said
    assert not re.search(r"^=.*\d+ passed", said, re.MULTILINE)


def test_a_plugin_that_is_named_beside_the_installed_one_is_the_same(project: Path) -> None:
    info = project / "installed" / "pytest_perfgate-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-perfgate\nVersion: 1\n")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    lines = [f"{name} = {module}" for name, module in groups["pytest11"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines]))
    _shrink_baseline(project)

    found = _pytest(
        project, "-p", "perfgate.plugin", "-k", "build", PYTHONPATH=_import_path(str(project / "installed"))
    )

    assert found.returncode == RED, found.stdout + found.stderr
    assert found.stderr == ""
    assert "1 failed, 2 deselected" in found.stdout
    assert (project / "perfgate-out" / "comparison.json").exists()


def test_without_the_plugin_tests_of_a_gate_are_errors(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS", raising=False)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:perfgate", "-W", "ignore"]

    found = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert found.returncode == RED
    assert "fixture 'perfgate_verdict' not found" in found.stdout
    assert "3 errors" in found.stdout


def test_workers_of_xdist_are_as_red(project: Path, pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed (extra dev)")
    _edit("test_gate.py", "def test_build", "@pytest.mark.xfail\ndef test_build")(project)

    found = pytester.runpytest_inprocess(*_ARGS, "-n", "1", "-k", "build")

    assert found.ret == RED
    found.stdout.fnmatch_lines(["*no test of the gate was judged*"])


def test_a_test_that_asserts_nothing_does_not_make_a_regression_green(project: Path, pytester: pytest.Pytester) -> None:
    _edit("test_gate.py", "def test_build(perfgate_verdict):\n    perfgate_verdict.assert_ok()", _ASSERTS_NOTHING)(
        project
    )
    _shrink_baseline(project)

    found = pytester.runpytest_inprocess(*_ARGS, "-k", "build")

    assert found.ret == RED
    found.stdout.fnmatch_lines(["*one-build failed and no test did: call perfgate_verdict.assert_ok()"])


_ASSERTS_NOTHING = "def test_build(perfgate_verdict):\n    pass"

# ---------------------------------------------------------------------- engines that lie

LIARS = {
    "silent": ("output: nothing", "broken"),
    "truncated": ("cut: true", "gave 15 tokens, 16 were asked for"),
    "frozen": ("clock: still", "times that cannot be"),
    "backwards": ("clock: backwards", "times that cannot be"),
    "honest": ("step_us: 100", "samples a round, ttft_p99 needs 662: raise `requests`"),
    "senseless": ("loss: broken", "scored nan"),
}
_LINES = "\n".join(f"  {name}: {{engine_args: {{{args}}}}}" for name, (args, _) in LIARS.items())
LYING = SMALL.replace("  one: {max_batch_size: 4}\n", f"{_LINES}\n").replace(
    "itl_p10: {margin: 5%, detect: 20%}", "ttft_p99: {margin: 5%, detect: 20%}\n    itl_p10: {}"
).replace("requests: 16", "requests: 8, warmup_requests: 0")  # fmt: skip


def test_what_an_engine_cannot_have_done_is_never_green(project: Path, pytester: pytest.Pytester) -> None:
    (project / "suite.yaml").write_text(LYING)

    found = pytester.runpytest_inprocess(*_ARGS, "-k", "latency or (perplexity and senseless)")

    assert found.ret == RED
    found.assert_outcomes(failed=len(LIARS) + 1, deselected=len(LIARS) * 2 - 1)
    comparison = read_record(project / "perfgate-out" / "comparison.json", Comparison, COMPARISON_SCHEMA)
    told = {one.case.engine: "\n".join([str(one.verdict), *one.lines]) for one in comparison.cases}
    assert {name: words for name, (_, words) in LIARS.items() if words not in told[name]} == {}
    assert {one.outcome for one in comparison.cases} == {"failed"}


def test_a_throttled_gpu_is_never_green(measured: Measured) -> None:
    one = measured(reasons=double.nvmlClocksThrottleReasonHwThermalSlowdown, sm=800)

    assert one.fault is not None
    assert "thermal slowdown (hardware)" in one.fault
    run = Run("small", one.started, ENVIRONMENT, (CaseInfo("one-b1", "one", "latency", "00ff"),), (), (one,))
    suite = Suite("small", Path("suite.yaml"), (), GATE, tuple(DEFAULT_POLICIES.items()))
    for policy in ("ci", "local"):
        assert compare(run, suite, None, policy).is_red


# ---------------------------------------------------------------------- runs that are judged again


def _measured(change: Callable[[float], float | None]) -> Callable[[Run], Run]:
    """Every engine_bytes of a run changed, or taken out."""

    def of_round(one: Round) -> Round:
        cases = tuple(
            replace(case, values={name: new for name, old in case.values.items() if (new := change(old)) is not None})
            for case in one.cases
        )
        return replace(one, cases=cases)

    return lambda run: replace(run, rounds=tuple(map(of_round, run.rounds)))


def _as_bytes(change: Callable[[bytes], bytes]) -> Callable[[Run], bytes]:
    return lambda run: change(encode(run))


RUNS: dict[str, tuple[Callable[[Run], Run | bytes], int, str]] = {
    "zero": (_measured(lambda _: 0.0), RED, "measured 0, which no engine_bytes can be"),
    "negative": (_measured(lambda old: -old), RED, "which no engine_bytes can be"),
    "NaN, which JSON has no number for": (_measured(lambda _: float("nan")), USAGE_ERROR, "is damaged"),
    "infinite": (_as_bytes(lambda data: re.sub(rb'"engine_bytes":[\d.]+', b'"engine_bytes":1e999', data)), USAGE_ERROR,
                 "is damaged"),
    "missing": (_measured(lambda _: None), RED, "not measured: no round gave this metric"),
    "worse": (_measured(lambda old: old * 2), RED, "100.0 % worse"),
    "without a round": (lambda run: replace(run, rounds=()), RED, "not measured"),
    "every round at fault": (
        lambda run: replace(run, rounds=tuple(replace(one, fault="throttled") for one in run.rounds)), RED, "throttled",
    ),
    "every case at fault": (
        lambda run: replace(run, rounds=tuple(
            replace(one, cases=tuple(replace(case, faults=("clock",)) for case in one.cases)) for one in run.rounds)),
        RED, "clock",
    ),
    "without a case": (lambda run: replace(run, cases=()), RED, "no case was asked for"),
    "every case skipped": (
        lambda run: replace(run, cases=tuple(replace(case, skip="no kernel") for case in run.cases)), RED,
        "its baseline has it, and it is not supported any more: no kernel",
    ),
    "of another device": (
        lambda run: replace(run, environment=replace(run.environment, device="sm_90/h200-141gb")), RED, "no baseline",
    ),
    "of a device that leads elsewhere": (
        lambda run: replace(run, environment=replace(run.environment, device="../../etc")), USAGE_ERROR,
        "found device key '../../etc'",
    ),
    "of a suite that leads elsewhere": (lambda run: replace(run, suite="../x"), USAGE_ERROR, "suite '../x'"),
    "of a newer schema": (lambda run: replace(run, schema=99), USAGE_ERROR, "has schema 99"),
    "truncated": (_as_bytes(lambda data: data[: len(data) // 2]), USAGE_ERROR, "is damaged"),
    "empty": (_as_bytes(lambda _: b""), USAGE_ERROR, "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_measured_nothing_or_nonsense_is_not_green(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, code, words = RUNS[name]
    made = change(read_record(recorded / "perfgate-out" / "run.json", Run, RUN_SCHEMA))
    (tmp_path / "run.json").write_bytes(made if isinstance(made, bytes) else encode(made))

    found = _judge(recorded, tmp_path)

    said = capsys.readouterr()
    assert found == code, said
    assert words in " ".join(f"{said.out} {said.err}".split())


def test_the_same_run_unchanged_is_green(recorded: Path, tmp_path: Path) -> None:
    shutil.copy(recorded / "perfgate-out" / "run.json", tmp_path)

    assert _judge(recorded, tmp_path) == OK


def _judge(recorded: Path, folder: Path) -> int:
    where = ["--baselines", str(recorded / "baselines"), "--state", str(folder), "--out", str(folder / "out")]
    return main(["judge", str(folder / "run.json"), "--suite", str(recorded / "suite.yaml"), "--policy", "ci", *where])


BASELINES = {
    "zero": ((0.0,), "the baseline holds values that cannot be"),
    "negative": ((-1.0,), "the baseline holds values that cannot be"),
    "no value": ((), "the baseline of this case lacks this metric"),
}


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_of_values_that_cannot_be_is_not_green(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    values, words = BASELINES[name]
    root = tmp_path / "project"
    shutil.copytree(recorded, root)
    run = read_record(root / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    alone = tuple(one for one in run.rounds if one.side is Side.CANDIDATE)  # nothing of the baseline's engine beside
    (root / "run.json").write_bytes(encode(replace(run, rounds=alone)))
    path = _stored(root)
    (case,) = json.loads(path.read_text())["cases"]
    found = find_baseline([root / "baselines"], find_device().key, "small")
    assert found is not None
    changed = replace(found[1].cases[case], metrics={"engine_bytes": Series("bytes", (values,))})
    save_baseline(path, replace(found[1], cases={case: changed}))

    assert _judge(root, root) == RED
    assert words in " ".join(capsys.readouterr().out.split())


# ---------------------------------------------------------------------- what earlier runs left

WAIVED = "- {{case: '*', metric: engine_bytes, reason: known, expires: {}}}\n"


def _shrink_baseline(root: Path) -> None:
    """As if the engine had grown to twice its size since."""
    path = _stored(root)
    plain = json.loads(path.read_text())
    series = plain["cases"]["one-build"]["metrics"]["engine_bytes"]
    series["sessions"] = [[value / 2 for value in session] for session in series["sessions"]]
    path.write_text(json.dumps(plain))


def test_a_gate_whose_every_case_is_waived_is_red_in_ci_and_xfailed_locally(
    project: Path, pytester: pytest.Pytester
) -> None:
    _shrink_baseline(project)
    (project / "baselines" / "waivers.yaml").write_text(WAIVED.format(today_utc() + timedelta(days=30)))

    ci = pytester.runpytest_inprocess(*_ARGS, "-k", "build")
    local = pytester.runpytest_inprocess(*_ARGS, "-k", "build", "--perfgate-policy", "local")

    assert (ci.ret, local.ret) == (RED, OK)
    ci.stdout.fnmatch_lines(
        ["*nothing was judged that could have failed (1 waived)*", "*no test of the gate was judged*"]
    )
    local.assert_outcomes(xfailed=1, deselected=2)


def test_a_resumed_journal_with_nothing_new_is_as_red_as_the_run_that_it_is_of(project: Path) -> None:
    _shrink_baseline(project)
    unclosed = "from perfgate.journal import Ledger\nLedger.close = lambda self: None\n"
    (project / "conftest.py").write_text(unclosed)  # as if the first gate had been killed before it could report
    _commit(project)

    first, again = _pytest(project, "-k", "build"), _pytest(project, "-k", "build")
    (project / "changed.py").write_text("other = 'code'\n")
    _commit(project)
    later = _pytest(project, "-k", "build")

    assert (first.returncode, again.returncode, later.returncode) == (RED, RED, RED)
    assert "already measured" in again.stdout
    assert "engine_bytes: regressed" in again.stdout
    assert re.search(r"is not gone on with: measured at commit \w{12}, this is \w{12}; measuring anew", later.stdout)
    assert "already measured" not in later.stdout


def _commit(project: Path) -> None:
    (project / ".gitignore").write_text(".perfgate/\nperfgate-out/\n__pycache__/\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "as it is"]):
        subprocess.run(["git", *words], cwd=project, check=True)


def test_a_verdict_of_an_earlier_run_does_not_outlive_the_start_of_the_next(
    recorded: Path, project: Path, pytester: pytest.Pytester
) -> None:
    shutil.copytree(recorded / "perfgate-out", project / "perfgate-out")
    (project / "files" / "model" / "weights").unlink()

    found = pytester.runpytest_inprocess(*_ARGS, "-k", "build")

    assert found.ret != OK
    assert not (project / "perfgate-out" / "summary.md").exists()
    assert not (project / "perfgate-out" / "comparison.json").exists()


OWN_GATE = """
def test_pace(perfgate_gate):
    for _ in perfgate_gate.rounds():
        perfgate_gate.record("a_s", {value}, unit="s", better="lower", is_exact=True)
{more}
"""
_MORE = '        perfgate_gate.record("b_s", 1.0, unit="s", better="lower", is_exact=True)'


@pytest.mark.parametrize("value", ["float('nan')", "0.0", "-1.0", "float('inf')"])
def test_a_tests_own_figure_that_cannot_be_is_red(pytester: pytest.Pytester, value: str) -> None:
    pytester.makepyfile(OWN_GATE.format(value=value, more=""))

    found = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--perfgate-policy", "local")

    assert found.ret == RED
    found.assert_outcomes(failed=1)


def test_a_tests_own_figure_that_is_not_recorded_any_more_is_red(pytester: pytest.Pytester) -> None:
    path = pytester.makepyfile(OWN_GATE.format(value=1.0, more=_MORE))
    run = ("-p", "no:cacheprovider", "--perfgate-policy")
    pytester.runpytest_inprocess(*run, "local")
    green = pytester.runpytest_inprocess(*run, "ci")
    path.write_text(OWN_GATE.format(value=1.0, more=""))

    red = pytester.runpytest_inprocess(*run, "ci")

    assert (green.ret, red.ret) == (OK, RED)
    red.stdout.fnmatch_lines(["*b_s: invalid, not recorded, and the baseline has it*"])


# ---------------------------------------------------------------------- the action


@pytest.mark.parametrize("args", ["--collect-only", "--perfgate-plan", "-p\nno:perfgate\n-p\nno:perfgate.plugin"])
def test_the_action_is_red_when_nothing_was_judged(recorded: Path, project: Path, args: str) -> None:
    shutil.copytree(recorded / "perfgate-out", project / "perfgate-out")
    usual = {"suite": "suite.yaml", "tests": ".", "out": "perfgate-out"}

    done = Runner(project).run("Gate", **usual, args=args)

    assert done.returncode != OK, done.stdout
    assert not (project / "perfgate-out" / "comparison.json").exists()
