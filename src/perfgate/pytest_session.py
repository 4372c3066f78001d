"""perfgate inside one pytest session: options in, cases, the gate's run, outcomes and summary out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perfgate.case import Case, ServingWork
from perfgate.errors import PerfgateError, UsageError
from perfgate.suite import DEFAULT_POLICIES, Suite, load_suite
from perfgate.terminal import PlainScreen, Terminal, plan_lines

if TYPE_CHECKING:  # collecting cases must not import numpy and scipy
    from perfgate.comparison import CaseVerdict, Comparison
    from perfgate.plan import Options, Plan
    from perfgate.versus import Versus

MOST_ROUNDS = 1000
BACKENDS = "backends"  # marked tests get the cases that a suite compares with its reference


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with its verdict, as tests see it."""

    found: CaseVerdict

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit files: each metric with its verdict in a sentence."""
        return [(f"perfgate_{one.metric}", f"{one.verdict}: {one.sentence}") for one in self.found.metrics]

    def assert_ok(self) -> None:
        """Fail the calling test unless the case passed: one line per metric that is not ok, no traceback."""
        if self.found.outcome != "passed":
            pytest.fail("\n".join([f"{self.found.case.id}: {self.found.verdict}", *self.found.lines]), pytrace=False)


@dataclass(frozen=True, slots=True)
class Beside:
    """A case's load results beside those of the suite's reference, as tests see them."""

    versus: Versus
    engine: str
    concurrency: int

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit files: each metric's ratio with its interval in a sentence; none for the reference itself."""
        from perfgate.report.versus_words import said

        return [
            (f"perfgate_versus_{cell.metric.name}", said(cell))
            for cell in self.versus.cells
            if (cell.side, cell.concurrency) == (self.engine, self.concurrency)
        ]

    def assert_comparable(self) -> None:
        """Fail the calling test unless this case and the reference's both have valid rounds of every metric."""
        gaps = self.versus.gaps(self.engine, self.concurrency)
        if gaps:
            head = f"{self.engine} cannot be compared with {self.versus.reference.name} at {self.concurrency}"
            pytest.fail("\n".join([head, *(f"  {line}" for line in gaps)]), pytrace=False)


