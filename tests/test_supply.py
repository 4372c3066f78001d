"""What CI and `make` install is locked with hashes, and the wheel comes out the same wherever it is built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "requirements"
LOCKS = sorted(REQUIREMENTS.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
BY_HAND = "test-transformers"  # the Makefile says why it has no hashes

ENTRY = re.compile(r"([\w.-]+)==(\S+)(?: ; [^\\]+?)?((?: --hash=sha256:[0-9a-f]{64})+)$")
INSTALLS = re.compile(
    r"\bpip3? (?:install|wheel|download)\b"
    r"|\buv (?:pip (?:install|sync)|sync|run|tool|build)\b|\b(?:uvx|pipx|npm|npx)\b"
    r"|\bpython\S* -m build\b|\bapt(?:-get)? |\bcurl\b|\bwget\b"
)


def _entries(path: Path) -> list[str]:
    """A lock file's requirements, a line each, without comments."""
    lines = re.sub(r"\\\n\s*", "", path.read_text()).splitlines()
    return [re.sub(r"\s+", " ", line).strip() for line in lines if line and not line.startswith("#")]


def _versions(name: str) -> dict[str, str]:
    found = [ENTRY.match(entry) for entry in _entries(REQUIREMENTS / f"{name}.txt")]
    return {match[1]: match[2] for match in found if match}


def _fetches_unlocked(script: str) -> list[str]:
    """Commands of a shell script that take something from an index, or elsewhere, without a hash to hold it to."""
    commands = re.split(r"&&|\|\||[;|\n]", script.replace("\\\n", " "))
    fetching = [command.strip() for command in commands if INSTALLS.search(command)]
    return [command for command in fetching if not _is_locked(command.split())]


def _is_locked(words: list[str]) -> bool:
    if "--require-hashes" in words:
        return ":all:" in words[words.index("--only-binary") + 1 :][:1] if "--only-binary" in words else False
    return words[-1] == "." and "--no-deps" in words and "--no-build-isolation" in words


def _plain_environment() -> dict[str, str]:
    """Ours, without what a `make` that runs these tests tells a `make` below it, and without a date for builds."""
    told = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "SOURCE_DATE_EPOCH")
    return {name: value for name, value in os.environ.items() if name not in told}


def _made(target: str) -> str:
    """Every command that `make` would run for this target, if nothing had been made yet."""
    words, env = ["make", "-nB", target], _plain_environment()
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout


def _scripts() -> Iterator[tuple[str, str]]:
    yield from ((f"make {target}", _made(target)) for target in TARGETS if target != BY_HAND)
    yield ".ci/run", (ROOT / ".ci" / "run").read_text()
    for path in [ROOT / "action.yml", *(ROOT / ".github" / "workflows").glob("*.yml")]:
        plain = yaml.safe_load(path.read_text())
        for job in plain.get("jobs", {"action": plain.get("runs")}).values():
            yield from ((path.name, step["run"]) for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_requirement_is_one_version_with_its_hashes(path: Path) -> None:
    entries = _entries(path)

    assert entries
    assert [entry for entry in entries if not ENTRY.match(entry)] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("build", "embedded"), ("build", "dev"), ("embedded", "dev"), ("audit", "dev"), ("browser", "dev")],
)
def test_files_that_are_installed_side_by_side_agree(one: str, other: str) -> None:
    first, second = _versions(one), _versions(other)
    shared = first.keys() & second.keys()

    assert shared
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}, "run: make lock"


def test_the_build_backend_is_locked() -> None:
    locked, wanted = _versions("build"), PROJECT["build-system"]["requires"]

    assert set(wanted) <= set(PROJECT["dependency-groups"]["build"])
    for need in map(Requirement, wanted):
        assert need.specifier.contains(locked[need.name]), "run: make lock"


@pytest.mark.parametrize("group", PROJECT["dependency-groups"])
def test_every_tool_is_locked_in_the_file_of_its_group(group: str) -> None:
    for need in map(Requirement, PROJECT["dependency-groups"][group]):
        assert need.specifier.contains(_versions(group)[need.name]), "run: make lock"


