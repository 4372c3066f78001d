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
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conftest import HERE, SUITE, TESTS, Project
from gpu.nvml_machine import OWN, Card, Machine, double
from perfgate.baselines import Series, find_baseline, save_baseline
from perfgate.cli import main
from perfgate.comparison import COMPARISON_SCHEMA, Comparison
from perfgate.device import find_device
from perfgate.record import RUN_SCHEMA, Round, Run, encode, read_record

OK, RED, USAGE_ERROR, NOTHING_COLLECTED = 0, 1, 4, 5
SMALL = SUITE.replace("itl_p10: {{margin: 5%, detect: 20%}}", "itl_p10: {{margin: 5%, detect: 20%}}").format(engines="")
BUILD_ONLY = re.sub(r"\n  (b1|text): .*", "", SMALL).replace("perplexity: {}", "").replace(
    "itl_p10: {margin: 5%, detect: 20%}", ""
)  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a baseline of its build case that was just measured, and is green."""
    root = tmp_path_factory.mktemp("recorded")
    (root / "model").mkdir()
    (root / "model" / "weights").write_bytes(b"weights")
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
    return lambda root: [(root / name).write_text(text)] and None


def _change_stored(change: Callable[[str], str]) -> Callable[[Path], None]:
    return lambda root: [_stored(root).write_text(change(_stored(root).read_text()))] and None


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
WAIVED = "- {case: '*', metric: engine_bytes, reason: known, expires: %s}\n"
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
    Row("a round crashes", RED, "ended with code -9", ("-k", "latency"), lambda root: [
        _write("suite.yaml", SMALL.replace("step_us: 400", "fail: crash"))(root)] and None),
    Row("baseline missing", RED, "no baseline for this case on this device", ("-k", "build"),
        lambda root: shutil.rmtree(root / "baselines") or shutil.rmtree(root / ".perfgate" / "baselines")),
    Row("baseline empty", USAGE_ERROR, "is damaged or not a perfgate file", ("-k", "build"), _change_stored(lambda _: "")),
    Row("baseline without cases", USAGE_ERROR, "holds no case", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"cases": {}}))),
    Row("baseline truncated", USAGE_ERROR, "is damaged", ("-k", "build"),
        _change_stored(lambda text: text[: len(text) // 2])),
    Row("baseline of a newer schema", USAGE_ERROR, "has schema 99", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"schema": 99}))),
    Row("baseline of another device", USAGE_ERROR, "baselines never cross devices", ("-k", "build"), _of_another_device),
    Row("baseline of another suite", USAGE_ERROR, "belongs to suite 'other'", ("-k", "build"),
        _change_stored(lambda text: json.dumps(json.loads(text) | {"suite": "other"}))),
    Row("the case was changed", RED, "no-baseline, the case was changed", ("-k", "build"), GROWN),
    Row("-p no:perfgate with its options", USAGE_ERROR, "unrecognized arguments", ("-p", "no:perfgate.plugin")),
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
    assert not re.search(r"\b\d+ passed", said)


def test_a_plugin_that_is_loaded_twice_ends_the_session(project: Path) -> None:
    info = project / "installed" / "pytest_perfgate-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-perfgate\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pytest11]\nperfgate = perfgate.plugin\n")

    found = _pytest(project, "-p", "perfgate.plugin", PYTHONPATH=_import_path(str(project / "installed")))

    assert found.returncode not in {OK, NOTHING_COLLECTED}
    assert "Plugin already registered under a different name: perfgate" in found.stderr
    assert not (project / "perfgate-out").exists()
