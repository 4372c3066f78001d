"""Commands of the documentation are run, each page in a repository like its reader's, on an engine without delay.

A page's commands follow one another as its reader gives them. They begin in a repository of our own suites after a
first gate, or in the one that the page's first `perfgate init` makes, whose engines are then exchanged for fake ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import pytest
from doc_commands import STAND_INS, Command, command_blocks, commands
from doc_forks import fork_rounds
from doc_pages import ROOT, Block
from doc_parsing import make_lines
from doc_readers import LIMITS, SUITE, commit, make_small, new_repository, own_repository
from doc_rules import How, rule_of

import perfgate.gate  # noqa: F401 - pytester forgets what a test imports first, and numpy comes only once a process
from perfgate import ceilings
from perfgate.cli import main
from perfgate.engines.kept import free_port

PYTHONPATH = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
ENGINES = ("fp32", "bf16", "fp8", "int8", "int4")
CLAIMED = {"docs/claims.md": ("fp32", "int8")}  # engines of a page that names none of them


def _to_run(page: Path) -> list[Command]:
    """A page's commands that are run, in order."""
    mine = (block for block in command_blocks() if block.page == page)
    return [one for block in mine for one in commands(block) if rule_of(one).how in (How.RUN, How.SMALLER)]


def _pages() -> list[Path]:
    """Pages with commands to run that no page before has them all of."""
    seen, found = set[str](), []
    for page in dict.fromkeys(block.page for block in command_blocks()):
        texts = {one.text for one in _to_run(page)}
        if texts - seen:
            found.append(page)
        seen |= texts
    return found


@pytest.fixture(scope="session")
def _measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of our suites after a first gate, made by the first worker of pytest-xdist that needs it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    folder = shared / "measured"
    with (shared / "measured.lock").open("w") as lock, _on_fakes():
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _measure(base / "measuring").rename(folder)
    return folder


