from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

TODAY = datetime.now(UTC).date()
SOON, PAST, FAR = (str(TODAY + timedelta(days=days)) for days in (30, -1, 400))


def _run(pytester: pytest.Pytester, marker: str, body: str, *args: str) -> pytest.RunResult:
    pytester.makepyfile(f"import pytest\n@pytest.mark.perfgate_xfail({marker})\ndef test_it():\n    {body}\n")
    return pytester.runpytest("-p", "no:cacheprovider", "--strict-markers", *args)


def test_a_failure_is_expected_until_the_day(pytester: pytest.Pytester) -> None:
    run = _run(pytester, f"reason='issue 12', expires='{SOON}'", "assert False", "-rx")

    run.assert_outcomes(xfailed=1)
    run.stdout.fnmatch_lines([f"XFAIL *issue 12 (until {SOON})*"])


def test_an_expired_one_fails_as_the_test_does_and_says_so(pytester: pytest.Pytester) -> None:
    run = _run(pytester, f"reason='issue 12', expires='{PAST}'", "assert 1 == 2")

    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*assert 1 == 2*", f"*perfgate_xfail expired on {PAST}: issue 12*"])


def test_an_expired_one_fails_also_where_the_test_passes(pytester: pytest.Pytester) -> None:
    run = _run(pytester, f"reason='issue 12', expires='{PAST}'", "pass")

    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*the test passes: remove the marker*"])


def test_one_for_other_cases_changes_nothing(pytester: pytest.Pytester) -> None:
    _run(pytester, f"reason='x', expires='{PAST}', case='int4-*'", "pass").assert_outcomes(passed=1)


def test_every_marker_that_cannot_be_meant_is_told_at_once(pytester: pytest.Pytester) -> None:
    markers = ["", "reason='x', expires='soon'", f"reason='x', expires='{FAR}'", f"reason='x', day='{SOON}'"]
    tests = [f"@pytest.mark.perfgate_xfail({one})\ndef test_{i}(): pass\n" for i, one in enumerate(markers)]
    pytester.makepyfile("import pytest\n" + "".join(tests))

    run = pytester.runpytest("-p", "no:cacheprovider")

    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(
        [
            "*test_0: needs a reason and a day; expected @pytest.mark.perfgate_xfail(*",
            "*test_1: expires='soon': expected a date such as *",
            f"*test_2: expires={FAR} is more than 180 days ahead; at most *",
            "*test_3: has no day; expected *",
        ]
    )
