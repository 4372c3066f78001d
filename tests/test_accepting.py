from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.accepting import LEAST_ROUNDS, Proposal, Request, accept, propose, record_missing
from perfgate.baselines import Baseline, baseline_path, load_baseline, save_baseline
from perfgate.errors import BaselineError
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, PreparedInfo, Round, Run, Side
from perfgate.terms import Gate, Noise
from perfgate.verdict import MetricVerdict, Verdict

DEVICE = "cpu/x86_64-avx2"
GATE = Gate((CATALOGUE["ttft_p50"], CATALOGUE["output_tokens"], CATALOGUE["perplexity"]), Noise(0.02, 0.02, 0.03))
SCORES = {f"d{i}": DocumentScore(20.0 + i, 10, 40) for i in range(4)}
CASES = (CaseInfo("e-chat", "e", "latency", "00ff"), CaseInfo("e-text", "e", "perplexity", "00ee"))
STEADY = (0.0200, 0.0201, 0.0199, 0.0202, 0.0200)


def _run(day: int = 14, values: Sequence[float] = STEADY, *, key: str = "k1", commit: str = "0b1c2d3") -> Run:
    """A run of one engine whose rounds gave these TTFTs; the text is scored in the first round."""
    rounds = tuple(
        Round("e", Side.CANDIDATE, i, "", 1.0, (
            CaseRound("e-chat", {"ttft_p50": value, "output_tokens": 64.0}),
            *([CaseRound("e-text", {"perplexity": 28.0}, documents=SCORES)] if i == 0 else []),
        ))
        for i, value in enumerate(values)
    )  # fmt: skip
    return Run(
        "small",
        f"2026-01-{day}T08:00:00+00:00",
        Environment(DEVICE, "A CPU", {"fake": "1.0"}, commit),
        CASES,
        (PreparedInfo("e", key, False, {}, 10, {}),),
        rounds,
    )


RUN = _run()
PLANTED = replace(RUN, environment=replace(RUN.environment, inject={"decode": 1.25}))
FIRST = Request("first run")


def test_an_accepted_run_is_the_baseline(tmp_path: Path) -> None:
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    said, _ = accept([RUN], verdicts, tmp_path, FIRST, GATE)

    stored = _stored(tmp_path)
    assert said == f"accepted this run as the baseline in {tmp_path}/{DEVICE}/small.json: review and commit it"
    assert set(stored.cases) == {"e-chat", "e-text"}
    assert stored.cases["e-chat"].metrics["ttft_p50"].sessions == (STEADY,)
    assert stored.provenance.reason == "first run"
    assert stored.provenance.product == "A CPU"
    assert stored.provenance.versions == {"fake": "1.0"}
    assert stored.provenance.commit == "0b1c2d3"
    assert stored.provenance.expires is None


def test_another_run_of_the_engine_adds_a_session_and_the_history(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)

    accept([_run(15)], [], tmp_path, Request("another day"), GATE)

    stored = _stored(tmp_path)
    assert stored.cases["e-chat"].metrics["ttft_p50"].sessions == (STEADY, STEADY)
    assert stored.cases["e-chat"].runs == (RUN.started, _run(15).started)
    assert stored.provenance.reason == "another day"
    assert [one.reason for one in stored.provenance.history] == ["first run"]


def test_a_lucky_run_of_an_unchanged_engine_does_not_become_the_level(tmp_path: Path) -> None:
    accept([_run(13)], [], tmp_path, FIRST, GATE)
    accept([_run(14)], [], tmp_path, FIRST, GATE)
    lucky = _run(15, [value * 0.8 for value in STEADY])

    accept([lucky], [_verdict("e-chat", "ttft_p50", Verdict.IMPROVED)], tmp_path, Request("faster!"), GATE)

    sessions = _stored(tmp_path).cases["e-chat"].metrics["ttft_p50"].sessions
    assert len(sessions) == 3
    assert sorted(value for session in sessions for value in session)[7] == pytest.approx(0.0200, rel=0.01)


