"""Hooks that a conftest.py or a plugin may implement; they are pytest hooks like any other (docs/plugin.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perfgate.comparison import Comparison
    from perfgate.metrics import Metric
    from perfgate.record import CaseInfo, CaseRound, Run


@pytest.hookspec
def pytest_perfgate_metrics(config: pytest.Config) -> Sequence[Metric]:  # type: ignore[empty-body]
    """Metrics beside perfgate's own: a suite may gate them, `perfgate_gate.record` knows them by name.

    Those that a suite gates get their values from `pytest_perfgate_figures`.
    """


@pytest.hookspec
def pytest_perfgate_figures(config: pytest.Config, case: CaseInfo, measured: CaseRound) -> Mapping[str, float] | None:
    """Values of such metrics in one round of a case, by name, in the metric's unit; called as soon as it is measured.

    `measured.samples` has what the round's own values were made from, such as `ttft` per request in seconds.
    """


@pytest.hookspec
def pytest_perfgate_machine_info(config: pytest.Config, info: dict[str, str]) -> None:
    """Add what else is worth knowing of this machine, in place: kept in run.json, shown in the header."""


@pytest.hookspec
def pytest_perfgate_report(config: pytest.Config, run: Run, comparison: Comparison, out: Path) -> Sequence[Path] | None:
    """Write further reports of a judged run into `out`; returns their paths, for the closing lines."""
