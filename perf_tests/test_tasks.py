"""Quality: accuracy on tasks of lm-evaluation-harness, where the suite has any."""

import pytest

from perfgate.pytest_verdicts import Judged


@pytest.mark.perfgate("tasks")
def test_tasks(perfgate_verdict: Judged) -> None:
    perfgate_verdict.assert_ok()
