"""Engine against PyTorch: every backend's load results beside those of the suite's reference, at every concurrency.

The results lie in results/ENGINE/round_K/, the comparison in benchmark_comparison.png and benchmark_summary.txt
(docs/versus.md). Whether an engine got slower than its baseline is asked elsewhere.
"""

import pytest

from perfgate.pytest_verdicts import Beside


@pytest.mark.perfgate("backends")
def test_backends(perfgate_beside: Beside) -> None:
    perfgate_beside.assert_comparable()
