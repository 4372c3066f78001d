"""Blocks of commands that are cheap enough are run as they stand, each in a folder like the reader's.

The folder holds what pages speak of: the embedded suite by name, on a fake engine that is quick, and a run of it that
is measured once; or, for `perfgate init`, a checkpoint alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_commands import Command, command_blocks, commands
from doc_pages import ROOT, Block

from perfgate.cli import main
from perfgate.record import encode

sys.path.insert(0, str(ROOT / "tests" / "importing"))
sys.path.insert(0, str(ROOT / "tests" / "report"))

from importing_samples import serve_bench, write
from tradeoff_examples import example

SUITE = Path("fixtures/suites/embedded.yaml")
H200 = ROOT / "docs" / "results" / "h200-8b-tp2" / "results"
_WIDE = {"margin": "100%", "detect": "300%"}
Folder = Callable[[Block], Path]


def _to_run(block: Block) -> list[Command]:
    """Commands that are not only parsed, each once."""
    return [*{one.text: one for one in commands(block) if one.why_only_parsed is None}.values()]


# Each set of commands once: pages begin alike.
RUN = [*{frozenset(one.text for one in _to_run(block)): block for block in command_blocks() if _to_run(block)}.values()]


@pytest.fixture(scope="session")
def _measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's repository after a first gate, made by the first worker of pytest-xdist that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    folder = shared / "measured"
    with (shared / "measured.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _measure(base / "measuring").rename(folder)
    return folder


def _measure(folder: Path) -> Path:
    """A repository in a new folder, after a gate of five rounds; returns the folder."""
    (folder / "fixtures" / "prompts").mkdir(parents=True)
    (folder / "fixtures" / "models").symlink_to(ROOT / "fixtures" / "models")
    for texts in (ROOT / "fixtures" / "prompts").iterdir():
        first = texts.read_text().splitlines(keepends=True)[:8]
        (folder / "fixtures" / "prompts" / texts.name).write_text("".join(first))
    shutil.copytree(ROOT / "fixtures" / "suites", folder / "fixtures" / "suites")
    (folder / SUITE).write_text(_small(yaml.safe_load((ROOT / SUITE).read_text())))
    for name in ("perf_tests", "baselines", "docs/results/h200"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(f'[tool.perfgate]\nsuite = "{SUITE}"\n')
    _results(folder)
    done = _pytest(folder, "perf_tests", "-q", "--perfgate-rounds", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def _small(suite: Any) -> str:
    """Its engine fp32 as a fake one, with loads of milliseconds; figures and limits that no busy machine moves."""
    suite["defaults"]["engine"] |= {
        "backend": "fake_engine:FakeBackend",
        "engine_args": {"step_us": 1000, "sleep": True},
    }
    suite["engines"] = {"fp32": {}}
    sizes = {"input_len": 8, "output_len": 4, "warmup_requests": 0, "window": 512, "stride": 512}
    for work in suite["workloads"].values():
        work |= {key: value for key, value in sizes.items() if key in work}
    limits = {name: dict(_WIDE if own else {}) for name, own in suite["gate"]["metrics"].items()}
    suite["gate"] |= {"metrics": limits, "first_rounds": 2, "most_rounds": 2, "max_foreign_cpu": "100%"}
    return str(yaml.safe_dump(suite, sort_keys=False))


def _results(folder: Path) -> None:
    """Results of other clients and of a sweep under the names that pages give them."""
    for name in ("runs", "newer"):
        (folder / name).mkdir()
        for i, scale in enumerate((1.0, 1.01, 0.99, 1.005)):
            write(folder / name / f"{i}.json", serve_bench(scale))
    for engine in ("pytorch", "vllm"):
        shutil.copytree(H200 / engine, folder / "perfgate-out" / "results" / f"{engine}-tp2")
        shutil.copytree(H200 / engine, folder / "results" / engine)
    (folder / "perfgate-out" / "tradeoffs.json").write_bytes(encode(example()))


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Make a folder of its own for a block, and enter it."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]))
    for name in ("CI", "GITHUB_ACTIONS", "PERFGATE_SUITE", "PERFGATE_HISTORY"):
        monkeypatch.delenv(name, raising=False)

    def make(block: Block) -> Path:
        home = tmp_path / "repository"
        if _to_run(block)[0].words[:2] == ["perfgate", "init"]:
            shutil.copytree(ROOT / "fixtures" / "models" / "tiny-llama", home / "models" / "llama")
        else:
            shutil.copytree(request.getfixturevalue("_measured"), home, symlinks=True)
        monkeypatch.chdir(home)
        return home

    return make


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_do_what_the_page_says(block: Block, folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    home = folder(block)

    for command in _to_run(block):
        assert _run(command, home) == 0, f"{command}\n{''.join(capfd.readouterr())}"


def _run(command: Command, home: Path) -> int:
    """The exit code; a gate of what `init` wrote is only planned, for its engine is a real one."""
    program, *arguments = command.words
    if program == "perfgate":
        return main([path for word in arguments for path in _expanded(word, home)])
    assert program == "pytest", f"no rule says how `{program}` is run"
    planned = [] if (home / SUITE).exists() else ["--perfgate-plan"]
    done = _pytest(home, *arguments, *planned)
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


def _expanded(word: str, home: Path) -> list[str]:
    """What the shell makes of a word with '*'."""
    return sorted(str(path.relative_to(home)) for path in home.glob(word)) if "*" in word else [word]


def _pytest(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return subprocess.run(
        command, cwd=home, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


def test_what_fails_is_seen(folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    """A page that names a case which the suite has not, and a run that nobody measured."""
    block = next(block for block in RUN if "perfgate explain" in block.text)
    home = folder(block)

    codes = [_run(Command(block, text), home) for text in ("perfgate explain fp31-b1", "perfgate judge gone.json")]

    assert codes == [4, 4]
    assert "fp32-b1" in capfd.readouterr().err
