from __future__ import annotations

from dataclasses import replace

import pytest
from test_load_figures import failed, record

from perfgate.load.figures import Figures, figures
from perfgate.load.selfwatch import SelfWatch, self_watch
from perfgate.load.validity import Bounds, why_invalid

STEADY = [record(at, sent_ms=76 * (at // 2)) for at in range(200)]
CALM = self_watch(STEADY, [], [], 2)


def reasons(found: Figures, watch: SelfWatch = CALM, gave_up: str = "") -> tuple[str, ...]:
    return why_invalid(found, watch, gave_up)


def test_a_run_that_reached_what_was_asked_is_valid() -> None:
    assert reasons(figures(STEADY, 2)) == ()


def test_more_failures_than_stated_make_it_invalid() -> None:
    few, many = [*STEADY[:-2], failed(198), failed(199)], [*STEADY[:-3], failed(197), failed(198), failed(199)]

    assert reasons(figures([replace(one, sent_ns=one.sent_ns) for one in few], 2)) == ()
    (reason,) = (one for one in reasons(figures(many, 2)) if "failed" in one)
    assert reason == "3 of 200 requests failed (3 reset), more than 1.0 %"
    assert not any("failed" in one for one in why_invalid(figures(many, 2), CALM, "", Bounds(failed_share=0.02)))


def test_nothing_counted_is_invalid() -> None:
    assert reasons(figures([], 2))


def test_a_run_that_was_given_up_is_invalid() -> None:
    assert reasons(figures(STEADY, 2), gave_up="it hung") == ("the run was given up: it hung",)


def test_a_client_that_was_the_limit_makes_it_invalid_and_says_what_it_holds() -> None:
    limited = replace(CALM, limits=("reads were late",), holds=600)

    (reason,) = reasons(figures(STEADY, 2), limited)

    assert reason.endswith("reads were late; it can hold about 600 streams on a core")


def test_a_concurrency_that_was_never_reached_is_told() -> None:
    assert reasons(figures(STEADY, 8)) == ("at most 2 requests were in flight, 8 were asked for",)


def test_a_concurrency_that_was_not_held_is_told() -> None:
    holes = [record(at, sent_ms=150 * (at // 2)) for at in range(40)]

    (reason,) = reasons(figures(holes, 2))

    assert "in flight on average, 2 were asked for" in reason


@pytest.mark.parametrize(("step_ms", "count"), [(10.0, 0), (10.5, 1)])
def test_a_rate_that_was_not_sent_is_told(step_ms: float, count: int) -> None:
    sent = [record(at, sent_ms=step_ms * at, due_ns=at * 10_000_000, is_scheduled=True) for at in range(100)]

    assert len(reasons(figures(sent, None))) == count