@contextlib.contextmanager
def _on_fakes() -> Iterator[pytest.MonkeyPatch]:
    """Children find the fake backend, the device has limits without being measured, nothing of a CI is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        patch.syspath_prepend(ROOT / "tests")
        patch.setattr(ceilings, "probe", lambda *_: LIMITS)
        fork_rounds(patch)
        for name in ("CI", "GITHUB_ACTIONS", "PERFGATE_SUITE", "PERFGATE_HISTORY"):
            patch.delenv(name, raising=False)
        yield patch


def _measure(folder: Path) -> Path:
    """A repository in a new folder, after a gate of five rounds; returns the folder."""
    own_repository(folder)
    with contextlib.chdir(folder):
        assert [main(["roofline"]), main(["run", "--rounds", "5", "--policy", "local"])] == [0, 0]
    return folder


@dataclass(slots=True)
class Reader:
    """Who gives a page's commands, one after the other, and where."""

    page: Path
    home: Path
    pytester: pytest.Pytester
    patch: pytest.MonkeyPatch
    copy: Callable[[Path], None]  # puts a measured repository of ours there
    port: int = field(default_factory=free_port)
    server: subprocess.Popen[str] | None = None
    folders: int = 0

    @property
    def engines(self) -> tuple[str, ...]:
        """Those that the page's commands name."""
        texts = " ".join(one.text for one in _to_run(self.page))
        found = tuple(name for name in ENGINES if re.search(rf"\b{name}\b", texts))
        return CLAIMED.get(str(self.page.relative_to(ROOT)), found or ENGINES[:1])

    @property
    def serves(self) -> bool:
        return any(one.words[:2] in (["perfgate", "serve"], ["perfgate", "serve-bench"]) for one in _to_run(self.page))

    def does(self, command: Command) -> int:
        """The exit code of a command."""
        rule, words = rule_of(command), command.words
        if words[:2] == ["perfgate", "init"]:
            return self._begin(words)
        if not self.home.exists():
            self._settle()
        self.patch.chdir(self.home)
        words = [path for word in words for path in self._meant(word)]
        return self._run([*words, *(word.format(port=self.port) for word in rule.more)])

    def _settle(self) -> None:
        """In a repository of ours, with the page's engines."""
        self.copy(self.home)
        if self.engines != ENGINES[:1] or self.serves:
            make_small(self.home / SUITE, self.engines, is_served=self.serves)
            commit(self.home)

    def _begin(self, words: list[str]) -> int:
        """In a repository that `perfgate init` makes; later ones of the page lie aside."""
        is_first = not (self.home / "suite.yaml").exists()
        self.folders += 1
        folder = new_repository(self.home.with_name(f"begun-{self.folders}"))
        self.patch.chdir(folder)
        code = self._run([_from_here(word) for word in words])
        if is_first:
            self.home = folder
            make_small(folder / "suite.yaml", self.engines, is_served=self.serves)
        return code

    def _meant(self, word: str) -> list[str]:
        """What the shell makes of a word with '*'; what is in the repository of what is the reader's own."""
        if "*" in word:
            return sorted(str(path.relative_to(self.home)) for path in self.home.glob(word))
        if word in STAND_INS and word != "..." and not (self.home / word).exists():
            return [str(SUITE if (self.home / SUITE).exists() else "suite.yaml")]
        named = {"CASE": f"{self.engines[0]}-b1", "NAME": self.engines[0]}
        return [named.get(word, _from_here(word))]

    def _run(self, words: list[str]) -> int:
        match words:
            case ["perfgate", "serve", *_]:
                return self._serve(words[1:])
            case ["perfgate", *arguments]:
                return main(arguments)
            case ["pytest", *arguments] | ["python3", "-m", "pytest", *arguments]:
                return self._pytest(arguments)
            case ["make", *_]:
                return self._make(words)
            case ["python", script, *arguments]:
                return self._script(ROOT / script, arguments)
            case ["git" | "rm" | "test", *_]:
                return subprocess.run(words, check=False).returncode
        pytest.fail(f"no rule says how `{words[0]}` is run")

    def _pytest(self, arguments: list[str]) -> int:
        # importlib: modules of perf_tests are named as some of our tests are, which this process may hold
        own = ("-p", "no:cacheprovider", "--import-mode=importlib")
        return int(self.pytester.runpytest_inprocess(*own, *arguments).ret)

    def _make(self, words: list[str]) -> int:
        """The line of pytest that it would run, with what stands behind the command."""
        given = next(i for i, word in enumerate(words) if word == "gate") + 1
        variables = [word for word in words[given:] if "=" in word and not word.startswith("-")]
        more = [word for word in words[given:] if word not in variables]
        line = next(line for line in make_lines(["gate", *variables]) if "/pytest " in line)
        return self._pytest([*shlex.split(line)[1:], *more])

    def _script(self, script: Path, arguments: list[str]) -> int:
        self.patch.setattr(sys, "argv", [str(script), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(script), run_name="__main__")
        return int(ended.value.code or 0)

    def _serve(self, arguments: list[str]) -> int:
        """0 once it says where it serves; it goes on until the page's end."""
        command = [sys.executable, "-m", "perfgate.cli", *arguments]
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout is not None
        return 0 if any(f":{self.port}" in line for line in self.server.stdout) else 1

    def leaves(self) -> int:
        """Ctrl-C for a server that runs; its exit code, 0 where there is none."""
        if self.server is None:
            return 0
        self.server.send_signal(signal.SIGINT)
        self.server.communicate(timeout=30)
        return self.server.returncode


def _from_here(word: str) -> str:
    """A checkpoint of the reader's machine lies in the repository."""
    return word.removeprefix("/") if word.startswith("/models/") else word


@pytest.fixture
def read(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, tmp_path: Path
) -> Iterator[Callable[[Path], Reader]]:
    """Makes the reader of a page."""
    readers = []

    def copy(home: Path) -> None:
        shutil.copytree(request.getfixturevalue("_measured"), home, symlinks=True)

    def make(page: Path) -> Reader:
        readers.append(Reader(page, tmp_path / "repository", pytester, patch, copy))
        return readers[0]

    with _on_fakes() as patch:
        yield make
    for reader in readers:
        if reader.server:
            reader.server.kill()
            reader.server.communicate()


@pytest.mark.parametrize("page", _pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_do_what_the_page_says(
    page: Path, read: Callable[[Path], Reader], capfd: pytest.CaptureFixture[str]
) -> None:
    reader = read(page)

    for command in _to_run(page):
        rule = rule_of(command)
        capfd.readouterr()
        code = reader.does(command)
        said = "".join(capfd.readouterr())
        assert code in rule.codes, f"{command}: exit code {code}\n{said}"
        assert [one for one in rule.said if not fnmatch(said, one)] == [], f"{command}\n{said}"

    assert reader.leaves() == 0


def test_what_fails_is_seen(read: Callable[[Path], Reader], capfd: pytest.CaptureFixture[str]) -> None:
    """A page that names a case which the suite has not, and a run that nobody measured."""
    page = ROOT / "docs" / "starting.md"
    reader = read(page)

    texts = ("perfgate explain fp31-b1", "perfgate judge gone.json")
    codes = [reader.does(Command(Block(page, 1, "", text), text)) for text in texts]

    assert codes == [4, 4]
    assert "fp32-b1" in capfd.readouterr().err
