"""Generation under a closed loop: TTFT, TPOT, throughput, CPU time per token."""

import pytest

from perfgate.pytest_verdicts import Judged


@pytest.mark.perfgate("latency")
def test_latency(perfgate_verdict: Judged) -> None:
    perfgate_verdict.assert_ok()
