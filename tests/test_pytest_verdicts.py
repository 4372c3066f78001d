"""What tests see of a judged case; pytester shows the rest (test_plugin.py)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "report"))

from examples import every_verdict

from perfgate.comparison import CaseVerdict
from perfgate.pytest_verdicts import Judged, settle
from perfgate.report.page import NARROWEST
from perfgate.terms import DEFAULT_POLICIES


class _Subtests:
    """As pytest's: a failure inside one is kept and the test goes on."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    @contextmanager
    def test(self, msg: str) -> Iterator[None]:
        self.outcomes[msg] = "passed"
        try:
            yield
        except pytest.fail.Exception:
            self.outcomes[msg] = "failed"
        except pytest.skip.Exception:
            self.outcomes[msg] = "skipped"


def _case(name: str) -> CaseVerdict:
    return next(one for one in every_verdict() if one.case.id == name)


@pytest.mark.parametrize(
    ("name", "policy", "outcomes"),
    [
        ("int8-chat", "local", {"ttft_p50": "failed", "tpot_p50": "passed", "itl_p50": "passed"}),
        ("int4-chat", "local", {"ttft_p50": "skipped", "tpot_p50": "passed"}),
        ("int4-chat", "ci", {"ttft_p50": "failed", "tpot_p50": "passed"}),
    ],
)
def test_every_metric_is_a_subtest_with_its_own_outcome(name: str, policy: str, outcomes: dict[str, str]) -> None:
    subtests = _Subtests()

    with pytest.raises(pytest.fail.Exception):
        Judged(_case(name), DEFAULT_POLICIES[policy], 120, subtests).assert_ok()

    assert subtests.outcomes == outcomes


def test_a_failing_tests_message_has_the_metrics_in_a_table_and_why() -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        Judged(_case("int8-chat"), DEFAULT_POLICIES["ci"], 120).assert_ok()

    first, why, _, *table = str(failed.value).splitlines()
    assert first == "int8-chat: regressed"
    assert why.startswith("  ttft_p50: regressed, 24.8 % worse (99 % interval +19.2 % to +30.9 %); ")
    assert [line.split()[1] for line in table] == ["metric", "ttft_p50", "tpot_p50", "itl_p50"]


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_failing_tests_message_breaks_between_words(columns: int) -> None:
    wide, narrow = (Judged(_case("int8-chat"), DEFAULT_POLICIES["ci"], size).message for size in (160, columns))

    assert max(map(len, narrow.splitlines())) <= max(columns, NARROWEST)
    assert narrow.splitlines()[0] == wide.splitlines()[0] == "int8-chat: regressed"
    assert set(wide.splitlines()[1].split()) <= set(narrow.split())


def test_properties_say_figures_interval_and_reason() -> None:
    name, value = Judged(_case("int8-chat"), DEFAULT_POLICIES["ci"], 120).properties[0]

    assert name == "perfgate_ttft_p50"
    assert str(value).startswith(
        "regressed: 12.48 ms against 10.00 ms; 24.8 % worse (99 % interval +19.2 % to +30.9 %)"
    )


def test_what_was_only_recorded_skips_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="recorded, nothing judged yet"):
        settle(_case("int4-chat"))