class PytestSession:
    """What perfgate knows in one pytest session."""

    def __init__(self, config: pytest.Config, *, is_ci: bool) -> None:
        self._config = config
        self._is_ci = is_ci
        self._suite: Suite | None = None
        self._fault: str | None = None
        self._comparison: Comparison | None = None
        self._reports: list[Path] = []
        self._versus: Versus | None = None
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
        """The suite's cases of a kind, or all; those of `backends` are what a suite with a reference compares."""
        if self._suite is None:
            return []
        if kind == BACKENDS:
            return list(self._suite.compared)
        return [case for case in self._suite.cases if kind in (None, case.kind)]

    def check(self) -> None:
        """Turn what is wrong into a usage error: exit code 4, one line, nothing run."""
        if self._fault:
            raise pytest.UsageError(self._fault)
        if hasattr(self._config, "workerinput") or getattr(self._config.option, "numprocesses", None):
            raise pytest.UsageError(
                "perfgate: rounds would disturb each other under pytest-xdist; run the gate without -n"
            )
        with usage_errors():
            self.options()

    @property
    def suite(self) -> Suite | None:
        """The suite, if it could be read."""
        return self._suite

    @property
    def checked_suite(self) -> Suite:
        assert self._suite is not None  # check() ran before
        return self._suite

    def options(self) -> Options:
        """The gate's options from the command line.

        Raises:
            UsageError: with the option, what was found and what is expected.
        """
        from perfgate.plan import Options, parse_budget
        from perfgate.plant import parse_plant
        from perfgate.waivers import load_waivers

        get = self._config.getoption
        budget, rounds = get("perfgate_budget"), get("perfgate_rounds")
        if rounds is not None and not (rounds.isdigit() and 1 <= int(rounds) <= MOST_ROUNDS):
            raise UsageError(f"--perfgate-rounds: found '{rounds}', expected a whole number from 1 to {MOST_ROUNDS}")
        baselines, waivers = self._config.rootpath / get("perfgate_baselines"), get("perfgate_waivers")
        return Options(
            baselines=baselines,
            state=self._config.rootpath / get("perfgate_state"),
            policy=self._policy(get("perfgate_policy")),
            rounds=int(rounds) if rounds else None,
            budget_s=parse_budget("--perfgate-budget", budget),
            plant=parse_plant(get("perfgate_inject")),
            update_reason=self._update_reason(),
            rebuild=get("perfgate_rebuild"),
            rebuild_baseline=get("perfgate_rebuild_baseline"),
            thorough=get("perfgate_thorough"),
            update_expires=self._update_expires(),
            update_only_new=get("perfgate_only_new"),
            waivers=load_waivers(self._path(str(waivers)) if waivers else None, baselines),
        )

    def _policy(self, given: str | None) -> str:
        name = given or ("ci" if self._is_ci else "local")
        if name not in DEFAULT_POLICIES:
            raise UsageError(f"--perfgate-policy: found '{name}', allowed: {', '.join(DEFAULT_POLICIES)}")
        return name

    def _update_reason(self) -> str | None:
        reason, update = self._config.getoption("perfgate_reason"), self._config.getoption("perfgate_update")
        if update and not (reason or "").strip():
            raise UsageError("--perfgate-update needs --perfgate-reason TEXT: why this run is accepted")
        if self._config.getoption("perfgate_only_new") and not update:
            raise UsageError("--perfgate-only-new says what --perfgate-update accepts; give both")
        return str(reason) if update else None

    def _update_expires(self) -> str | None:
        from perfgate.baselines import parse_expiry

        given = self._config.getoption("perfgate_expires")
        if given and not self._config.getoption("perfgate_update"):
            raise UsageError("--perfgate-expires is for the baseline that --perfgate-update writes; give both")
        return parse_expiry("--perfgate-expires", given, datetime.now(UTC)) if given else None

    def print_plan(self, items: Sequence[pytest.Item]) -> None:
        if self.checked_suite.sweep is not None and not _cases(items):
            return
        from perfgate.plan import make_plan

        with usage_errors():
            plan = make_plan(self.checked_suite, _cases(items), self.options())
        self.terminal().lines(plan_lines(plan, self.checked_suite))

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Measure and judge the selected cases, and write the reports; a suite may have a sweep alone."""
        if self.checked_suite.sweep is not None and not _cases(items):
            return
        from perfgate.gate import run_gate
        from perfgate.history import history_path
        from perfgate.plan import make_plan
        from perfgate.recall import recall
        from perfgate.report import Behind, write_reports
        from perfgate.report.versus import write_backends

        terminal, out = self.terminal(), self._config.rootpath / self._config.getoption("perfgate_out")
        with usage_errors():
            options = self.options()
            plan = make_plan(self.checked_suite, _cases(items), options)
            terminal.lines(_opening(plan, self.checked_suite, options))
            run, self._comparison = run_gate(self.checked_suite, _cases(items), options, plan, terminal)
            terminal.end()
            behind = Behind.of(plan.baseline, recall(history_path(options.state), run, plan.baseline))
            self._reports = write_reports(run, self._comparison, out, behind)
            self._versus, more = write_backends(run, self.checked_suite, out, terminal.note)
            self._reports += more

    def terminal(self) -> Terminal:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None:
            return Terminal(PlainScreen())
        reporter.ensure_newline()
        return Terminal(reporter)

    def verdict(self, case: Case) -> Judged:
        """The case's verdict; skips the test where it was skipped, recorded or left undecided by policy.

        A waived case is expected to fail: it shows as xfailed, never as passed.
        """
        assert self._comparison is not None
        found = next(one for one in self._comparison.cases if one.case.id == case.id)
        if found.case.skip is not None:
            pytest.skip(f"not supported: {found.case.skip}")
        if found.outcome == "recorded":
            pytest.skip("recorded, nothing judged yet: run again")
        if found.outcome == "waived":
            pytest.xfail(found.waived)
        if found.outcome == "warned":
            pytest.skip(f"{found.verdict}: {found.headline}")
        return Judged(found)

    def beside(self, case: Case) -> Beside:
        """The case beside the reference's; skips the test where it was skipped or nothing could be compared."""
        assert self._comparison is not None
        assert isinstance(case.work, ServingWork)
        assert case.work.concurrency is not None
        found = next(one for one in self._comparison.cases if one.case.id == case.id)
        if found.case.skip is not None:
            pytest.skip(f"not supported: {found.case.skip}")
        if self._versus is None:
            pytest.skip(f"nothing to compare with: no results of '{self.checked_suite.reference}' and another engine")
        return Beside(self._versus, case.engine.name, case.work.concurrency)

    @property
    def has_failed_signal(self) -> bool:
        """Whether something that belongs to no case makes the gate red."""
        return self._comparison is not None and bool(self._comparison.failed_signals)

    def print_summary(self, reporter: pytest.TerminalReporter) -> None:
        if self._comparison is None:
            return
        from perfgate.report.figures import plain
        from perfgate.report.text import table

        width = min(shutil.get_terminal_size((120, 24)).columns, 160)
        colour = reporter.config.get_terminal_writer().hasmarkup
        reporter.section("perfgate")
        text = table(self._comparison, verbose=self._config.get_verbosity() > 0, width=width, colour=colour)
        reporter.write_line(text)
        for signal in self._comparison.failed_signals:
            reporter.write_line(f"perfgate: failed by gate.watch: {signal.kind}: {plain(signal.text)}", red=True)
        if self._reports:
            names = ", ".join(path.name for path in self._reports)
            reporter.write_line(f"reports: {self._config.getoption('perfgate_out')}/ ({names})")


SESSION = pytest.StashKey[PytestSession]()


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn our errors into pytest's usage error: one clear line and exit code 4."""
    try:
        yield
    except PerfgateError as exc:
        raise pytest.UsageError(f"perfgate: {exc}") from exc


def _cases(items: Sequence[pytest.Item]) -> list[Case]:
    """The cases that the selected tests are about, each once."""
    params = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    cases = [found.get("perfgate_case") for found in params]
    return list(dict.fromkeys(case for case in cases if isinstance(case, Case)))


def _opening(plan: Plan, suite: Suite, options: Options) -> list[str]:
    compared = f"baseline {plan.baseline[0]}" if plan.baseline else "no baseline yet"
    planted = options.plant.words
    skips = sum(case.skip is not None for case in plan.cases)
    device = f"{plan.device.key} ({plan.device.product})"
    return [
        f"perfgate: suite {suite.name}, {len(plan.cases)} cases ({skips} skipped) on {device}",
        f"perfgate: {compared}; policy {options.policy}; about {plan.estimate_s:.0f} s of measuring",
        *([f"perfgate: PLANTED REGRESSION: {', '.join(planted)}"] if planted else []),
    ]
