"""Preparing and loading: engine bytes, load time, peak memory, build time where it was built."""

import pytest

from perfgate.comparison import CaseVerdict


@pytest.mark.perfgate("build")
def test_build(perfgate_verdict: CaseVerdict) -> None:
    perfgate_verdict.assert_ok()
