"""perfgate inside one pytest session: options in, cases, the gate's run, outcomes and summary out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from perfgate.case import Case
from perfgate.comparison import CaseVerdict, Comparison
from perfgate.engines.base import Plant
from perfgate.errors import PerfgateError, UsageError
from perfgate.gate import Options, Plan, make_plan, run_gate
from perfgate.report import write_reports
from perfgate.report.text import table
from perfgate.schema import parse_duration
from perfgate.suite import DEFAULT_POLICIES, Suite, load_suite
from perfgate.terminal import Terminal, plan_lines


class PytestSession:
    """What perfgate knows in one pytest session."""

    def __init__(self, config: pytest.Config, *, is_ci: bool) -> None:
        self._config = config
        self._is_ci = is_ci
        self._suite: Suite | None = None
        self._fault: str | None = None
        self._comparison: Comparison | None = None
        self._reports: list[Path] = []
        self._load()

    def _load(self) -> None:
        """Read the suite; a fault is kept until collection is over, where it becomes exit code 4."""
        name = self._config.getoption("perfgate_suite") or self._config.getini("perfgate_suite")
        if not name:
            self._fault = "perfgate: no suite: give --perfgate-suite FILE or set perfgate_suite in the ini file"
            return
        try:
            self._suite = load_suite(self._path(str(name)))
        except PerfgateError as exc:
            self._fault = f"perfgate: {exc}"

    def _path(self, name: str) -> Path:
        """A path from the command line (seen from where pytest was called) or from the ini file (from the root)."""
        given = Path(name)
        called = self._config.invocation_params.dir / given
        return given if given.is_absolute() else called if called.exists() else self._config.rootpath / given

    def cases_of(self, kind: str | None) -> list[Case]:
        """The suite's cases of a kind, or all."""
        return [case for case in self._suite.cases if kind in (None, case.kind)] if self._suite else []

    def check(self, items: Sequence[pytest.Item]) -> None:
        """Turn what is wrong into a usage error: exit code 4, one line, nothing run."""
        if self._fault:
            raise pytest.UsageError(self._fault)
        if hasattr(self._config, "workerinput") or getattr(self._config.option, "numprocesses", None):
            raise pytest.UsageError("perfgate: rounds would disturb each other under pytest-xdist; run the gate without -n")
        with _usage_errors():
            make_plan(self._checked_suite, _cases(items), self.options())

    @property
    def _checked_suite(self) -> Suite:
        assert self._suite is not None  # check() ran before
        return self._suite

    def options(self) -> Options:
        """The gate's options from the command line.

        Raises:
            UsageError: with the option, what was found and what is expected.
        """
        get = self._config.getoption
        budget, rounds = get("perfgate_budget"), get("perfgate_rounds")
        budget_s = parse_duration(budget) if budget else None
        if budget and budget_s is None:
            raise UsageError(f"--perfgate-budget: found '{budget}', expected a duration such as 90s, 4min or 2h")
        if rounds is not None and not (rounds.isdigit() and 1 <= int(rounds) <= 1000):
            raise UsageError(f"--perfgate-rounds: found '{rounds}', expected a whole number from 1 to 1000")
        return Options(
            baselines=self._config.rootpath / get("perfgate_baselines"),
            state=self._config.rootpath / get("perfgate_state"),
            policy=self._policy(get("perfgate_policy")),
            rounds=int(rounds) if rounds else None,
            budget_s=budget_s,
            plant=parse_plant(get("perfgate_inject")),
            update_reason=self._update_reason(),
            rebuild=get("perfgate_rebuild"),
        )

    def _policy(self, given: str | None) -> str:
        name = given or ("ci" if self._is_ci else "local")
        if name not in DEFAULT_POLICIES:
            raise UsageError(f"--perfgate-policy: found '{name}', allowed: {', '.join(DEFAULT_POLICIES)}")
        return name

    def _update_reason(self) -> str | None:
        reason, update = self._config.getoption("perfgate_reason"), self._config.getoption("perfgate_update")
        if update and not reason:
            raise UsageError("--perfgate-update needs --perfgate-reason TEXT: why this run is accepted")
        return str(reason) if update else None

    def print_plan(self, items: Sequence[pytest.Item]) -> None:
        with _usage_errors():
            plan = make_plan(self._checked_suite, _cases(items), self.options())
        self._terminal().lines(plan_lines(plan, self._checked_suite))

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Measure and judge the selected cases, and write the reports."""
        terminal = self._terminal()
        with _usage_errors():
            options = self.options()
            plan = make_plan(self._checked_suite, _cases(items), options)
            terminal.lines(_opening(plan, self._checked_suite, options))
            run, self._comparison = run_gate(self._checked_suite, _cases(items), options, terminal)
            terminal.end()
            self._reports = write_reports(run, self._comparison, self._config.rootpath / self._config.getoption("perfgate_out"))

    def _terminal(self) -> Terminal:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        return Terminal(reporter)

    def verdict(self, case: Case) -> CaseVerdict:
        """The case's verdict; skips the test where it was skipped, recorded or left undecided by policy."""
        assert self._comparison is not None
        found = next(one for one in self._comparison.cases if one.case.id == case.id)
        if found.case.skip is not None:
            pytest.skip(f"not supported: {found.case.skip}")
        if found.outcome == "recorded":
            pytest.skip("recorded, nothing judged yet: run again")
        if found.outcome == "warned":
            pytest.skip(f"{found.verdict}: {found.headline}")
        return found

    def print_summary(self, reporter: pytest.TerminalReporter) -> None:
        if self._comparison is None:
            return
        width = min(shutil.get_terminal_size((120, 24)).columns, 160)
        colour = bool(reporter._tw.hasmarkup)
        reporter.section("perfgate")
        text = table(self._comparison, verbose=self._config.get_verbosity() > 0, width=width, colour=colour)
        reporter.write_line(text)
        folder = self._reports[0].parent if self._reports else None
        reporter.write_line(f"reports: {folder}/ ({', '.join(path.name for path in self._reports)})")


