"""Build time against inference: one test for each configuration of the suite's sweep, none where it has no sweep.

A test passes where its configuration was built and measured; what it costs and gives lies in tradeoffs.html
(docs/sweeping.md).
"""

from perfgate.pytest_sweep import Tradeoff


def test_tradeoffs(perfgate_tradeoff: Tradeoff) -> None:
    perfgate_tradeoff.assert_measured()
