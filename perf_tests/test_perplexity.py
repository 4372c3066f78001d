"""Quality: perplexity on held-out text, paired by document."""

import pytest

from perfgate.pytest_verdicts import Judged


@pytest.mark.perfgate("perplexity")
def test_perplexity(perfgate_verdict: Judged) -> None:
    perfgate_verdict.assert_ok()
