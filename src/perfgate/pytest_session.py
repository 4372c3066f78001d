"""perfgate inside one pytest session: cases, the gate's run, outcomes and summary out."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perfgate.case import Case, ServingWork
from perfgate.claim_pairs import ClaimCase, claim_cases
from perfgate.errors import PerfgateError, StorageError
from perfgate.plugin import COLUMNS
from perfgate.pytest_options import Asked
from perfgate.pytest_shared import Exchange, Role, Selection, role_of
from perfgate.pytest_verdicts import Beside, Claimed, Judged, settle, subtests_of
from perfgate.suite import Suite, load_suite
from perfgate.terminal import Terminal, fitted, plan_lines, terminal_of
from perfgate.workflow_lines import inert_text, is_asked, make_inert

if TYPE_CHECKING:  # collecting cases must not import numpy and scipy
    from perfgate.claim_findings import Finding
    from perfgate.comparison import CaseVerdict, Comparison
    from perfgate.own_end import OwnDone
    from perfgate.own_session import OwnSession
    from perfgate.plan import Options, Plan
    from perfgate.record import Run
    from perfgate.report.behind import Behind
    from perfgate.versus import Versus

BACKENDS = "backends"  # marked tests get the cases that a suite compares with its reference
FOLDER = "own-tests"  # of reports on figures of the tests' own, in the folder of reports
NOTHING = "perfgate: no verdicts came from the controller, so nothing was judged; run it without -n to see why"

IDLE = "no test of the gate was judged: all were skipped, waived or expected to fail; under the policy ci that is red"


@dataclass(frozen=True, slots=True)
class Done:
    """A gate that was carried out: what was measured, found and written."""

    run: Run
    comparison: Comparison
    versus: Versus | None = None
    reports: tuple[Path, ...] = ()
    behind: Behind | None = None  # what tells since when something is worse
    findings: tuple[Finding, ...] | None = None  # on claims; None in a worker, which finds them in the run


class PytestSession:
    """What perfgate knows in one pytest session."""

    def __init__(self, config: pytest.Config, *, is_ci: bool) -> None:
        self._config = config
        self.role = role_of(config)
        self._asked: Asked | None = None
        self._suite: Suite | None = None
        self._fault: str | None = None
        self._done: Done | None = None
        self._own_done: OwnDone | None = None
        self._judged_nothing = False
        self._untold: list[str] = []  # cases that failed while their tests passed
        self._was_stopped = False
        self.own_tests = 1  # selected tests that have a gate of their own
        make_inert(config)
        self._load(is_ci=is_ci)

    def _load(self, *, is_ci: bool) -> None:
        """Read settings and suite; a fault is kept until collection is over, where it becomes exit code 4."""
        from perfgate.hooked import own_metrics

        try:
            self._asked = Asked.of(self._config, is_ci=is_ci)
            if path := self._asked.suite:
                self._suite = load_suite(path, own_metrics(self._config))
        except PerfgateError as exc:
            self._fault = f"perfgate: {exc}"

    def cases_of(self, kind: str | None) -> list[Case]:
        """The suite's cases of a kind, or all; those of `backends` are what a suite with a reference compares."""
        if self._suite is None:
            return []
        if kind == BACKENDS:
            return list(self._suite.compared)
        return [case for case in self._suite.cases if kind in (None, case.kind)]

    @property
    def claims(self) -> tuple[ClaimCase, ...]:
        """The checks of claims of the field that tests are made of, on the suite's engines."""
        return claim_cases(self._suite.cases, self._suite.claim_pairs) if self._suite else ()

    # ------------------------------------------------------------------ what is wrong

    def check(self, *, needs_suite: bool) -> None:
        """Turn what is wrong into a usage error: exit code 4, one line, nothing run."""
        fault = self.fault(needs_suite=needs_suite)
        if fault and self.role is not Role.WORKER:  # a worker's is told by the controller, in one line
            raise pytest.UsageError(inert_text(fault))

    def fault(self, *, needs_suite: bool) -> str | None:
        """What is wrong with settings, suite or options; None where nothing is."""
        if self._fault:
            return self._fault
        if needs_suite and self._suite is None:
            return "perfgate: no suite: give --perfgate-suite FILE or set perfgate_suite in the ini file"
        try:
            self.asked.options()
            _ = self.asked.formats
        except PerfgateError as exc:
            return f"perfgate: {exc}"
        return None

    @property
    def asked(self) -> Asked:
        assert self._asked is not None  # check() ran before
        return self._asked

    @property
    def suite(self) -> Suite | None:
        """The suite, if it could be read."""
        return self._suite

    @property
    def checked_suite(self) -> Suite:
        assert self._suite is not None  # check() ran before
        return self._suite

    # ------------------------------------------------------------------ with workers

    def tell_controller(self, items: Sequence[pytest.Item], *, needs_suite: bool) -> None:
        """In a worker: say which cases are selected, or what is wrong."""
        if self.role is not Role.WORKER:
            return
        ids = tuple(case.id for case in _cases(items))
        self._exchange.tell_selection(Selection(ids, self.fault(needs_suite=needs_suite)))

    def measure_for(self, exchange: Exchange, selection: Selection) -> None:
        """In the controller: measure and judge what workers selected, when the first of them says so."""
        if selection.fault:
            raise pytest.UsageError(inert_text(selection.fault))
        if self._done is None and selection.cases:
            self.check(needs_suite=True)
            wanted = set(selection.cases)
            self._done = self.measure([case for case in self.checked_suite.cases if case.id in wanted])
            exchange.tell_verdicts(self._done.run, self._done.comparison)

    @property
    def _exchange(self) -> Exchange:
        return Exchange(self._config.workerinput)  # type: ignore[attr-defined] # xdist's, in workers only

    def _told(self) -> Done:
        """In a worker: what the controller found."""
        found = self._exchange.verdicts()
        if found is None:
            pytest.fail(NOTHING, pytrace=False)
        return Done(*found)

    # ------------------------------------------------------------------ the gate

    def print_plan(self, items: Sequence[pytest.Item], own: Sequence[pytest.Item]) -> None:
        """own: tests that gate figures of their own; how long they take nobody knows."""
        from perfgate.plan import make_plan

        lines = [f"gates figures of its own: {item.nodeid}" for item in own]
        if items and not self._has_sweep_alone(items):
            with usage_errors():
                options = self.asked.options()
                plan = make_plan(self.checked_suite, _cases(items), options)
            lines = [*plan_lines(plan, self.checked_suite), *self._budgeted(plan, options), *lines]
        self.terminal().lines(lines)

    def _budgeted(self, plan: Plan, options: Options) -> list[str]:
        """Which cases are worth the budget that was asked for."""
        from perfgate.budget_plan import choice_lines, choose_cases

        if options.budget_s is None:
            return []
        choice = choose_cases(self.checked_suite, plan, options.state, options.budget_s)
        return ["", *choice_lines(choice, options.budget_s, plan)]

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Measure and judge the cases of the selected tests."""
        if not self._has_sweep_alone(items):
            self._done = self.measure(_cases(items))

    def _has_sweep_alone(self, items: Sequence[pytest.Item]) -> bool:
        """Whether the suite is there for its sweep, so that these tests are about no case and skip."""
        return self.checked_suite.sweep is not None and not _cases(items)

    def measure(self, cases: Sequence[Case]) -> Done:
        """Measure and judge cases, and write the reports."""
        from perfgate.claim_findings import findings_of
        from perfgate.gate import close_gate, run_gate
        from perfgate.header import header_lines
        from perfgate.history import history_path
        from perfgate.hooked import extras
        from perfgate.plan import make_plan
        from perfgate.recall import recall
        from perfgate.report import Behind, forget_reports, write_reports
        from perfgate.report.claims import failed
        from perfgate.report.formats import write_formats
        from perfgate.report.versus import write_backends
        from perfgate.stopping import stop_by_signals

        terminal, out, suite = self.terminal(), self.asked.folder("out"), self.checked_suite
        with usage_errors(), ExitStack() as held, stop_by_signals() as stop:
            options = self.asked.options()
            forget_reports(out)
            plan = make_plan(suite, cases, options)
            more = extras(self._config)
            terminal.lines(header_lines(plan, suite, options, more.machine))
            with terminal:
                run, comparison = run_gate(suite, cases, options, plan, terminal, held, more, stop)
            behind = Behind.of(plan.baseline, recall(history_path(options.state), run, plan.baseline))
            found = findings_of(run, suite)
            reports = write_reports(run, comparison, out, behind, found)
            reports += write_formats(self.asked.formats, run, comparison, out, failed(found, suite.claims))
            versus, sides = write_backends(run, suite, out, terminal.note)
            close_gate(comparison, plan, options)
        reports += [*sides, *self._further_reports(run, comparison, out)]
        return Done(run, comparison, versus, tuple(reports), behind, found)

    def _further_reports(self, run: Run, comparison: Comparison, out: Path) -> list[Path]:
        found = self._config.hook.pytest_perfgate_report(config=self._config, run=run, comparison=comparison, out=out)
        return [path for paths in found for path in paths or ()]

    def terminal(self) -> Terminal:
        return terminal_of(self._config)

    @cached_property
    def own(self) -> OwnSession:
        """Gates that tests make of figures of their own."""
        from perfgate.pytest_own import own_session

        return own_session(self._config, self.asked, self._suite, self.own_tests, self.terminal().note)

    def finish_own(self, reports: Sequence[pytest.TestReport]) -> None:
        """Make one run and one comparison of what tests' own gates found, wherever they ran."""
        from perfgate.own_end import finish
        from perfgate.pytest_own import carried
        from perfgate.report.formats import write_formats
        from perfgate.stopping import stop_by_signals

        cases = [case for case in (*map(carried, reports), self.own.cut_off) if case is not None]
        out = self.asked.folder("out") / FOLDER
        with stop_by_signals():  # while files are written they wait
            done = finish(cases, self.own, out)
            further = write_formats(self.asked.formats, done.run, done.comparison, out)
        self._own_done = replace(done, reports=(*done.reports, *further))

    @property
    def has_cut_off(self) -> bool:
        """Whether a signal stopped a test with figures of its own."""
        return "own" in vars(self) and self.own.cut_off is not None

    @property
    def is_stopped(self) -> bool:
        """Whether a signal ended measuring early."""
        return self._was_stopped or (self._done is not None and bool(self._done.comparison.stopped))

    def tell_stopped(self) -> None:
        """A signal ended a measuring beside the gate's."""
        self._was_stopped = True

    # ------------------------------------------------------------------ what tests get

    def _told_or_done(self) -> Done:
        if self._done is None and self.role is Role.WORKER:
            self._done = self._told()
        assert self._done is not None
        return self._done

    def _found(self, case: Case) -> tuple[Done, CaseVerdict]:
        done = self._told_or_done()
        found = next((one for one in done.comparison.cases if one.case.id == case.id), None)
        if found is None:  # only a worker whose selection differs from the first one's
            pytest.fail(NOTHING, pytrace=False)
        return done, found

    def verdict(self, case: Case, request: pytest.FixtureRequest) -> Judged:
        """The case's verdict; skips the test where it was skipped, recorded or left undecided by policy.

        A waived case is expected to fail: it shows as xfailed, never as passed.
        """
        done, found = self._found(case)
        policy, columns = self.checked_suite.policy(done.comparison.policy), self._config.stash[COLUMNS]
        judged = Judged(found, policy, columns, subtests_of(request))
        request.node.user_properties.extend(judged.properties)  # what is skipped has figures, too
        settle(found)
        return judged

    def beside(self, case: Case) -> Beside:
        """The case beside the reference's; skips the test where it was skipped or nothing could be compared."""
        done, found = self._found(case)
        assert isinstance(case.work, ServingWork)
        assert case.work.concurrency is not None
        if found.case.skip is not None:
            pytest.skip(f"not supported: {found.case.skip}")
        versus = self._versus_of(done)
        if versus is None:
            pytest.skip(f"nothing to compare with: no results of '{self.checked_suite.reference}' and another engine")
        return Beside(versus, case.engine.name, case.work.concurrency)

    def claimed(self, check: ClaimCase) -> Claimed:
        """What became of a claim; skips the test where it cannot be tested, by the suite's leave."""
        from perfgate.claim_findings import Standing, findings_of, is_failure

        done = self._told_or_done()
        findings = done.findings if done.findings is not None else findings_of(done.run, self.checked_suite)
        found = next((one for one in findings if one.asked == check), None)
        if found is None:  # only a worker whose selection differs from the first one's
            pytest.fail(NOTHING, pytrace=False)
        fails = is_failure(found, self.checked_suite.claims)
        if found.standing is Standing.UNTESTED and not fails:
            pytest.skip(f"{found.standing}: {found.why}")
        return Claimed(found, fails=fails)

    def _versus_of(self, done: Done) -> Versus | None:
        if self.role is not Role.WORKER:
            return done.versus
        from perfgate.report.versus import read_backends

        return read_backends(done.run, self.checked_suite, self.asked.folder("out"))

    # ------------------------------------------------------------------ the end

    def exit_status(self, status: int, told: Collection[str], *, is_idle: bool) -> int:
        """The session's exit code: red also for what belongs to no test, and for what its test did not assert.

        told: ids of cases of which a test failed, or was expected to.
        is_idle: there were tests of gates, and none was judged: all were skipped, waived or expected to fail.
        """
        if self._own_done is not None and self._own_done.fault:
            return pytest.ExitCode.USAGE_ERROR
        self._judged_nothing = is_idle and self._asked is not None and self._asked.policy == "ci"
        has_failed = self._done is not None and bool(self._done.comparison.failed_signals)
        failed = [one.case.id for one in self._done.comparison.cases if one.outcome == "failed"] if self._done else []
        self._untold = [case for case in failed if case not in told] if status == pytest.ExitCode.OK else []
        is_red = has_failed or self.is_stopped or self._judged_nothing or bool(self._untold)
        return pytest.ExitCode.TESTS_FAILED if status == pytest.ExitCode.OK and is_red else status

    def print_summary(self, reporter: pytest.TerminalReporter) -> None:
        out = self._config.rootpath if self._asked is None else self._asked.folder("out")
        if self._done is not None:
            reporter.section("perfgate")
            print_closing(
                self._done.comparison,
                self._done.reports,
                out,
                reporter,
                self._beside_table(reporter),
                self._done.behind,
            )
            self._annotate(self._done.comparison, reporter)
        if self._own_done is not None:
            reporter.section("perfgate: figures of the tests' own")
            print_closing(
                self._own_done.comparison, self._own_done.reports, out / FOLDER, reporter, behind=self._own_done.behind
            )
            if self._own_done.fault:
                reporter.write_line(f"ERROR: perfgate: {self._own_done.fault}", red=True)
        if self._judged_nothing:
            reporter.write_line(f"ERROR: perfgate: {IDLE}", red=True)
        if self._untold:
            what = f"{', '.join(self._untold)} failed and no test did: call perfgate_verdict.assert_ok()"
            reporter.write_line(f"ERROR: perfgate: {what}", red=True)

    def _annotate(self, comparison: Comparison, reporter: pytest.TerminalReporter) -> None:
        """In GitHub Actions: point at the suite file. A failure that a test expects is a notice."""
        from perfgate.report.annotations import annotation_lines, place_of

        if not is_asked():
            return
        expected = {one.nodeid for one in reporter.stats.get("xfailed", ())}
        awaited = {one.case.id for one in comparison.cases if any(f"[{one.case.id}]" in node for node in expected)}
        reporter.ensure_newline()
        for line in annotation_lines(comparison, place_of(self.checked_suite.source), awaited):
            reporter.write_line(line)

    def _beside_table(self, reporter: pytest.TerminalReporter) -> list[str]:
        """Distances to the device's limits, and claims."""
        from perfgate.report import beside

        assert self._done is not None
        return beside(self._done.run, self._done.findings or (), verbose=reporter.verbosity > 0)