SESSION = pytest.StashKey[PytestSession]()


class _usage_errors:
    """Turn our errors into pytest's usage error: one clear line and exit code 4."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, exc: BaseException | None, _trace: object) -> None:
        if isinstance(exc, PerfgateError):
            raise pytest.UsageError(f"perfgate: {exc}") from exc


def _cases(items: Sequence[pytest.Item]) -> list[Case]:
    """The cases that the selected tests are about, each once."""
    params = [item.callspec.params["perfgate_case"] for item in items if isinstance(item, pytest.Function)]
    return list(dict.fromkeys(params))


def parse_plant(words: Sequence[str]) -> Plant:
    """'decode=1.25' and 'perplexity=1.05' as a planted regression.

    Raises:
        UsageError: another name, or a ratio that is not between 1 and 100.
    """
    ratios: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        ratio = float(text) if text.replace(".", "", 1).isdigit() else 0.0
        if name not in ("decode", "perplexity") or not 1 <= ratio <= 100:
            raise UsageError(f"--perfgate-inject: found '{word}', expected decode=RATIO or perplexity=RATIO, 1 to 100")
        ratios[name] = ratio
    return Plant(**ratios)


def _opening(plan: Plan, suite: Suite, options: Options) -> list[str]:
    compared = f"baseline {plan.baseline[0]}, {plan.baseline[1].provenance.accepted}" if plan.baseline else "no baseline yet"
    planted = [f"{name} x{ratio:g}" for name, ratio in (("decode", options.plant.decode), ("perplexity", options.plant.perplexity)) if ratio > 1]
    skips = sum(case.skip is not None for case in plan.cases)
    return [
        f"perfgate: suite {suite.name}, {len(plan.cases)} cases ({skips} skipped) on {plan.device.key} ({plan.device.product})",
        f"perfgate: {compared}; policy {options.policy}; about {plan.estimate_s:.0f} s of measuring",
        *([f"perfgate: PLANTED REGRESSION: {', '.join(planted)}"] if planted else []),
    ]
