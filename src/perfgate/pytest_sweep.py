"""A suite's sweep inside one pytest session: one test for each configuration, measured before the first of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perfgate.pytest_session import PytestSession, usage_errors
from perfgate.sweep import Configuration
from perfgate.terminal import is_live

if TYPE_CHECKING:  # collecting must not import numpy and scipy
    from perfgate.sweep_plan import SweepPlan, SweepWish
    from perfgate.tradeoffs import Option, Tradeoffs


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """A configuration of the sweep with what was measured of it, as tests see it; `why`: why nothing was."""

    name: str
    option: Option | None
    why: str = ""

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit files: each weighed figure with its unit, and whether the configuration is on the front."""
        if self.option is None:
            return []
        from perfgate.report.tradeoff_words import figure

        told: list[tuple[str, object]] = [
            (f"perfgate_tradeoff_{metric}", figure(self.option, metric)) for metric in self.option.figures
        ]
        return [*told, ("perfgate_tradeoff_on_front", str(self.option.is_on_front).lower())]

    def assert_measured(self) -> None:
        """Fail the calling test where the configuration failed: its reason, no traceback."""
        if self.option is None:
            pytest.fail(f"{self.name}: {self.why}", pytrace=False)


class PytestSweep:
    """What perfgate knows of the sweep in one pytest session."""

    def __init__(self, session: PytestSession, config: pytest.Config) -> None:
        self._session, self._config = session, config
        self._found: Tradeoffs | None = None
        self._reports: list[Path] = []

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Those of the suite's sweep; none where it has no sweep, or cannot be read."""
        suite = self._session.suite
        return suite.sweep.configurations if suite is not None and suite.sweep is not None else ()

    def print_plan(self, items: Sequence[pytest.Item]) -> None:
        from perfgate.sweep_plan import sweep_plan_lines

        with usage_errors():
            plan, _ = self._plan(items)
        self._session.terminal().lines(sweep_plan_lines(plan))

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Measure the selected configurations, and write the reports."""
        from perfgate.report.tradeoffs import write_tradeoffs
        from perfgate.stopping import stop_by_signals
        from perfgate.sweep_run import close_sweep, run_sweep
        from perfgate.tradeoffs import weigh

        terminal, out = self._session.terminal(), self._session.asked.folder("out")
        with usage_errors(), ExitStack() as held, stop_by_signals() as stop:
            plan, wish = self._plan(items)
            with terminal:
                swept = run_sweep(plan, wish, terminal, held, stop)
            self._found = weigh(swept)
            self._reports = write_tradeoffs(self._found, plan.sweep, out, terminal.note)
            close_sweep(swept, wish)
        if swept.stopped:
            self._session.tell_stopped()

    def _plan(self, items: Sequence[pytest.Item]) -> tuple[SweepPlan, SweepWish]:
        from perfgate.sweep_plan import SweepWish, plan_sweep

        chosen = _configurations(items)
        names = () if len(chosen) == len(self.configurations) else tuple(one.name for one in chosen)
        options = self._session.asked.options()
        wish = SweepWish(options.state, options.rounds, names, fresh=options.rebuild)
        return plan_sweep(self._session.checked_suite, wish), wish

    def tradeoff(self, configuration: Configuration) -> Tradeoff:
        """What was measured of a configuration; skips the test where it cannot run here."""
        found, name = self._found, configuration.name
        if found is None:  # a worker of pytest-xdist
            pytest.fail("perfgate: a sweep is measured by one process, one configuration at a time: run it without -n")
        if skipped := next((one for one in found.skipped if one.name == name), None):
            pytest.skip(f"not supported: {skipped.reason}")
        failed = next((one.reason for one in found.failed if one.name == name), "")
        return Tradeoff(name, None if failed else found.option(name), failed)

    def print_summary(self, reporter: pytest.TerminalReporter) -> None:
        if self._found is None:
            return
        from perfgate.report.tradeoff_text import show

        reporter.section("perfgate sweep")
        show(self._found, reporter.write_line, is_live=is_live(sys.stdout, os.environ))
        names = ", ".join(path.name for path in self._reports)
        reporter.write_line(f"\nreports: {self._session.asked.folder('out')}/ ({names})")


SWEEP = pytest.StashKey[PytestSweep]()


def _configurations(items: Sequence[pytest.Item]) -> list[Configuration]:
    """The configurations that the selected tests are about, each once."""
    params = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    found = [one.get("perfgate_configuration") for one in params]
    return list({one.name: one for one in found if isinstance(one, Configuration)}.values())
