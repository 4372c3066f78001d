"""Quantising inside one pytest session: a test for each engine of the suite's section, all done before the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from perfgate.pytest_session import PytestSession, usage_errors

if TYPE_CHECKING:  # collecting must not import numpy and scipy
    from perfgate.quantise_plan import QuantisePlan, QuantiseWish
    from perfgate.quantise_record import Quantised


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What an engine's quantising came to, as tests see it."""

    engine: str
    found: Quantised

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit files: the outcome, the loss and the engine's gains."""
        best = self.found.best
        told: list[tuple[str, object]] = [("perfgate_quantised", f"{self.found.outcome} {best.name}")]
        if best.worst is not None and best.worst.loss is not None:
            told.append(("perfgate_loss", f"{best.worst.loss:.4f}"))
        return [*told, *((f"perfgate_ratio_{one.metric}_{one.workload}", f"{one.ratio:.3f}") for one in best.gains)]

    def assert_accepted(self) -> None:
        """Fail the calling test where no attempt was accepted: the reason and what to try next, no traceback."""
        from perfgate.quantise_record import Outcome
        from perfgate.report.quantised import quantised_lines

        if self.found.outcome is not Outcome.ACCEPT:
            pytest.fail("\n".join(quantised_lines(self.found)), pytrace=False)


class PytestQuantise:
    """What perfgate knows of quantising in one pytest session."""

    def __init__(self, session: PytestSession) -> None:
        self._session = session
        self._found: dict[str, Quantised] = {}
        self._skipped: dict[str, str] = {}

    @property
    def engines(self) -> tuple[str, ...]:
        """Those of the suite's section; none where it has no section, or cannot be read."""
        suite = self._session.suite
        return suite.quantising.engines if suite is not None and suite.quantising is not None else ()

    def print_plan(self, items: Sequence[pytest.Item]) -> None:
        with usage_errors():
            lines = [_line(plan) for plan, _ in self._plans(items)]
        self._session.terminal().lines(lines)

    def run(self, items: Sequence[pytest.Item]) -> None:
        """Quantise the selected engines one after the other, and write what came of each."""
        from perfgate.quantise_run import close_quantise, run_quantise
        from perfgate.report.quantised import write_quantised

        out = self._session.asked.folder("out") / "quantize"
        with usage_errors(), self._session.terminal() as terminal:
            for plan, wish in self._plans(items):
                if plan.skip:
                    self._skipped[wish.engine] = plan.skip
                    continue
                with ExitStack() as held:
                    self._found[wish.engine] = found = run_quantise(plan, wish, terminal, held)
                    write_quantised(found, out / wish.engine)
                    close_quantise(plan, wish)

    def _plans(self, items: Sequence[pytest.Item]) -> Iterator[tuple[QuantisePlan, QuantiseWish]]:
        from perfgate.quantise_plan import QuantiseWish, plan_quantise

        suite, options = self._session.checked_suite, self._session.asked.options()
        assert suite.quantising is not None
        for name in _engines(items):
            wish = QuantiseWish(
                options.state, name, rounds=options.rounds, tries=suite.quantising.tries, fresh=options.rebuild
            )
            yield plan_quantise(suite, wish), wish

    def of(self, engine: str) -> Quantisation:
        """What came of an engine; skips the test where it cannot be quantised here."""
        if engine in self._skipped:
            pytest.skip(f"not supported: {self._skipped[engine]}")
        if engine not in self._found:  # a worker of pytest-xdist
            pytest.fail("perfgate: quantising is measured by one process: run it without -n")
        return Quantisation(engine, self._found[engine])

    def print_summary(self, reporter: pytest.TerminalReporter) -> None:
        from perfgate.report.quantised import quantised_lines

        for engine, found in self._found.items():
            reporter.section(f"perfgate quantize {engine}")
            for line in quantised_lines(found):
                reporter.write_line(line)
        if self._found:
            out = self._session.asked.folder("out") / "quantize"
            reporter.write_line(f"\nreports: {out}/ENGINE/ (quantization.json, quantization.md)")


QUANTISE = pytest.StashKey[PytestQuantise]()


def _engines(items: Sequence[pytest.Item]) -> list[str]:
    """The engines that the selected tests are about, each once."""
    params = [item.callspec.params for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    return list(dict.fromkeys(str(one["perfgate_quantised_engine"]) for one in params))


def _line(plan: QuantisePlan) -> str:
    if plan.skip:
        return f"quantize {plan.engine.name}: skip: {plan.skip}"
    tries = f", at most {plan.tries} further attempts" if plan.tries else ""
    return f"quantize {plan.engine.name} beside {plan.reference.name}: {plan.rounds} rounds each{tries}"
