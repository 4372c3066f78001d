"""Commands of the documentation through the parser that would read them, without doing what they ask."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from doc_commands import STAND_INS
from doc_pages import ROOT

from perfgate.cli import _parser
from perfgate.report.formats import parse_formats
from perfgate.suite import Suite, load_suite

_ = parse_formats  # numpy comes with it, and can be loaded once a process: not in a session that ends before ours

SHIPPED = ("baselines", "benchmarks", "docs", "fixtures", "perf_tests", "scripts", "tests")


class WrongCommandError(Exception):
    """What the parser says, or which file is not there."""


def parse_perfgate(arguments: Sequence[str], *, may_be_cut: bool = False, knows_suite: bool = True) -> None:
    """As `perfgate` parses it; the suite is loaded, engines and workloads are looked up in it.

    may_be_cut: required arguments may be left out; knows_suite: engines are those of the suite that it finds.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            asked = _parser().parse_args(arguments)
    except SystemExit as exc:
        if exc.code and not (may_be_cut and "arguments are required" in said.getvalue()):
            raise WrongCommandError(said.getvalue()) from None
        return
    suite = getattr(asked, "suite", None)
    _look_at_files([value for value in vars(asked).values() if value is not suite])
    if suite and knows_suite:
        _look_at_names(asked, load_suite(suite_of(str(suite))))


def suite_of(named: str) -> Path:
    """The suite that a command names, or one of its kind where it is the reader's."""
    path = ROOT / STAND_INS.get(named, named)
    if not path.is_file():
        raise WrongCommandError(f"no suite {named} in the repository, and none stands in for it (STAND_INS)")
    return path


def _look_at_files(values: Sequence[object]) -> None:
    """What a command names of the repository's folders has to be there; files that runs write have not."""
    flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
    paths = [one for one in flat if isinstance(one, Path) and one.parts and one.parts[0] in SHIPPED]
    if missing := [str(path) for path in paths if not (ROOT / path).exists()]:
        raise WrongCommandError(f"not in the repository: {', '.join(missing)}")


def _look_at_names(asked: argparse.Namespace, suite: Suite) -> None:
    known = {
        "engines": {spec.name for spec in suite.engines},
        "workloads": {case.work.name for case in suite.cases},
    }
    for kind, names in known.items():
        given = getattr(asked, kind, None) or ()
        wanted = given.split(",") if isinstance(given, str) else list(given)
        if unknown := [name for name in wanted if name not in names]:
            raise WrongCommandError(
                f"{suite.source.name} has no {kind} {', '.join(unknown)}: {', '.join(sorted(names))}"
            )


def parse_pytest(arguments: Sequence[str], pytester: pytest.Pytester, patch: pytest.MonkeyPatch) -> None:
    """Collected by pytest in the repository's root: options, files, suite and `-k` have to fit, and select a test."""
    given = [STAND_INS.get(word, word) for word in arguments]
    given += ["--junitxml", str(pytester.path / "junit.xml")] if "--junitxml" in given else []  # the last one holds
    patch.chdir(ROOT)
    without_paths = ["-o", "testpaths=perf_tests"]  # a reader's repository has no other tests of ours
    # importlib: modules of perf_tests are named as some of our tests are, which this process may hold
    found = pytester.runpytest_inprocess(
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "--import-mode=importlib",
        "--collect-only",
        "-q",
        *without_paths,
        *given,
    )
    if found.ret != pytest.ExitCode.OK:
        raise WrongCommandError(f"exit code {found.ret}\n{found.stdout}\n{found.stderr}")


class _ParsedError(Exception):
    """The script's parser is content."""


def parse_script(words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """A script up to the end of its parsing; one without a parser takes no options."""
    script = ROOT / words[0]
    if not script.is_file():
        raise WrongCommandError(f"no {words[0]} in the repository")
    if "parse_args(" not in script.read_text(encoding="utf-8"):
        if options := [word for word in words[1:] if word.startswith("-")]:
            raise WrongCommandError(f"{words[0]} has no options; found {options}")
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said), contextlib.suppress(_ParsedError):
            _run_until_parsed(script, words, patch)
    except SystemExit:
        raise WrongCommandError(said.getvalue()) from None
    except ModuleNotFoundError as exc:
        if exc.name not in _modules("browser"):
            raise
        pytest.skip(f"{words[0]} needs {exc.name}: the extra `browser` is not installed")


def _modules(extra: str) -> list[str]:
    """What packages of an extra are imported as."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    return [re.split(r"[<>=\[]", one)[0].replace("-", "_") for one in declared]


def _run_until_parsed(script: Path, words: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, given: Sequence[str] | None = None) -> None:
        raise _ParsedError(parse(parser, given))

    patch.setattr(argparse.ArgumentParser, "parse_args", stop)
    patch.setattr(sys, "argv", list(words))
    patch.setattr(sys, "path", [str(script.parent), *sys.path])
    runpy.run_path(str(script), run_name="__main__")


def make_lines(arguments: Sequence[str]) -> list[str]:
    """What `make` would run, the last line first."""
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongCommandError(done.stderr)
    return done.stdout.splitlines()[::-1]
