"""Python environments of pinned packages, each installed once, for engines of another version than ours.

A child in such an environment runs our perfgate on that environment's engine libraries.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import site
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import filelock

from perfgate.case import short_hash
from perfgate.errors import EngineError, RecordError, RoundError, UsageError
from perfgate.process import HERE, Ended, Interpreter, own_import_path, run
from perfgate.record import decode, encode_pretty, printable, read_record, write_atomic

ENVIRONMENT_SCHEMA = 1
MANIFEST = "perfgate-environment.json"
TIMEOUT_S = 3600.0  # for one call of pip; engine libraries are gigabytes

Pins = Mapping[str, str]  # package -> version

_NEEDS = ("filelock", "msgspec", "numpy")  # what our child processes import
_NAME, _VERSION = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", r"[A-Za-z0-9][A-Za-z0-9.!+_-]*"
_OUR_PACKAGE = Path(__file__).resolve().parent
_CONFLICT = "ResolutionImpossible"  # pip's word for pins that exclude each other


@dataclass(frozen=True, slots=True)
class Installed:
    """The manifest of an environment: what was asked for, and all that came of it."""

    pins: Pins
    python: str
    packages: Pins  # every installed package
    built: str  # UTC, ISO 8601
    schema: int = ENVIRONMENT_SCHEMA


@dataclass(frozen=True, slots=True)
class Swap:
    """A folder whose modules are to come from another one: a repository and a worktree of it."""

    here: Path
    there: Path

    def path(self, entry: Path) -> Path:
        return self.there / entry.relative_to(self.here) if entry.is_relative_to(self.here) else entry


@dataclass(frozen=True, slots=True)
class _Site:
    """Where an environment is being installed: its folder, the log, and what each process of it holds open."""

    folder: Path
    log: Path
    kept_open: tuple[int, ...]

    def run(self, name: str, command: Sequence[str], log: Path | None = None) -> Ended:
        try:
            return run(name, command, TIMEOUT_S, log or self.log, os.environ, kept_open=self.kept_open)
        except RoundError as exc:
            raise EngineError(str(exc)) from exc


@dataclass(frozen=True, slots=True)
class _Package:
    """One line of `pip list --format json`."""

    name: str
    version: str


def parse_pin(text: str) -> tuple[str, str]:
    """'openvino==2026.3.0' as name and version.

    Raises:
        UsageError: it is not an exact version.
    """
    found = re.fullmatch(rf"({_NAME})==({_VERSION})", text)
    if not found:
        raise UsageError(f"'{text}' is no pin; expected PACKAGE==VERSION, such as openvino==2026.3.0")
    return canonical_name(found[1]), found[2]


def canonical_name(package: str) -> str:
    """A package's name as indexes know it: lower case, '-' between words."""
    return re.sub(r"[-_.]+", "-", package).lower()


def installed(versions: Mapping[str, str]) -> dict[str, str]:
    """Of what a backend names, the packages that are installed here: nothing else may be asked of an index."""
    return {canonical_name(name): version for name, version in versions.items() if _here(name) == version}


def _here(package: str) -> str | None:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


class EnvironmentStore:
    """Virtual environments under `root`, one folder and one lock per set of pins.

    Built in place, because they cannot be moved; the manifest, written last, makes a folder an environment.
    """

    def __init__(self, root: Path, now: Callable[[], str]) -> None:
        self.root = root.resolve()
        self._now = now

    def interpreter(
        self, pins: Pins, swap: Swap | None = None, beside: Pins | None = None, kept_open: tuple[int, ...] = ()
    ) -> Interpreter:
        """The Python for these packages (installed now if they are not) and for modules of another commit.

        beside: what is installed too, at these versions unless the pins exclude them.
        kept_open: descriptors that what installs holds meanwhile (`perfgate.leases`).

        Raises:
            UsageError: a pin is none.
            EngineError: the packages cannot be installed.
        """
        if not pins and swap is None:
            return HERE
        exact = dict(sorted(parse_pin(f"{name}=={version}") for name, version in pins.items()))
        needs = {name: version for name, version in {**_needs(), **(beside or {})}.items() if name not in exact}
        python = self._python(exact, needs, kept_open) if exact else HERE.python
        return Interpreter(python, tuple(self._import_path(swap, {*exact, *needs} if exact else set())))

    def _python(self, pins: Pins, needs: Pins, kept_open: tuple[int, ...]) -> Path:
        """The interpreter of the environment of these packages. Several processes install it once."""
        folder = self.root / short_hash({"pins": pins, "beside": needs, "python": platform.python_version()})
        python = folder / "bin" / "python"
        self.root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{folder}.lock"):
            if not _is_whole(folder, python):
                self._build(_Site(folder, folder.with_name(f"{folder.name}.log"), kept_open), pins, needs)
        return python

    def _build(self, env: _Site, pins: Pins, needs: Pins) -> None:
        shutil.rmtree(env.folder, ignore_errors=True)
        try:
            _make(env)
            _install(env, pins, needs)
            made = Installed(pins, platform.python_version(), _packages(env), self._now())
            write_atomic(env.folder / MANIFEST, encode_pretty(made))
        except BaseException:
            shutil.rmtree(env.folder, ignore_errors=True)
            raise

    def _import_path(self, swap: Swap | None, own: set[str]) -> Iterator[str]:
        """Our perfgate alone, then what a child of ours would search, but no other copy of the packages in `own`."""
        yield str(self._perfgate_alone())
        packages = {Path(path).resolve() for path in site.getsitepackages()}
        searched = [Path.cwd(), *(Path(entry).resolve() for entry in own_import_path())]
        mine = [path for path in searched if path not in packages and not _distributions(path) & own]
        if swap is not None:
            mine = [*map(swap.path, mine), swap.there, swap.there / "src"]
        yield from dict.fromkeys(map(str, mine))

    def _perfgate_alone(self) -> Path:
        """A folder that holds nothing but a link to our package, whose own folder may hold other libraries too."""
        folder = self.root / "perfgate" / short_hash(str(_OUR_PACKAGE))
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            (folder / _OUR_PACKAGE.name).symlink_to(_OUR_PACKAGE)
        return folder


