from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfgate.comparison import outcome
from perfgate.metrics import CATALOGUE
from perfgate.terms import DEFAULT_POLICIES
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.waivers import LONGEST_DAYS, Waiver, WaiverError, apply_waivers, load_waivers

TODAY = date(2026, 7, 1)
LATER = date(2026, 12, 1)
DEVICE = "sm_90/h200-141gb"
ASKED = {("e-chat", "itl_p50"), ("e-chat", "ttft_p50"), ("f-chat", "itl_p50")}
WAIVER = Waiver("e-*", "itl_*", "known driver bug", LATER)


def _verdict(
    verdict: Verdict = Verdict.REGRESSED, case: str = "e-chat", metric: str = "itl_p50", change: float | None = 0.08
) -> MetricVerdict:
    known = CATALOGUE[metric]
    return MetricVerdict(
        case, metric, verdict, "the reason", known.unit, known.better, 0.02, 0.05, change=change, low=0.05, high=0.11
    )


def _applied(waiver: Waiver, *verdicts: MetricVerdict, today: date = TODAY) -> tuple[list[str | None], list[str]]:
    marked, notes = apply_waivers(verdicts, [waiver], ASKED, DEVICE, today)
    assert [one.verdict for one in marked] == [one.verdict for one in verdicts]
    return [one.waived for one in marked], list(notes)


# ------------------------------------------------------------------ what is waived


def test_a_waived_regression_stays_one_and_says_until_when_and_why() -> None:
    (marked,), notes = apply_waivers([_verdict()], [WAIVER], ASKED, DEVICE, TODAY)

    assert marked.verdict is Verdict.REGRESSED
    assert marked.waived == "waived until 2026-12-01: known driver bug"
    assert marked.sentence.startswith("8.0 % worse")
    assert marked.sentence.endswith("the reason; waived until 2026-12-01: known driver bug")
    assert notes == ()


@pytest.mark.parametrize(
    ("waiver", "verdict"),
    [
        (WAIVER, _verdict(case="f-chat")),
        (WAIVER, _verdict(metric="ttft_p50")),
        (WAIVER, _verdict(Verdict.INCONCLUSIVE)),
        (Waiver("*", "*", "why", LATER, up_to=0.05), _verdict(change=0.08)),
        (Waiver("*", "*", "why", LATER, up_to=0.05), _verdict(change=None)),
        (Waiver("*", "*", "why", LATER, device="sm_80/*"), _verdict()),
        (Waiver("*", "*", "why", LATER, verdicts=(Verdict.INCONCLUSIVE,)), _verdict()),
        (Waiver("*", "*", "why", TODAY), _verdict()),
    ],
    ids=["case", "metric", "verdict", "too large", "size unknown", "device", "other verdict", "expired"],
)
def test_what_a_waiver_does_not_cover_is_not_waived(waiver: Waiver, verdict: MetricVerdict) -> None:
    assert _applied(waiver, verdict)[0] == [None]


@pytest.mark.parametrize(
    ("waiver", "verdict"),
    [
        (Waiver("e-chat", "itl_p50", "why", LATER, up_to=0.10), _verdict(change=0.08)),
        (Waiver("*", "*", "why", LATER, device="sm_90/*"), _verdict()),
        (Waiver("*", "*", "why", LATER, verdicts=(Verdict.INCONCLUSIVE,)), _verdict(Verdict.INCONCLUSIVE)),
        (Waiver("*", "*", "why", TODAY + timedelta(days=1)), _verdict()),
    ],
    ids=["small enough", "device", "inconclusive", "last day"],
)
def test_what_it_covers_is_waived(waiver: Waiver, verdict: MetricVerdict) -> None:
    assert _applied(waiver, verdict)[0] == [f"waived until {waiver.expires}: why"]


@given(st.sampled_from([Verdict.INVALID, Verdict.NO_BASELINE, Verdict.OK, Verdict.IMPROVED]))
def test_nothing_measured_is_never_waived(verdict: Verdict) -> None:
    both = Waiver("*", "*", "why", LATER, verdicts=(Verdict.REGRESSED, Verdict.INCONCLUSIVE))

    assert _applied(both, _verdict(verdict))[0] == [None]


def test_of_several_waivers_the_longest_tells() -> None:
    other = Waiver("*", "*", "the other", date(2026, 8, 1))

    (marked,), _ = apply_waivers([_verdict()], [other, WAIVER], ASKED, DEVICE, TODAY)

    assert marked.waived == "waived until 2026-12-01: known driver bug"


# ------------------------------------------------------------------ what is told


def test_an_expired_waiver_is_told_with_what_it_no_longer_covers() -> None:
    expired = Waiver("e-*", "*", "known bug", date(2026, 6, 30))

    assert _applied(expired, _verdict())[1] == [
        "the waiver of e-* * expired on 2026-06-30 and waives nothing: e-chat itl_p50 counts again (known bug)"
    ]
    assert _applied(expired, _verdict(Verdict.OK))[1] == [
        "the waiver of e-* * expired on 2026-06-30 and waives nothing: delete it"
    ]


def test_a_waiver_of_what_the_suite_does_not_gate_is_unused() -> None:
    assert _applied(Waiver("g-*", "*", "why", LATER), _verdict())[1] == [
        "unused waiver of g-* *: the suite gates no such case and metric; delete it"
    ]


