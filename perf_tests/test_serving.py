"""Loads on servers: TTFT, TPOT, ITL, E2EL, throughput, goodput."""

import pytest

from perfgate.pytest_verdicts import Judged


@pytest.mark.perfgate("serving")
def test_serving(perfgate_verdict: Judged) -> None:
    perfgate_verdict.assert_ok()
