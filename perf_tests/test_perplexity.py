"""Quality: perplexity on held-out text, paired by document."""

import pytest

from perfgate.comparison import CaseVerdict


@pytest.mark.perfgate("perplexity")
def test_perplexity(perfgate_verdict: CaseVerdict) -> None:
    perfgate_verdict.assert_ok()