def test_a_waiver_of_what_is_ok_is_unused() -> None:
    assert _applied(WAIVER, _verdict(Verdict.OK))[1] == [
        "unused waiver of e-* itl_*: all that it covers is ok; delete it"
    ]


def test_a_waiver_that_is_exceeded_says_so() -> None:
    (note,) = _applied(Waiver("e-*", "*", "why", LATER, up_to=0.05), _verdict(change=0.08))[1]

    assert note.startswith("the waiver of e-* * ends at 5.0 %: e-chat itl_p50 is 8.0 % worse")


@pytest.mark.parametrize("waiver", [WAIVER, Waiver("g-*", "*", "why", LATER, device="sm_80/*")])
def test_a_waiver_of_what_was_not_selected_or_of_another_device_is_left_in_peace(waiver: Waiver) -> None:
    assert _applied(waiver, _verdict(Verdict.OK, case="f-chat"))[1] == []


# ------------------------------------------------------------------ outcomes


@pytest.mark.parametrize("policy", ["ci", "local"])
def test_a_case_of_which_all_that_is_red_is_waived_is_waived(policy: str) -> None:
    marked, _ = apply_waivers([_verdict(), _verdict(Verdict.OK, metric="ttft_p50")], [WAIVER], ASKED, DEVICE, TODAY)

    assert outcome(marked, DEFAULT_POLICIES[policy]) == "waived"
    assert outcome(marked[:1], DEFAULT_POLICIES[policy]) == "waived"


@pytest.mark.parametrize(
    ("other", "expected"),
    [(Verdict.REGRESSED, "failed"), (Verdict.INCONCLUSIVE, "warned"), (Verdict.INVALID, "failed")],
)
def test_what_is_not_waived_still_counts(other: Verdict, expected: str) -> None:
    marked, _ = apply_waivers([_verdict(), _verdict(other, metric="ttft_p50")], [WAIVER], ASKED, DEVICE, TODAY)

    assert outcome(marked, DEFAULT_POLICIES["local"]) == expected


# ------------------------------------------------------------------ the file

KEYS = ("case", "device", "expires", "metric", "reason", "up_to", "verdict")
GOOD = """
# known trouble
- case: fp8-*
  metric: itl_*
  reason: driver 570.1
    throttles
  expires: 2026-12-01
- {case: "*", metric: load_s, reason: slow disk, expires: "2026-08-01", device: "sm_90/*", up_to: 15%,
   verdict: [regressed, inconclusive]}
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    assert load_waivers(_file(tmp_path, GOOD), tmp_path, today=TODAY) == (
        Waiver("fp8-*", "itl_*", "driver 570.1 throttles", LATER),
        Waiver(
            "*", "load_s", "slow disk", date(2026, 8, 1), "sm_90/*", 0.15, (Verdict.REGRESSED, Verdict.INCONCLUSIVE)
        ),
    )


def test_the_default_file_lies_among_the_baselines_and_may_be_absent(tmp_path: Path) -> None:
    assert load_waivers(None, tmp_path, today=TODAY) == ()

    _file(tmp_path, GOOD)

    assert len(load_waivers(None, tmp_path, today=TODAY)) == 2


@pytest.mark.parametrize("text", ["", "\n", "# none left\n", "[]\n"])
def test_a_file_without_waivers_is_none(tmp_path: Path, text: str) -> None:
    assert load_waivers(_file(tmp_path, text), tmp_path, today=TODAY) == ()


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        "- case: a\n  metric: b\n  expires: 2027-06-01\n- cse: a\n  metric: b\n  reason: ''\n  expires: soon\n"
        "  verdict: invalid\n  up_to: a bit\n",
    )

    with pytest.raises(WaiverError) as caught:
        load_waivers(path, tmp_path, today=TODAY)

    told = str(caught.value).splitlines()
    assert told[0] == f"the waivers in {path} have 8 faults:"
    assert told[1:] == [
        f"  {path}:3 [0].expires: 2027-06-01 is more than 180 days ahead; at most 2026-12-28",
        f"  {path}:1 [0]: the key 'reason' is missing",
        f"  {path}:4 [1].cse: unknown key; allowed: {', '.join(KEYS)}; did you mean 'case'?",
        f"  {path}:6 [1].reason: found '', expected a text",
        f"  {path}:7 [1].expires: found 'soon', expected a date such as 2026-12-28",
        f"  {path}:8 [1].verdict[0]: found 'invalid', allowed: regressed, inconclusive",
        f"  {path}:9 [1].up_to: found 'a bit', expected a share such as 5% or 0.05 (0 to 1000%)",
        f"  {path}:4 [1]: the key 'case' is missing",
    ]


@given(days=st.integers(-1000, 1000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_expiry_is_at_most_half_a_year_ahead(tmp_path: Path, days: int) -> None:
    path = _file(tmp_path, f"- {{case: a, metric: b, reason: c, expires: {TODAY + timedelta(days=days)}}}\n")

    if days > LONGEST_DAYS:
        with pytest.raises(WaiverError, match="more than 180 days ahead"):
            load_waivers(path, tmp_path, today=TODAY)
    else:
        assert load_waivers(path, tmp_path, today=TODAY)[0].is_expired(TODAY) is (days <= 0)


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_file_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_bytes(b"- case: a\n" + data)

    with pytest.raises(WaiverError, match="the waivers in"):
        load_waivers(path, tmp_path, today=TODAY)


def _file(folder: Path, text: str) -> Path:
    path = folder / "waivers.yaml"
    path.write_text(text)
    return path
