"""Environments of pinned packages: real ones, installed from wheels made here, without a network."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import filelock
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_wheels import OWN, wheel
from perfgate.environments import MANIFEST, EnvironmentStore, Swap, canonical_name, installed, parse_pin
from perfgate.errors import EngineError, UsageError
from perfgate.process import HERE, Interpreter

WORDS = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]+(\.[0-9]+){0,3}((a|b|rc|\.post|\.dev)[0-9]+)?(\+[a-z0-9]+)?", fullmatch=True)


def _store(folder: Path) -> EnvironmentStore:
    return EnvironmentStore(folder, lambda: "2026-01-01T00:00:00+00:00")


def _says(python: Interpreter, code: str) -> str:
    """What a line of code prints in an environment."""
    command = [str(python.python), "-P", "-c", f"print({code})"]
    return subprocess.run(command, env=python.variables, capture_output=True, text=True, check=True).stdout.strip()


VERSION = "__import__('importlib.metadata').metadata.version('perfgate-fakelib')"


@given(WORDS, VERSIONS)
def test_a_pin_is_a_name_and_an_exact_version(name: str, version: str) -> None:
    assert parse_pin(f"{name}=={version}") == (canonical_name(name), version)


@given(WORDS)
def test_a_name_has_one_form_however_it_is_written(name: str) -> None:
    assert canonical_name(canonical_name(name).replace("-", "_").upper()) == canonical_name(name)


@pytest.mark.parametrize(
    "text", ["", "openvino", "openvino>=2", "openvino==", "==1", "--index-url==1", "a b==1", "a==1 --pre", "a==-1"]
)
def test_what_is_no_exact_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected PACKAGE==VERSION"):
        parse_pin(text)


def test_nothing_pinned_is_our_own_python(tmp_path: Path) -> None:
    assert _store(tmp_path).interpreter({}) == HERE
    assert not list(tmp_path.iterdir())


def test_only_what_is_installed_here_may_be_asked_of_an_index() -> None:
    ours = installed({"msgspec": "0.0", "cuda": "12.4", "filelock": filelock.__version__})

    assert ours == {"filelock": filelock.__version__}


@pytest.mark.slow
def test_a_pinned_version_runs_our_perfgate_on_its_own_packages(
    environments: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perfgate_fakelib-2.0.dist-info").mkdir()
    (tmp_path / "perfgate_fakelib-2.0.dist-info" / "METADATA").write_text("Name: perfgate-fakelib\nVersion: 2.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    python = _store(environments).interpreter({"perfgate_fakelib": "1.0"})

    assert wheels
    assert _says(python, VERSION) == "1.0"
    assert _says(python, "__import__('perfgate.worker').__file__").endswith("perfgate/__init__.py")
    assert _says(python, "__import__('perfgate.builder').__name__") == "perfgate"
    packages = json.loads((python.python.parents[1] / MANIFEST).read_text())["packages"]
    assert set(OWN) < set(packages)


def test_an_environment_is_installed_once(environments: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _store(environments).interpreter({"perfgate-fakelib": "1.0"})
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")

    again = _store(environments).interpreter({"Perfgate.FakeLib": "1.0"})

    assert again == first


@pytest.mark.slow
def test_what_a_killed_installation_left_is_replaced(environments: Path) -> None:
    python = _store(environments).interpreter({"perfgate-fakelib": "1.0"})
    (python.python.parents[1] / MANIFEST).unlink()
    (python.python.parents[1] / "half").touch()

    _store(environments).interpreter({"perfgate-fakelib": "1.0"})

    assert (python.python.parents[1] / MANIFEST).exists()
    assert not (python.python.parents[1] / "half").exists()


def test_a_version_that_nobody_has_is_one_line_and_leaves_its_log(tmp_path: Path, wheels: Path) -> None:
    assert wheels

    with pytest.raises(
        EngineError, match=r"^perfgate-fakelib==9\.9 cannot be installed: No matching .*\(log: "
    ) as found:
        _store(tmp_path).interpreter({"perfgate-fakelib": "9.9"})

    assert "\n" not in str(found.value)
    assert list(tmp_path.glob("*.log"))
    assert not list(tmp_path.glob(f"*/{MANIFEST}"))


@pytest.mark.slow
def test_a_pin_goes_before_what_perfgate_has_itself(tmp_path: Path, wheels: Path) -> None:
    wheel(wheels, "filelock", "0.1", "")
    wheel(wheels, "perfgate-fakelib", "0.1", "", ["filelock==0.1"])

    python = _store(tmp_path).interpreter({"perfgate-fakelib": "0.1"})

    packages = json.loads((python.python.parents[1] / MANIFEST).read_text())["packages"]
    assert packages["filelock"] == "0.1"
    assert packages["numpy"] == np.__version__


def test_a_commit_brings_its_own_modules_and_not_those_of_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "there"):
        (tmp_path / name / "tests").mkdir(parents=True)
        (tmp_path / name / "tests" / "engine_of_ours.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["tests", str(tmp_path)]))

    python = _store(tmp_path / "store").interpreter({}, Swap(tmp_path / "here", tmp_path / "there"))

    assert _says(python, "__import__('engine_of_ours').__file__") == str(
        tmp_path / "there" / "tests" / "engine_of_ours.py"
    )
    assert str(tmp_path / "here") not in "".join(python.import_path[1:])
    assert str(tmp_path) in python.import_path


def test_the_child_processes_import_only_what_environments_hold() -> None:
    code = "import sys, perfgate.worker, perfgate.builder; print(*{name.partition('.')[0] for name in sys.modules})"

    loaded = subprocess.run(
        [str(HERE.python), "-c", code], env=HERE.variables, capture_output=True, text=True, check=True
    )

    theirs = set(loaded.stdout.split()) & {"scipy", "yaml", "jinja2", "pytest"}
    assert not theirs
