"""A small project around the fake engine, for tests of the plugin and the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import scipy.special  # noqa: F401 - and numpy, which sessions in this process would else forget and load twice
from hypothesis import settings

from local_wheels import OWN, wheel, wheel_of_installed

settings.register_profile("perfgate", deadline=None)  # shared machines stall: a test's time proves nothing
settings.load_profile("perfgate")

# Gates of tests measure nothing real: they must not wait for those of other programs on this machine.
_leases = tempfile.TemporaryDirectory(prefix="perfgate-leases-")  # removed when this process ends
os.environ["PERFGATE_LEASES"] = _leases.name

# Tests start Python some thousand times: without bytecode each of them compiles all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

HERE = Path(__file__).parent

SUITE = """
schema: 1
suite: small
defaults:
  engine: {{backend: "fake_engine:FakeBackend", model: model, engine_args: {{step_us: 400}}}}
engines:
  one: {{max_batch_size: 4}}
{engines}
workloads:
  build: {{kind: build}}
  b1: {{kind: latency, prompts: texts.jsonl, input_len: 8, output_len: 16, concurrency: 1, requests: 16}}
  text: {{kind: perplexity, text: texts.jsonl, window: 64, stride: 32}}
gate:
  metrics:
    itl_p10: {{margin: 5%, detect: 20%}}
    engine_bytes: {{}}
    perplexity: {{}}
  noise: {{round_sd: 5%, session_sd: 20%, pair_sd: 3%}}
  pairing: interleaved
  first_rounds: 3
  most_rounds: 9
  max_foreign_cpu: 100%
policy:
  local: {{no_baseline: record}}
"""

TESTS = """
import pytest

@pytest.mark.perfgate("build")
def test_build(perfgate_verdict):
    perfgate_verdict.assert_ok()

@pytest.mark.perfgate("latency")
def test_latency(perfgate_verdict):
    perfgate_verdict.assert_ok()

@pytest.mark.perfgate("perplexity")
def test_perplexity(perfgate_verdict):
    perfgate_verdict.assert_ok()
"""

Project = Callable[..., Path]
QUICK = "-p no:hypothesispytest"


@pytest.fixture(autouse=True)
def _as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that tests start are as wide as a screen, and know nothing of the workers that these tests run in.

    They are without the plugin of hypothesis, which takes them longer to import than pytest.
    """
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("PYTEST_ADDOPTS", QUICK)
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)


def write_project(root: Path, engines: str = "", edit: Callable[[str], str] = str) -> Path:
    """Suite, checkpoint, texts and perf tests in a folder; returns the suite's path."""
    (root / "model").mkdir(exist_ok=True)
    (root / "model" / "weights").write_bytes(b"weights")
    lines = [f'{{"id": "d{i}", "text": "{"def f(x): return x " * 8}{i}"}}' for i in range(8)]
    (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
    (root / "suite.yaml").write_text(edit(SUITE.format(engines=engines)))
    (root / "test_gate.py").write_text(TESTS)
    (root / "tox.ini").write_text("[pytest]\nperfgate_suite = suite.yaml\n")
    return root / "suite.yaml"


@pytest.fixture
def small_project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write suite, checkpoint, texts and perf tests into pytester's folder; returns the suite's path."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def write(engines: str = "", edit: Callable[[str], str] = str) -> Path:
        return write_project(pytester.path, engines, edit)

    return write


def record_project(folder: Path, *args: str, edit: Callable[[str], str] = str, path: Sequence[Path] = ()) -> None:
    """Write a small project and let it have its first gate. path: what is imported from beside tests/.

    Its suite names checkpoint and texts by whole paths, so that it can be copied: a case with others is another one.
    """
    write_project(
        folder, edit=lambda text: edit(text).replace(": model", f": {folder}/model").replace(": t", f": {folder}/t")
    )
    not_ours = ("CI", "GITHUB_ACTIONS", "PERFGATE_HISTORY")
    usual = {n: text for n, text in os.environ.items() if n not in not_ours and not n.startswith("PYTEST_XDIST")}
    inherited = filter(None, [os.environ.get("PYTHONPATH")])
    usual["PYTHONPATH"] = os.pathsep.join([*map(str, path), str(HERE), *inherited])
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    subprocess.run(command, cwd=folder, env=usual | {"PYTEST_ADDOPTS": QUICK}, check=True)


@pytest.fixture(scope="session")
def _recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project that had its first gate, for all tests of this process."""
    folder = tmp_path_factory.mktemp("recorded")
    record_project(folder)
    return folder


@pytest.fixture
def recorded_project(pytester: pytest.Pytester, small_project: Project, _recorded: Path) -> Path:
    """The small project after a gate of all its cases, which recorded them; returns the suite's path."""
    del small_project  # but for its environment
    shutil.copytree(_recorded, pytester.path, dirs_exist_ok=True)
    return pytester.path / "suite.yaml"


@pytest.fixture(scope="session")
def _made_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for package in OWN:
        wheel_of_installed(folder, package)
    for version, step_us in (("1.0", 400), ("2.0", 800)):
        wheel(folder, "perfgate-fakelib", version, f"STEP_US = {step_us}\n")
    return folder


@pytest.fixture
def wheels(_made_wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only packages that pip finds: perfgate's own needs, and a library in a fast and a slow version."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(_made_wheels))
    return _made_wheels


@pytest.fixture(scope="session")
def _environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest.fixture
def environments(_environments: Path, wheels: Path) -> Path:
    """A folder of environments for all tests of this process: making one takes seconds."""
    del wheels
    return _environments