def test_another_engine_is_its_own_level(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    faster = _run(15, [value * 0.8 for value in STEADY], key="k2")

    accept([faster], [_verdict("e-chat", "ttft_p50", Verdict.IMPROVED)], tmp_path, Request("new kernels"), GATE)

    assert _stored(tmp_path).cases["e-chat"].metrics["ttft_p50"].sessions == (tuple(v * 0.8 for v in STEADY),)


@pytest.mark.parametrize("count", [1, LEAST_ROUNDS - 1])
def test_too_few_rounds_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(BaselineError, match=f"e-chat has {count} valid rounds? .* a baseline needs 4"):
        accept([_run(values=STEADY[:count])], [], tmp_path, FIRST, GATE)

    assert list(tmp_path.iterdir()) == []


def test_four_rounds_are_enough(tmp_path: Path) -> None:
    accept([_run(values=STEADY[:4])], [], tmp_path, FIRST, GATE)

    assert _stored(tmp_path).cases["e-chat"].metrics["ttft_p50"].sessions == (STEADY[:4],)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_an_empty_reason_is_refused(tmp_path: Path, reason: str) -> None:
    with pytest.raises(BaselineError, match="the reason is empty"):
        accept([RUN], [], tmp_path, Request(reason), GATE)


def test_a_run_that_disagrees_with_itself_is_refused_with_rounds_and_size(tmp_path: Path) -> None:
    two_levels = _run(values=[0.0200, 0.0260, 0.0201, 0.0261, 0.0199, 0.0259])

    with pytest.raises(
        BaselineError,
        match=r"disagrees with itself: e-chat ttft_p50: rounds 2, 4, 6 are 30\.0 % worse than 1, 3, 5; they alternate",
    ):
        accept([two_levels], [], tmp_path, FIRST, GATE)

    assert list(tmp_path.iterdir()) == []


def test_tokens_that_differ_between_rounds_are_refused(tmp_path: Path) -> None:
    odd = replace(RUN, rounds=(*RUN.rounds[:4], _with(RUN.rounds[4], {"ttft_p50": 0.02, "output_tokens": 60.0})))

    with pytest.raises(BaselineError, match="e-chat output_tokens"):
        accept([odd], [], tmp_path, FIRST, GATE)


@pytest.mark.parametrize("verdict", [Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE, Verdict.NO_BASELINE])
def test_a_known_change_of_speed_can_be_accepted(tmp_path: Path, verdict: Verdict) -> None:
    accept([RUN], [_verdict("e-chat", "ttft_p50", verdict)], tmp_path, Request("safer kernels"), GATE)

    assert "e-chat" in _stored(tmp_path).cases


def test_what_got_worse_stands_in_the_file_and_the_message(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    worse = replace(_verdict("e-chat", "ttft_p50", Verdict.REGRESSED), change=0.1)

    _, proposal = accept([_run(15, key="k2")], [worse], tmp_path, Request("safer kernels"), GATE)
    accept([_run(16, key="k2")], [], tmp_path, Request("one more day"), GATE)

    provenance = _stored(tmp_path).provenance
    assert proposal.notes == ("accepted although worse: e-chat ttft_p50 +10.0 %",)
    assert provenance.worse == ()
    assert [(one.reason, one.worse) for one in provenance.history] == [
        ("first run", ()),
        ("safer kernels", ("e-chat ttft_p50 +10.0 %",)),
    ]


def test_an_unchanged_engine_that_is_red_begins_anew_when_accepted(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    slower = tuple(value * 1.2 for value in STEADY)

    _, proposal = accept(
        [_run(15, slower)], [_verdict("e-chat", "ttft_p50", Verdict.REGRESSED)], tmp_path, Request("new driver"), GATE
    )

    assert _stored(tmp_path).cases["e-chat"].metrics["ttft_p50"].sessions == (slower,)
    assert "the engine of e-chat is unchanged, yet red" in proposal.notes[0]


@pytest.mark.parametrize(
    ("metric", "verdict"),
    [
        ("ttft_p50", Verdict.INVALID),
        ("perplexity", Verdict.INVALID),
        ("perplexity", Verdict.REGRESSED),
        ("perplexity", Verdict.INCONCLUSIVE),
        ("bits_per_byte", Verdict.REGRESSED),
    ],
)
def test_an_invalid_or_dumber_run_is_refused(tmp_path: Path, metric: str, verdict: Verdict) -> None:
    verdicts = [_verdict("e-chat", "tpot_p50", Verdict.OK), _verdict("e-text", metric, verdict)]

    with pytest.raises(BaselineError, match=f"not accepted: e-text {metric} is {verdict}: the reason"):
        accept([RUN], verdicts, tmp_path, Request("please"), GATE)

    assert list(tmp_path.iterdir()) == []


def test_a_refused_run_leaves_the_baseline_as_it_was(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    before = baseline_path(tmp_path, DEVICE, "small").read_bytes()

    with pytest.raises(BaselineError):
        accept([_run(15)], [_verdict("e-text", "perplexity", Verdict.REGRESSED)], tmp_path, FIRST, GATE)

    assert baseline_path(tmp_path, DEVICE, "small").read_bytes() == before


def test_a_run_is_not_accepted_twice(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)

    with pytest.raises(BaselineError, match=f"the run of {RUN.started.replace('+', '.')} is in the baseline already"):
        accept([RUN], [], tmp_path, Request("again"), GATE)


def test_a_planted_regression_is_never_accepted(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="can never be a baseline"):
        accept([PLANTED], [_verdict("e-chat", "ttft_p50", Verdict.OK)], tmp_path, FIRST, GATE)

    assert list(tmp_path.iterdir()) == []


def test_a_run_without_valid_rounds_is_not_accepted(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="no valid round"):
        accept([replace(RUN, rounds=())], [], tmp_path, FIRST, GATE)

    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ several runs


def test_several_runs_become_sessions_in_order_of_time() -> None:
    slow = tuple(value * 1.01 for value in STEADY)

    proposal = _propose([_run(15, slow), _run(14)])

    assert proposal.after.cases["e-chat"].metrics["ttft_p50"].sessions == (STEADY, slow)
    assert proposal.after.provenance.commit == "0b1c2d3"


def test_runs_of_different_engines_are_not_accepted_together() -> None:
    with pytest.raises(BaselineError, match="e-chat is another case or engine in the run of 2026-01-15"):
        _propose([RUN, _run(15, key="k2")])


def test_runs_of_different_devices_are_not_accepted_together() -> None:
    other = replace(RUN, environment=replace(RUN.environment, device="cpu/other"))

    with pytest.raises(BaselineError, match="of different devices: 'cpu/x86_64-avx2' and 'cpu/other'"):
        _propose([RUN, other])


def test_other_runs_of_the_engine_and_commit_go_in_so_that_none_can_be_picked() -> None:
    slow, lucky = _run(13, [value * 1.1 for value in STEADY]), _run(14, [value * 0.9 for value in STEADY])

    proposal = _propose([lucky], known=[slow, lucky])

    assert proposal.after.cases["e-chat"].runs == (slow.started, lucky.started)
    assert "its rounds are in as well" in proposal.notes[0]


@pytest.mark.parametrize(
    "other",
    [
        _run(13, key="k2"),
        _run(13, commit="beefbee"),
        replace(_run(13), environment=replace(RUN.environment, versions={"fake": "0.9"})),
        replace(_run(13), environment=replace(RUN.environment, inject={"decode": 1.2})),
        replace(_run(13), rounds=()),
    ],
    ids=["engine", "commit", "version", "planted", "nothing valid"],
)
def test_runs_of_anything_else_stay_out(other: Run) -> None:
    assert _propose([RUN], known=[other]).after.cases["e-chat"].runs == (RUN.started,)


def test_a_dirty_commit_names_no_state_so_its_runs_stand_alone() -> None:
    dirty = [_run(day, commit="0b1c2d3-dirty") for day in (13, 14)]

    assert _propose(dirty[1:], known=dirty).after.cases["e-chat"].runs == (dirty[1].started,)


def test_a_known_run_that_disagrees_with_itself_stays_out_and_is_named() -> None:
    wild = _run(13, [0.0200, 0.0260, 0.0201, 0.0261, 0.0199, 0.0259])

    proposal = _propose([RUN], known=[wild])

    assert proposal.after.cases["e-chat"].runs == (RUN.started,)
    assert proposal.notes[0].startswith(f"the run of {wild.started} of the same engine is left out")


def test_leaving_known_runs_out_is_written_down() -> None:
    proposal = _propose([RUN], known=[_run(13)], request=Request("quiet night", alone=True))

    assert proposal.after.cases["e-chat"].runs == (RUN.started,)
    assert proposal.after.provenance.left_out == (_run(13).started,)


def test_a_run_that_was_left_out_once_is_not_taken_up_later() -> None:
    first = _propose([_run(14)], known=[_run(13)], request=Request("quiet night", alone=True))

    proposal = _propose([_run(15)], before=first.after, known=[_run(13), _run(14)])

    assert proposal.after.cases["e-chat"].runs == (_run(14).started, _run(15).started)


# ------------------------------------------------------------------ only new, expiry


def test_only_new_leaves_known_cases_byte_for_byte(tmp_path: Path) -> None:
    accept([replace(RUN, cases=CASES[:1])], [], tmp_path, FIRST, GATE)
    block = _block(tmp_path, "e-chat")
    invalid = _verdict("e-chat", "ttft_p50", Verdict.INVALID)

    accept([_run(15, [value * 2 for value in STEADY])], [invalid], tmp_path, Request("text", only_new=True), GATE)

    assert set(_stored(tmp_path).cases) == {"e-chat", "e-text"}
    assert _block(tmp_path, "e-chat") == block


def test_only_new_takes_a_case_whose_definition_changed() -> None:
    before = _propose([RUN]).after
    changed = replace(_run(15), cases=(replace(CASES[0], hash="beef"), CASES[1]))

    proposal = _propose([changed], before=before, request=Request("longer", only_new=True))

    assert proposal.after.cases["e-chat"].hash == "beef"
    assert proposal.after.cases["e-text"] == before.cases["e-text"]


def test_only_new_with_nothing_new_writes_nothing(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    before = baseline_path(tmp_path, DEVICE, "small").read_bytes()

    said, proposal = accept([_run(15)], [], tmp_path, Request("new ones", only_new=True), GATE)

    assert said.startswith("nothing to accept: every case of this run is in")
    assert not proposal.is_change
    assert baseline_path(tmp_path, DEVICE, "small").read_bytes() == before


def test_only_new_refuses_a_new_case_of_a_dumber_engine() -> None:
    before = _propose([replace(RUN, cases=CASES[1:])]).after

    with pytest.raises(BaselineError, match="e-text perplexity is regressed"):
        _propose(
            [_run(15)], before=before, request=Request("chat", only_new=True),
            verdicts=[_verdict("e-text", "perplexity", Verdict.REGRESSED)],
        )  # fmt: skip


def test_an_expiry_holds_until_all_cases_are_accepted_without_one() -> None:
    first = _propose([RUN], request=Request("first", expires="2999-01-01T00:00:00+00:00")).after

    part = _propose([replace(_run(15), cases=CASES[:1])], before=first).after
    whole = _propose([_run(16)], before=part).after

    assert part.provenance.expires == "2999-01-01T00:00:00+00:00"
    assert whole.provenance.expires is None


def test_an_expired_file_is_renewed_by_measuring_all_of_it(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    path, stored = baseline_path(tmp_path, DEVICE, "small"), _stored(tmp_path)
    expired = replace(stored.provenance, expires="2026-01-14T09:00:00+00:00")
    save_baseline(path, replace(stored, provenance=expired))

    with pytest.raises(BaselineError, match=r"expired on 2026-01-14T.* 1 of its cases were not measured"):
        accept([replace(_run(15), cases=CASES[:1])], [], tmp_path, Request("part"), GATE)
    accept([_run(15)], [], tmp_path, Request("all"), GATE)

    assert len(_stored(tmp_path).cases["e-chat"].runs) == 2


# ------------------------------------------------------------------ recording


def test_what_has_no_baseline_is_recorded(tmp_path: Path) -> None:
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    said = record_missing(RUN, verdicts, tmp_path, None)

    stored = _stored(tmp_path)
    assert said == [f"recorded 1 case in {tmp_path}/{DEVICE}/small.json, not judged against it yet: run again"]
    assert set(stored.cases) == {"e-chat"}
    assert stored.provenance.reason == "first run on this machine"


def test_recording_keeps_the_cases_that_are_known(tmp_path: Path) -> None:
    accept([replace(RUN, cases=RUN.cases[1:])], [], tmp_path, FIRST, GATE)
    before = _stored(tmp_path)

    record_missing(RUN, [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE)], tmp_path, before)

    stored = _stored(tmp_path)
    assert stored.cases["e-text"] == before.cases["e-text"]
    assert set(stored.cases) == {"e-chat", "e-text"}


def test_recording_adds_no_session_to_a_case_that_is_known(tmp_path: Path) -> None:
    accept([RUN], [], tmp_path, FIRST, GATE)
    before = _stored(tmp_path)
    verdicts = [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE), _verdict("e-text", "perplexity", Verdict.OK)]

    record_missing(_run(15), verdicts, tmp_path, before)

    assert _stored(tmp_path).cases["e-text"] == before.cases["e-text"]


def test_a_planted_regression_is_never_recorded(tmp_path: Path) -> None:
    said = record_missing(PLANTED, [_verdict("e-chat", "ttft_p50", Verdict.NO_BASELINE)], tmp_path, None)

    assert said == ["no baseline was recorded: a regression is planted in this run"]
    assert list(tmp_path.iterdir()) == []


def _propose(
    runs: Sequence[Run], *, before: Baseline | None = None, known: Sequence[Run] = (), request: Request = FIRST,
    verdicts: Sequence[MetricVerdict] = (),
) -> Proposal:  # fmt: skip
    return propose(runs, verdicts, before, request, GATE, known)


def _with(one: Round, values: dict[str, float]) -> Round:
    return replace(one, cases=(CaseRound("e-chat", values),))


def _verdict(case: str, metric: str, verdict: Verdict) -> MetricVerdict:
    known = CATALOGUE[metric]
    return MetricVerdict(case, metric, verdict, "the reason", known.unit, known.better, known.margin, known.detect)


def _block(root: Path, case: str) -> str:
    """The lines of a case in the file."""
    text = baseline_path(root, DEVICE, "small").read_text()
    begin = text.index(f'  "{case}": {{')
    block = text[begin : text.index("\n  }", begin)]
    assert json.loads(text)["cases"][case]
    return block


def _stored(root: Path) -> Baseline:
    return load_baseline(baseline_path(root, DEVICE, "small"), DEVICE, "small")
