"""Generation under a closed loop: TTFT, TPOT, throughput, CPU time per token."""

import pytest

from perfgate.comparison import CaseVerdict


@pytest.mark.perfgate("latency")
def test_latency(perfgate_verdict: CaseVerdict) -> None:
    perfgate_verdict.assert_ok()
