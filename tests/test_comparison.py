"""What a case comes to under each policy; a case of which nothing was measured always fails."""

import pytest

from perfgate.comparison import outcome
from perfgate.metrics import Better
from perfgate.suite import DEFAULT_POLICIES, Action, Policy
from perfgate.verdict import MetricVerdict, Verdict

CI, LOCAL = DEFAULT_POLICIES["ci"], DEFAULT_POLICIES["local"]
RECORD = Policy(Action.WARN, Action.WARN, Action.RECORD)


def _metrics(*verdicts: Verdict) -> list[MetricVerdict]:
    return [MetricVerdict("c", f"m{i}", one, "", "s", Better.LOWER, 0.02, 0.05) for i, one in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "policy", "expected"),
    [
        ([Verdict.OK, Verdict.IMPROVED], CI, "passed"),
        ([Verdict.OK, Verdict.REGRESSED], LOCAL, "failed"),
        ([Verdict.OK, Verdict.INCONCLUSIVE], CI, "failed"),
        ([Verdict.OK, Verdict.INCONCLUSIVE], LOCAL, "warned"),
        ([Verdict.OK, Verdict.INVALID], CI, "failed"),
        ([Verdict.OK, Verdict.INVALID], LOCAL, "warned"),
        ([Verdict.INVALID, Verdict.INVALID], LOCAL, "failed"),
        ([Verdict.NO_BASELINE], CI, "failed"),
        ([Verdict.NO_BASELINE], LOCAL, "warned"),
        ([Verdict.NO_BASELINE], RECORD, "recorded"),
        ([Verdict.NO_BASELINE, Verdict.INVALID], RECORD, "warned"),
        ([], LOCAL, "failed"),
        ([], CI, "failed"),
    ],
)
def test_policy_decides_what_undecided_means(verdicts: list[Verdict], policy: Policy, expected: str) -> None:
    assert outcome(_metrics(*verdicts), policy) == expected
