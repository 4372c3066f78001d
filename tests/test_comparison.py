"""What a case comes to under each policy; a case of which nothing was measured always fails."""

import pytest

from perfgate.boundness import Bound
from perfgate.comparison import CaseVerdict, _waits, outcome
from perfgate.metrics import Better
from perfgate.record import CaseInfo, CaseRound, Environment, Round, Run, Side
from perfgate.terms import DEFAULT_POLICIES, Action, Policy
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


def _run(*shares: float) -> Run:
    """Rounds that tell these shares of a step in which the device worked."""
    rounds = [
        Round("e", Side.CANDIDATE, index, "", 1.0, (CaseRound("c", {"device_busy_share": share}),))
        for index, share in enumerate(shares)
    ]
    return Run("s", "", Environment("sm_90/h200-141gb", "", {}, ""), (INFO,), (), tuple(rounds))


INFO = CaseInfo("c", "e", "latency", "00")


def test_a_case_is_bound_by_what_its_median_round_waits_for() -> None:
    host, gpu = _waits(_run(0.3, 0.35, 0.95), INFO), _waits(_run(0.99), INFO)

    assert host
    assert gpu
    assert (host.bound, gpu.bound) == (Bound.HOST, Bound.GPU)
    assert _waits(_run(), INFO) is None


def test_a_failing_case_says_that_it_waits_for_the_host() -> None:
    metrics = tuple(_metrics(Verdict.REGRESSED))

    lines = CaseVerdict(INFO, Verdict.REGRESSED, "failed", metrics, _waits(_run(0.35), INFO)).lines

    assert lines[-1] == ("  waits for the host: the GPU worked 35 % of the time and waited for the host otherwise")