def test_nothing_is_installed_without_hashes() -> None:
    scripts = list(_scripts())

    assert sum("--require-hashes" in script for _, script in scripts) > len(TARGETS) // 2, "the scripts were not read"
    assert [(where, command) for where, script in scripts for command in _fetches_unlocked(script)] == []


def test_the_one_install_by_hand_is_in_no_workflow() -> None:
    assert len(_fetches_unlocked(_made(BY_HAND))) == 1
    assert [where for where, script in _scripts() if BY_HAND in script] == []


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_lock_file_is_installed_by_something(path: Path) -> None:
    assert any(f"-r requirements/{path.name}" in script for _, script in _scripts())


@pytest.mark.parametrize(
    "script",
    [
        "pip install uv==0.9.5",
        "python -m pip install -q pip-audit && pip-audit",
        "pip install --require-hashes -r requirements/dev.txt",  # a source package would fetch its backend
        "pip install --no-deps -e .",  # so would this
        "pip wheel --no-build-isolation -w dist .",  # with its dependencies
        "pip install --no-deps --no-build-isolation hatchling",
        "uv pip install ruff",
        "uvx ruff check",
        "true; curl -LsSf https://example.org/install.sh | sh",
    ],
)
def test_what_would_be_fetched_unlocked_is_found(script: str) -> None:
    assert _fetches_unlocked(script)


@pytest.mark.parametrize("unsound", ["requirements/build.txt", "none"])
def test_an_audit_looks_at_every_lock_file_and_is_red_for_one(tmp_path: Path, unsound: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    audit = f'echo "$@" >> "$0.log"; [ "$5" != {unsound} ]'
    for name, text in {"python": "", "pip": "", "pip-audit": audit}.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    words, env = ["make", "audit", f"VENV={tmp_path}"], _plain_environment()
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    asked = (programs / "pip-audit.log").read_text().splitlines()
    assert [line.rpartition("/")[2] for line in asked] == [path.name for path in LOCKS]
    assert all("--strict" in line for line in asked), "without it what could not be looked up counts as sound"
    assert (done.returncode == 0) == (unsound == "none")


@pytest.mark.skipif(find_spec("hatchling") is None, reason="hatchling is not installed (requirements/build.txt)")
def test_a_wheel_is_the_same_to_the_byte_wherever_it_is_built(tmp_path: Path) -> None:
    commit = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    if commit.returncode:
        pytest.skip(f"not a clone that git reads: {commit.stderr.strip()}")

    one = _built(tmp_path / "one", umask=0o022, surroundings={"TZ": "UTC", "PYTHONHASHSEED": "1"})
    far = {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8"}
    other = _built(tmp_path / "a folder" / "far" / "away", umask=0o077, surroundings=far)

    assert one.read_bytes() == other.read_bytes()
    assert _stamps(one) == {_zip_time(int(commit.stdout))}


def _built(folder: Path, umask: int, surroundings: dict[str, str]) -> Path:
    """The wheel that `make wheel` builds from a clone there, by the hatchling that is installed beside us."""
    env = _plain_environment() | surroundings
    clone = ["git", "clone", "-q", "--shared", str(ROOT), str(folder)]
    wheel = ["make", "wheel", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.dev"]
    subprocess.run(clone, env=env, umask=umask, check=True)
    for path in (folder / "src").rglob("*.py"):
        os.utime(path, (10**9 + umask, 10**9 + umask))  # another age too
    subprocess.run(wheel, cwd=folder, env=env, umask=umask, check=True, capture_output=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


def _stamps(wheel: Path) -> set[tuple[int, ...]]:
    with zipfile.ZipFile(wheel) as packed:
        assert "perfgate/plugin.py" in packed.namelist()
        return {info.date_time for info in packed.infolist()}


def _zip_time(stamp: int) -> tuple[int, ...]:
    """Seconds since 1970 as a zip file has them: UTC, two seconds apart."""
    return tuple(time.gmtime(stamp - stamp % 2)[:6])