def _distributions(folder: Path) -> set[str]:
    """Packages that are installed in a folder."""
    names = (found.metadata["Name"] for found in metadata.distributions(path=[str(folder)]))
    return {canonical_name(name) for name in names if name}


def _is_whole(folder: Path, python: Path) -> bool:
    with suppress(RecordError):
        read_record(folder / MANIFEST, Installed, ENVIRONMENT_SCHEMA)
        return python.exists()  # a link: the Python that it was made from may be gone
    return False


def _needs() -> dict[str, str]:
    """What our children import, at the versions that are installed here."""
    return {name: metadata.version(name) for name in _NEEDS}


def _make(env: _Site) -> None:
    ended = env.run("venv", [str(HERE.python), "-I", "-m", "venv", str(env.folder)])
    if ended.code != 0:
        raise EngineError(f"no virtual environment could be made: {_complaint(ended)} (log: {env.log})")
    ours = Path(sys.prefix) / "pip.conf"
    if sys.prefix != sys.base_prefix and ours.exists():  # pip settings of our own virtual environment
        shutil.copy(ours, env.folder / "pip.conf")


def _install(env: _Site, pins: Pins, needs: Pins) -> None:
    """Install pins and needs; where they exclude each other, the pins first, and of the needs what they lack."""
    ended = _pip_install(env, {**needs, **pins})
    if ended.code != 0 and _CONFLICT in env.log.read_text(errors="replace"):
        ended = _pip_install(env, pins)
        if ended.code == 0:
            there = _packages(env)
            ended = _pip_install(env, {**{k: v for k, v in needs.items() if k not in there}, **pins})
    if ended.code != 0:
        raise EngineError(f"{', '.join(_lines(pins))} cannot be installed: {_complaint(ended)} (log: {env.log})")


def _lines(packages: Pins) -> list[str]:
    return [f"{name}=={version}" for name, version in packages.items()]


def _pip_install(env: _Site, packages: Pins) -> Ended:
    options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    return env.run("pip", [*_pip(env.folder), "install", *options, "--", *_lines(packages)])


def _packages(env: _Site) -> Mapping[str, str]:
    """Everything that is installed in an environment."""
    listing = env.folder / "packages.log"
    ended = env.run("pip", [*_pip(env.folder), "list", "--disable-pip-version-check", "--format", "json"], listing)
    lines = listing.read_text(errors="replace").splitlines()  # warnings of pip may surround the list
    found = next((line for line in lines if line.startswith("[")), None)
    if ended.code != 0 or found is None:
        raise EngineError(f"the new environment cannot be listed: {_complaint(ended)}")
    return {canonical_name(one.name): one.version for one in decode(found.encode(), list[_Package], listing)}


def _pip(folder: Path) -> list[str]:
    """The environment's own pip, which reads the user's settings (index, proxies) but not PYTHONPATH."""
    return [str(folder / "bin" / "python"), "-I", "-m", "pip"]


def _complaint(ended: Ended) -> str:
    """The last line that pip or venv calls an error, else the last line."""
    lines = ended.log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("ERROR:")]
    return printable(errors[-1].removeprefix("ERROR:").strip()[:300]) if errors else ended.last_words
