"""The loss against a reference: within, exceeded, undecided, broken; and what it does to speed and to baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.accepting import Request, accept, record_missing
from perfgate.baselines import Baseline, BaselineCase, Provenance, baseline_path
from perfgate.comparison import compare
from perfgate.errors import BaselineError
from perfgate.judge import judge
from perfgate.metrics import CATALOGUE, LOSS
from perfgate.quality import Standing, failed_quality, quality_lines, without_bought
from perfgate.quality_suite import Reference
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, PreparedInfo, Round, Run, Side
from perfgate.suite import Suite
from perfgate.terms import DEFAULT_POLICIES, Gate, Noise
from perfgate.verdict import MetricVerdict, Verdict
from perfgate.waivers import Waiver

DEVICE = "cpu/x"
CASES = (
    CaseInfo("fp32-text", "fp32", "perplexity", "h1"),
    CaseInfo("int4-text", "int4", "perplexity", "h2"),
    CaseInfo("int4-b1", "int4", "latency", "h3"),
)
NLL = [1.2, 1.9, 1.5, 2.2, 1.7, 1.4, 1.6, 2.0, 1.8, 1.3]
WOBBLE = [0.001, -0.002, 0.003, 0.0, -0.001, 0.002, -0.003, 0.001, 0.0, -0.001]


def _gate(allowed: float = 0.03, metrics: Sequence[str] = ("perplexity", "tpot_p50")) -> Gate:
    reference = Reference("int4-text", "int4", "fp32-text", "fp32", "h1", allowed)
    return Gate(tuple(CATALOGUE[name] for name in metrics), Noise(0.02, 0.005, 0.02), references=(reference,))


def _scores(loss: float = 0.0, wobble: float = 1.0) -> dict[str, DocumentScore]:
    pairs = zip(NLL, WOBBLE, strict=True)
    extra = 0.0 if loss == 0.0 else wobble
    return {f"d{i}": DocumentScore((nll + loss + extra * w) * 500, 500, 1500) for i, (nll, w) in enumerate(pairs)}


def _run(
    loss: float,
    *,
    wobble: float = 1.0,
    cases: Sequence[CaseInfo] = CASES,
    broken: tuple[str, ...] = (),
    speed: float = 1.0,
) -> Run:
    text = CaseRound("int4-text", {}, broken=broken) if broken else None
    text = text or CaseRound("int4-text", {"perplexity": 5.0}, documents=_scores(loss, wobble))
    fp32 = CaseRound("fp32-text", {"perplexity": 5.0}, documents=_scores())
    latency = [CaseRound("int4-b1", {"tpot_p50": value * speed}) for value in (1.0, 1.01, 0.99, 1.0, 1.005, 0.995)]
    rounds = [
        Round("fp32", Side.CANDIDATE, 0, "", 1.0, (fp32,)),
        *(
            Round("int4", Side.CANDIDATE, 1 + i, "", 1.0, (one, *([text] if i == 0 else [])))
            for i, one in enumerate(latency)
        ),
    ]
    asked = {case.engine for case in cases}
    prepared = tuple(PreparedInfo(name, f"key-{name}", True, {}, 1, {}) for name in sorted(asked))
    kept = tuple(one for one in rounds if one.engine in asked)
    return Run("s", "2026-02-01T00:00:00+00:00", Environment(DEVICE, "a CPU", {}, ""), tuple(cases), prepared, kept)


def _baseline(run: Run) -> Baseline:
    from perfgate.baselines import accepted_cases

    return Baseline("s", DEVICE, Provenance("2026", "test", "a CPU", {}, ""), accepted_cases(run))


def _loss(run: Run, gate: Gate | None = None, baseline: Baseline | None = None) -> MetricVerdict:
    return next(one for one in judge(run, baseline, gate or _gate()) if one.metric == LOSS)


@pytest.mark.parametrize(
    ("loss", "verdict", "word"),
    [
        (0.01, Verdict.OK, "within"),
        (0.06, Verdict.REGRESSED, "exceeds"),
        (math.log(1.03), Verdict.INCONCLUSIVE, "too close"),
    ],
)
def test_a_loss_is_judged_by_what_is_allowed(loss: float, verdict: Verdict, word: str) -> None:
    one = _loss(_run(loss))

    assert (one.case, one.verdict) == ("int4-text", verdict)
    assert one.reason.startswith(f"{word}")
    assert "the allowed 3.0 % loss against fp32, paired over 10 documents" in one.reason
    assert one.change == pytest.approx(math.expm1(loss), abs=1e-3)
    assert one.margin == 0.03


def test_an_undecided_loss_says_how_many_documents_would_decide() -> None:
    one = _loss(_run(0.022, wobble=8.0))

    assert one.verdict is Verdict.INCONCLUSIVE
    assert one.more_documents is not None
    assert 0 < one.more_documents < 1000
    assert not one.wants_rounds


def test_a_better_engine_than_the_reference_is_within() -> None:
    assert _loss(_run(-0.10)).verdict is Verdict.OK


def test_the_reference_itself_is_not_judged_against_itself() -> None:
    assert [one.case for one in judge(_run(0.0), None, _gate()) if one.metric == LOSS] == ["int4-text"]


def test_a_reference_left_out_of_the_run_is_its_accepted_scores() -> None:
    alone = _run(0.06, cases=CASES[1:])

    one = _loss(alone, baseline=_baseline(_run(0.01)))

    assert one.verdict is Verdict.REGRESSED
    assert "against the accepted scores of fp32" in one.reason


def test_without_any_score_of_the_reference_nothing_is_judged() -> None:
    alone = _run(0.06, cases=CASES[1:])

    assert [one for one in judge(alone, None, _gate()) if one.metric == LOSS] == []
    assert quality_lines(alone, _gate().references, ())[0].standing is Standing.UNJUDGED


def test_accepted_scores_of_another_text_do_not_stand_in() -> None:
    alone = _run(0.06, cases=CASES[1:])
    other = _baseline(_run(0.01))
    changed = replace(other, cases={**other.cases, "fp32-text": replace(other.cases["fp32-text"], hash="other")})

    assert [one for one in judge(alone, changed, _gate()) if one.metric == LOSS] == []


def test_a_skipped_reference_is_invalid_and_says_why() -> None:
    skipped = (replace(CASES[0], skip="fp8 needs a GPU"), *CASES[1:])

    one = _loss(_run(0.01, cases=skipped))

    assert (one.verdict, one.reason) == (Verdict.INVALID, "its reference was skipped: fp8 needs a GPU")


def test_a_reference_that_failed_is_invalid() -> None:
    run = _run(0.01)

    one = _loss(replace(run, rounds=run.rounds[1:]))

    assert one.verdict is Verdict.INVALID
    assert "no round of the reference fp32 scored the text" in one.reason


def test_broken_output_is_the_gravest_verdict_of_each_metric() -> None:
    found = judge(_run(0.0, broken=("document 'd1' scored nan",)), None, _gate())

    mine = [one for one in found if one.case == "int4-text"]
    assert {(one.metric, one.verdict) for one in mine} == {("perplexity", Verdict.BROKEN), (LOSS, Verdict.BROKEN)}
    assert {one.reason for one in mine} == {"document 'd1' scored nan"}


# ------------------------------------------------------------------ one transaction


def _compared(run: Run, baseline: Baseline, waivers: Sequence[Waiver] = ()) -> tuple[Verdict, str]:
    suite = Suite("s", Path("s.yaml"), (), _gate(metrics=("tpot_p50",)), tuple(DEFAULT_POLICIES.items()))
    judged = compare(run, suite, (Path("b"), baseline), "ci", waivers=waivers)
    case = next(one for one in judged.cases if one.case.id == "int4-b1")
    return case.verdict, " ".join(judged.notes)


def test_a_faster_engine_that_is_as_good_has_won() -> None:
    verdict, notes = _compared(_run(0.01, speed=0.5), _baseline(_run(0.01)))

    assert verdict is Verdict.IMPROVED
    assert "dumber" not in notes


def test_an_engine_that_got_faster_by_getting_dumber_has_not_won() -> None:
    verdict, notes = _compared(_run(0.06, speed=0.5), _baseline(_run(0.01)))

    assert verdict is Verdict.OK
    assert "int4 got better and dumber at once: int4-b1 tpot_p50" in notes


def test_a_waived_loss_takes_no_win() -> None:
    from datetime import date

    waiver = Waiver("int4-*", LOSS, "known", date(2999, 1, 1))

    verdict, _ = _compared(_run(0.06, speed=0.5), _baseline(_run(0.01)), [waiver])

    assert verdict is Verdict.IMPROVED


def test_only_the_engine_that_failed_loses_its_wins() -> None:
    good = MetricVerdict("fp32-b1", "tpot_p50", Verdict.IMPROVED, "", "s", CATALOGUE["tpot_p50"].better, 0.02, 0.05)
    bad = replace(good, case="int4-text", metric=LOSS, verdict=Verdict.REGRESSED)
    cases = (*CASES, CaseInfo("fp32-b1", "fp32", "latency", "h9"))

    kept, notes = without_bought([good, bad], cases)

    assert kept == (good, bad)
    assert notes == ()
    assert failed_quality([good, bad], cases) == {"int4": bad}


# ------------------------------------------------------------------ baselines


def test_no_baseline_is_accepted_from_an_engine_that_lost_too_much(tmp_path: Path) -> None:
    run = _run(0.06)
    verdicts = judge(run, None, _gate())

    with pytest.raises(BaselineError, match=r"int4-text perplexity_loss is regressed: exceeds the allowed 3\.0 %"):
        accept([run], verdicts, tmp_path, Request("fast"), _gate())

    assert list(tmp_path.iterdir()) == []


def test_broken_output_is_never_accepted(tmp_path: Path) -> None:
    run = _run(0.0, broken=("document 'd1' scored nan",))

    with pytest.raises(BaselineError, match="is broken: document 'd1' scored nan"):
        accept([run], judge(run, None, _gate()), tmp_path, Request("fast"), _gate())


def test_speed_alone_is_not_accepted_where_the_text_was_left_out(tmp_path: Path) -> None:
    run = _run(0.06, cases=CASES[2:])

    with pytest.raises(BaselineError, match="nothing tells what int4 lost against fp32: measure int4-text and"):
        accept([run], judge(run, None, _gate()), tmp_path, Request("fast"), _gate())


def test_speed_alone_is_accepted_of_an_engine_whose_text_is_accepted(tmp_path: Path) -> None:
    accept([_run(0.01)], judge(_run(0.01), None, _gate()), tmp_path, Request("first"), _gate())
    again = replace(_run(0.01, cases=CASES[2:]), started="2026-02-02T00:00:00+00:00")

    accept([again], judge(again, None, _gate()), tmp_path, Request("more"), _gate())

    assert baseline_path(tmp_path, DEVICE, "s").exists()


def test_a_first_run_records_nothing_of_an_engine_whose_quality_failed(tmp_path: Path) -> None:
    run = _run(0.06)

    said = record_missing(run, judge(run, None, _gate()), tmp_path, None)

    stored = baseline_path(tmp_path, DEVICE, "s").read_text()
    assert said[0].startswith("nothing of int4 was recorded: int4-text perplexity_loss is regressed")
    assert '"fp32-text"' in stored
    assert '"int4' not in stored


def test_a_stored_case_keeps_documents_for_the_loss() -> None:
    case = _baseline(_run(0.01)).cases["fp32-text"]

    assert isinstance(case, BaselineCase)
    assert len(case.documents) == 10
