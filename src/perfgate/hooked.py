"""perfgate's own hooks, called: what conftest.py files and plugins add to a run."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from perfgate.extras import Extras, checked
from perfgate.metrics import Metric
from perfgate.record import CaseInfo, CaseRound


def own_metrics(config: pytest.Config) -> tuple[Metric, ...]:
    """Metrics of the user's own.

    Raises:
        UsageError: every one that cannot be, with the reason.
    """
    found = config.hook.pytest_perfgate_metrics(config=config)
    return checked([metric for metrics in found for metric in metrics])


def machine_info(config: pytest.Config) -> Mapping[str, str]:
    """What hooks add to what is known of the machine."""
    info: dict[str, str] = {}
    config.hook.pytest_perfgate_machine_info(config=config, info=info)
    return {str(name): str(value) for name, value in info.items()}


def extras(config: pytest.Config) -> Extras:
    """All of it, for a gate."""

    def figures(case: CaseInfo, measured: CaseRound) -> Mapping[str, float]:
        found = config.hook.pytest_perfgate_figures(config=config, case=case, measured=measured)
        return {name: value for values in found for name, value in (values or {}).items()}

    return Extras(own_metrics(config), figures, machine_info(config))
