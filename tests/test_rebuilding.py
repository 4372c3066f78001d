"""The baseline's engine after an upgrade of its library: run again in an environment of its own."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conftest import Project, record_project
from killing import files_of
from perfgate import builder, environments
from perfgate.baselines import Provenance
from perfgate.process import HERE, Ended, run_module
from perfgate.rebuilding import circumstances
from perfgate.record import RUN_SCHEMA, Run, Side, read_record

PINNED = "fake_engine:Fake", "pinned_engine:Pinned"


@pytest.fixture(scope="session")
def _before(tmp_path_factory: pytest.TempPathFactory, _made_wheels: Path) -> Path:
    """A project whose baseline was recorded with the library's version 1.0; both versions lie beside it."""
    folder = tmp_path_factory.mktemp("before")
    for version in ("1.0", "2.0"):
        (path,) = _made_wheels.glob(f"perfgate_fakelib-{version}-*.whl")
        with zipfile.ZipFile(path) as packed:
            packed.extractall(folder / f"site-{version}")
    record_project(folder, "-k", "latency", edit=lambda text: text.replace(*PINNED), path=[folder / "site-1.0"])
    return folder


@pytest.fixture
def upgraded(
    pytester: pytest.Pytester,
    small_project: Project,
    environments: Path,
    _before: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """That project; now 2.0, which is slower, is installed."""
    del small_project  # but for its environment
    shutil.copytree(_before, pytester.path, dirs_exist_ok=True)
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path / 'site-2.0'}{os.pathsep}{os.environ['PYTHONPATH']}")
    (pytester.path / ".perfgate" / "environments").symlink_to(environments)
    return pytester.path / "suite.yaml"


def _gate(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", "latency", *args)


def _measured(pytester: pytest.Pytester) -> set[Side]:
    run = read_record(pytester.path / "perfgate-out" / "run.json", Run, RUN_SCHEMA)
    return {one.side for one in run.rounds if one.is_valid}


@pytest.mark.slow
@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "gone"])
def test_the_baselines_engine_is_run_again_with_its_own_library(
    pytester: pytest.Pytester, upgraded: Path, *, is_cached: bool
) -> None:
    if not is_cached:
        shutil.rmtree(upgraded.parent / ".perfgate" / "engines")

    run = _gate(pytester, "--perfgate-rebuild-baseline")

    run.assert_outcomes(failed=1, deselected=2)
    run.stdout.fnmatch_lines(
        ["*one: the baseline's engine runs with perfgate-fakelib 1.0*", "*itl_p10: regressed*pairs of rounds*"]
    )
    assert _measured(pytester) == {Side.CANDIDATE, Side.BASELINE}


def test_what_installs_and_prepares_holds_the_lease_of_the_device(
    pytester: pytest.Pytester, upgraded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children of a gate that was killed are at work until the keeper ends them: nobody may measure beside them."""
    (upgraded.parent / ".perfgate" / "environments").unlink()
    monkeypatch.syspath_prepend(pytester.path / "site-2.0")
    monkeypatch.setenv("PERFGATE_LEASES", str(pytester.path / "leases"))
    held: dict[str, list[str]] = {}
    prepare: Any = run_module

    def install(name: str, command: list[str], *args: Any, kept_open: tuple[int, ...]) -> Ended:
        held[f"{name} {'list' if 'list' in command else ''}".strip()] = files_of(kept_open)
        log = args[1]
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("[]")
        return Ended(0, log)

    def build(*args: Any, kept_open: tuple[int, ...], **options: Any) -> Ended:
        held["prepare" if args[4] == HERE else "prepare again"] = files_of(kept_open)
        return prepare(*args, kept_open=kept_open, **options) if args[4] == HERE else Ended(1, args[3])

    monkeypatch.setattr(environments, "run", install)
    monkeypatch.setattr(builder, "run_module", build)

    run = pytester.runpytest_inprocess("-k", "latency", "--perfgate-rebuild-baseline", "--perfgate-rounds", "1")

    run.stdout.fnmatch_lines(["*the baseline's engine cannot be run again: preparing 'one' ended with code 1*"])
    (lease,) = (pytester.path / "leases").iterdir()
    assert held == {each: [str(lease)] for each in ("prepare", "venv", "pip", "pip list", "prepare again")}


def test_nothing_is_installed_unasked(pytester: pytest.Pytester, upgraded: Path) -> None:
    (upgraded.parent / ".perfgate" / "environments").unlink()

    _gate(pytester, "--perfgate-rounds", "1")

    assert _measured(pytester) == {Side.CANDIDATE}
    assert not (upgraded.parent / ".perfgate" / "environments").exists()


def test_a_version_that_is_gone_from_the_index_is_told_and_stored_rounds_judge(
    pytester: pytest.Pytester, upgraded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upgraded.parent / ".perfgate" / "environments").unlink()
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    upgraded.write_text(upgraded.read_text().replace("pairing:", "rebuild_baseline: true\n  pairing:"))

    run = _gate(pytester, "--perfgate-rounds", "1")

    run.stdout.fnmatch_lines(["*note: one: the baseline's engine cannot be run again: perfgate-fakelib==1.0 cannot*"])
    assert _measured(pytester) == {Side.CANDIDATE}


def test_other_weights_cannot_be_rebuilt_and_the_reason_is_told(
    pytester: pytest.Pytester, small_project: Project
) -> None:
    suite = small_project()
    _gate(pytester, "--perfgate-rounds", "1")
    (suite.parent / "model" / "weights").write_bytes(b"other weights")
    shutil.rmtree(suite.parent / ".perfgate" / "engines")

    run = _gate(pytester, "--perfgate-rebuild-baseline", "--perfgate-rounds", "1")

    run.stdout.fnmatch_lines(["*cannot be run again: *the files of the checkpoint */model were changed*"])


def test_what_a_rebuilt_engine_cannot_have_again_is_named() -> None:
    made = Provenance("", "", "any", {"python": "3.11.1", "driver": "570.1"}, "")

    assert circumstances(made, {"python": "3.12.0", "driver": "570.1"}) == "python 3.12.0, the baseline had 3.11.1"
    assert circumstances(made, {"python": "3.11.1"}) == "driver absent, the baseline had 570.1"
    assert circumstances(made, {"python": "3.11.1", "driver": "570.1"}) == ""
