"""Rules of thumb of the field on this machine: fp8, int8, int4, in-flight batching, speculation and others.

Each is checked on two engines of the suite that differ in nothing else, with the measured factor and its interval over
rounds. They inform: a claim that does not hold here is an expected failure, unless the suite says `claims: gate`
(docs/claims.md).
"""

from perfgate.pytest_verdicts import Claimed


def test_claim(perfgate_claim: Claimed) -> None:
    perfgate_claim.assert_holds()
