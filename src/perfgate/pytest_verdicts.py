"""What tests see of a judged case: verdicts to assert on, metric by metric where pytest can show that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from perfgate.claim_findings import Finding  # collecting cases must not import numpy and scipy
    from perfgate.comparison import CaseVerdict
    from perfgate.terms import Policy
    from perfgate.verdict import MetricVerdict
    from perfgate.versus import Versus

MOST_COLUMNS = 160
Properties = list[tuple[str, object]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with its verdict, as tests see it.

    columns: of the terminal that a failing test's message is shown on.
    subtests: pytest's fixture of that name, where every metric is to have a line of its own.
    """

    found: CaseVerdict
    policy: Policy
    columns: int
    subtests: Any = None

    @property
    def properties(self) -> Properties:
        """For JUnit files: each metric with its verdict in a sentence; kinds of faults, with their number."""
        from perfgate.report.figures import against

        metrics = [
            (f"perfgate_{one.metric}", f"{one.verdict}: {against(one)}{one.sentence}") for one in self.found.metrics
        ]
        return [*metrics, *((f"perfgate_fault_{kind}", count) for kind, count in self.found.faults.items())]

    def assert_ok(self) -> None:
        """Fail the calling test unless the case passed: the metrics in a table and why, no traceback."""
        for one in self.found.metrics if self.subtests is not None else ():
            with self.subtests.test(one.metric):
                self._settle(one)
        if self.found.outcome != "passed":
            pytest.fail(self.message, pytrace=False)

    def _settle(self, one: MetricVerdict) -> None:
        """One metric's outcome, as if it were the case's only one."""
        from perfgate.comparison import outcome
        from perfgate.report.figures import against

        match outcome((one,), self.policy):
            case "passed":
                return
            case "waived":
                pytest.xfail(one.waived or "")
            case "failed":
                pytest.fail(f"{one.metric}: {one.verdict}, {against(one)}{one.sentence}", pytrace=False)
            case _:
                pytest.skip(f"{one.verdict}: {one.reason}")

    @property
    def message(self) -> str:
        """The case in a line for the short summary, what is said of metrics that are not ok, and a table of figures.

        Wrapped between words: pytest leaves that to terminals, which break lines anywhere.
        """
        from perfgate.report.grid import grid
        from perfgate.report.page import NARROWEST, Page

        page = Page(min(max(self.columns, NARROWEST), MOST_COLUMNS), has_colour=False)
        has_figures = any(one.candidate is not None for one in self.found.metrics)
        table = list(grid(self.found.metrics, page)) if has_figures else []
        said = [piece for line in self.found.lines for piece in page.wrapped(line, later="    ")]
        return "\n".join([f"{self.found.case.id}: {self.found.verdict}", *said, *table])


@dataclass(frozen=True, slots=True)
class Beside:
    """A case's load results beside those of the suite's reference, as tests see them."""

    versus: Versus
    engine: str
    concurrency: int

    @property
    def properties(self) -> Properties:
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


def subtests_of(request: pytest.FixtureRequest) -> Any:
    """The fixture `subtests` (pytest 9, or the plugin pytest-subtests) under -v; None without either."""
    if request.config.get_verbosity() < 1:
        return None
    try:
        return request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:
        return None


def settle(found: CaseVerdict) -> None:
    """Skip the calling test where nothing was judged, or policy only warns; a waived case shows as xfailed."""
    match found.outcome:
        case "skipped":
            pytest.skip(f"not supported: {found.case.skip}")
        case "recorded":
            pytest.skip("recorded, nothing judged yet: run again")
        case "waived":
            pytest.xfail(found.waived)
        case "warned":
            pytest.skip(f"{found.verdict}: {found.headline}")


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of a claim of the field, as tests see it. fails: the suite lets it gate, and it does not hold."""

    found: Finding
    fails: bool

    @property
    def properties(self) -> list[tuple[str, object]]:
        """For JUnit files: the claim with its measured factor in a sentence."""
        from perfgate.report.claims import sentence

        return [("perfgate_claim", sentence(self.found))]

    def assert_holds(self) -> None:
        """Pass where the claim holds; else fail if the suite lets claims gate, and xfail if it only wants to know."""
        from perfgate.claim_findings import Standing
        from perfgate.report.claims import sentence

        if self.fails:
            pytest.fail(sentence(self.found), pytrace=False)
        if self.found.standing is not Standing.HOLDS:
            pytest.xfail(sentence(self.found))
