"""Preparing and loading: engine bytes, load time, peak memory, build time where it was built."""

import pytest

from perfgate.pytest_verdicts import Judged


@pytest.mark.perfgate("build")
def test_build(perfgate_verdict: Judged) -> None:
    perfgate_verdict.assert_ok()