def print_closing(
    comparison: Comparison,
    reports: Sequence[Path],
    out: Path,
    reporter: pytest.TerminalReporter,
    beside: Sequence[str] = (),
    behind: Behind | None = None,
) -> None:
    """The closing table, lines about what is no verdict, and where the reports lie; without the table under -qq."""
    from perfgate.report.behind import Behind
    from perfgate.report.figures import plain
    from perfgate.report.text import table

    width = min(shutil.get_terminal_size((120, 24)).columns, 160)
    colour = reporter.config.get_terminal_writer().hasmarkup
    told = behind or Behind()
    shown = table(comparison, verbose=reporter.verbosity > 0, width=width, colour=colour, behind=told)
    for line in (*shown.splitlines(), "", *beside):  # one by one: what a stream lacks, pytest spells for whole texts
        reporter.write_line(line)
    for signal in comparison.failed_signals:
        reporter.write_line(f"perfgate: failed by gate.watch: {signal.kind}: {plain(signal.text)}", red=True)
    if reports:
        here = reporter.config.invocation_params.dir
        folder = out.relative_to(here) if out.is_relative_to(here) else out
        for piece in fitted(f"reports: {folder}/ ({', '.join(path.name for path in reports)})", sys.stdout):
            reporter.write_line(piece)


SESSION = pytest.StashKey[PytestSession]()


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn our errors into pytest's usage error: one clear line and exit code 4."""
    try:
        yield
    except PerfgateError as exc:
        raise pytest.UsageError(inert_text(f"perfgate: {exc}")) from exc
    except OSError as exc:
        if not StorageError.is_of(exc):
            raise
        raise pytest.UsageError(inert_text(f"perfgate: {StorageError.of(exc)}")) from exc


def _cases(items: Sequence[pytest.Item]) -> list[Case]:
    """The cases that the selected tests are about, each once; those of a claim are its two."""
    params = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    cases = [found.get("perfgate_case") for found in params]
    checks = [found.get("perfgate_claim_check") for found in params]
    of_claims = [case for one in checks if isinstance(one, ClaimCase) for case in one.cases]
    return list(dict.fromkeys([*(case for case in cases if isinstance(case, Case)), *of_claims]))
