"""Verdicts: a table of what each kind of evidence leads to; nothing unmeasured is ok."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from perfgate.baselines import Baseline, BaselineCase, Provenance, Series
from perfgate.floats import Floats
from perfgate.judge import acquittable, judge
from perfgate.loads import hash_of_loads
from perfgate.metrics import CATALOGUE, Metric
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, Round, Run, Side
from perfgate.terms import Gate, Noise, Pairing
from perfgate.verdict import Cause, MetricVerdict, Verdict, worst

NOISE = Noise(round_sd=0.02, session_sd=0.005, pair_sd=0.02)
LATENCY = CaseInfo("fp32-b1", "fp32", "latency", "h1")
BUILD = CaseInfo("fp32-build", "fp32", "build", "h2")
TEXT = CaseInfo("fp32-text", "fp32", "perplexity", "h3")
TASKS = CaseInfo("fp32-qa", "fp32", "tasks", "h5")
SERVING = CaseInfo("fp32-c16", "fp32", "serving", "h4")
STEADY = (1.00, 1.01, 0.99, 1.0, 1.005)


def _gate(*names: str, **limits: float) -> Gate:
    return Gate(tuple(CATALOGUE[name].with_limits(limits.get("margin"), limits.get("detect")) for name in names), NOISE)


PAIRED = replace(_gate("tpot_p50", margin=0.05, detect=0.20), pairing=Pairing.INTERLEAVED)


def _round(side: Side, index: int, *cases: CaseRound, fault: str | None = None) -> Round:
    return Round("fp32", side, index, "2026-01-01T00:00:00+00:00", 1.0, cases, fault=fault)


def _run(case: CaseInfo, rounds: Sequence[Round], *, rerunnable: bool = False) -> Run:
    environment = Environment("cpu/x", "a CPU", {}, "")
    return Run("s", "2026", environment, (case,), (), tuple(rounds), ("fp32",) if rerunnable else ())


def _rounds(metric: str, values: Sequence[float], case: CaseInfo = LATENCY) -> list[Round]:
    return [_round(Side.CANDIDATE, i, CaseRound(case.id, {metric: value})) for i, value in enumerate(values)]


def _pairs(metric: str, pairs: Sequence[tuple[float, float]]) -> list[Round]:
    out: list[Round] = []
    for base, new in pairs:
        out.append(_round(Side.BASELINE, len(out), CaseRound(LATENCY.id, {metric: base})))
        out.append(_round(Side.CANDIDATE, len(out), CaseRound(LATENCY.id, {metric: new})))
    return out


def _baseline(
    metric: str,
    values: Sequence[float],
    case: CaseInfo = LATENCY,
    documents: dict[str, DocumentScore] | None = None,
    case_hash: str | None = None,
) -> Baseline:
    stored = BaselineCase(case_hash or case.hash, "key", {metric: Series("s", (tuple(values),))}, documents or {})
    return Baseline("s", "cpu/x", Provenance("2026", "test", "a CPU", {}, ""), {case.id: stored})


def _only(verdicts: tuple[MetricVerdict, ...]) -> MetricVerdict:
    (one,) = verdicts
    return one


# ------------------------------------------------------------------ noisy metrics


def test_unchanged_rounds_are_ok() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)))

    assert one.verdict is Verdict.OK


def test_a_clear_slowdown_is_red_by_stored_rounds_where_the_baseline_engine_is_gone() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", [v * 1.4 for v in STEADY]))

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)))

    assert one.verdict is Verdict.REGRESSED
    assert "stored rounds only" in one.reason


@pytest.mark.parametrize(("times", "verdict"), [(1.0, Verdict.OK), (1.2, Verdict.REGRESSED)])
def test_stored_rounds_on_two_levels_decide_where_the_baseline_engine_is_gone(times: float, verdict: Verdict) -> None:
    """No day is so unlike the others that a shift of both levels would be put down to it."""
    rng = np.random.default_rng(3)
    sessions = [list(np.exp(0.005 * rng.standard_normal(2) + 0.1 * (rng.random(2) < 0.4))) for _ in range(30)]
    now = times * np.exp(0.005 * rng.standard_normal(6) + 0.1 * np.array([0, 1, 0, 0, 1, 0]))
    run = _run(LATENCY, _rounds("tpot_p50", list(now)))
    known = {(LATENCY.id, "tpot_p50"): sessions[1:]}

    one = _only(judge(run, _baseline("tpot_p50", sessions[0]), _gate("tpot_p50"), known))

    assert (one.verdict, "two levels" in one.reason) == (verdict, True), one.reason


@pytest.mark.parametrize(
    ("now", "verdict"), [([1.185, 1.208], Verdict.INCONCLUSIVE), ([1.185, 1.208, 0.999, 0.985], Verdict.OK)]
)
def test_a_slowdown_as_large_as_the_gap_is_not_taken_for_the_slow_level(now: list[float], verdict: Verdict) -> None:
    """Nothing but slow rounds: the engine may be slower by the gap. Fast ones show that it is not."""
    rng = np.random.default_rng(5000)
    sessions = [list(np.exp(0.02 * rng.standard_normal(2) + 0.2 * (rng.random(2) < 0.4))) for _ in range(30)]
    beside = [
        _round(Side.BASELINE, i, CaseRound(LATENCY.id, {"tpot_p50": value})) for i, value in enumerate([1.0, 0.94])
    ]
    run = _run(LATENCY, [*beside, *_rounds("tpot_p50", now)], rerunnable=True)

    one = _only(
        judge(run, _baseline("tpot_p50", sessions[0]), _gate("tpot_p50"), {(LATENCY.id, "tpot_p50"): sessions[1:]})
    )

    assert one.verdict is verdict, one.reason


def test_stored_rounds_do_not_condemn_while_the_baseline_engine_can_be_run() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", [v * 1.4 for v in STEADY]), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)))

    assert one.verdict is Verdict.INCONCLUSIVE
    assert "looks worse" in one.reason
    assert one.cause is Cause.NOT_BESIDE


def test_pairs_acquit_where_the_whole_machine_became_slower() -> None:
    run = _run(LATENCY, _pairs("tpot_p50", [(1.6, 1.61), (1.4, 1.39), (1.8, 1.8)]), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is Verdict.OK
    assert one.change == pytest.approx(0.0, abs=0.01)


def test_pairs_condemn_where_the_candidate_became_slower() -> None:
    pairs = [(1.0, 1.25), (1.1, 1.38), (0.9, 1.12), (1.0, 1.26), (1.2, 1.49), (1.0, 1.25)]
    run = _run(LATENCY, _pairs("tpot_p50", pairs), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is Verdict.REGRESSED
    assert one.low is not None
    assert one.high is not None
    assert one.low < 0.25 < one.high
    assert one.evidence is not None
    assert one.needed_evidence is not None
    assert one.evidence > one.needed_evidence


def test_the_direction_of_throughput_is_the_other_one() -> None:
    slower = [(v, v / 1.25) for v in (1000.0, 1010.0, 990.0, 1000.0, 1005.0, 995.0)]
    gate = _gate("output_tokens_per_s", margin=0.05, detect=0.20)
    baseline = _baseline("output_tokens_per_s", [1000.0, 1001.0, 999.0])

    worse = _only(judge(_run(LATENCY, _pairs("output_tokens_per_s", slower), rerunnable=True), baseline, gate))
    better = _only(
        judge(
            _run(LATENCY, _pairs("output_tokens_per_s", [(b, a) for a, b in slower]), rerunnable=True), baseline, gate
        )
    )

    assert worse.verdict is Verdict.REGRESSED
    assert worse.change == pytest.approx(0.25, abs=0.01)
    assert better.verdict is Verdict.IMPROVED


def test_a_change_inside_the_margin_is_never_red_however_sure() -> None:
    run = _run(LATENCY, _pairs("tpot_p50", [(1.0, 1.03)] * 60), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is Verdict.OK


def test_noise_that_hides_the_answer_is_inconclusive_and_says_what_would_help() -> None:
    run = _run(LATENCY, _pairs("tpot_p50", [(1.0, 1.5), (1.4, 1.0), (0.9, 1.3)]), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is Verdict.INCONCLUSIVE
    assert one.more_rounds is not None
    assert one.more_rounds >= 1
    assert one.detectable is not None
    assert one.detectable > 0.20


def test_a_single_round_promises_nothing() -> None:
    run = _run(LATENCY, _pairs("tpot_p50", [(1.0, 3.0)]), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is Verdict.INCONCLUSIVE
    assert (one.more_rounds, one.detectable) == (None, None)
    assert one.reason.startswith("a single round cannot show a worsening")
    assert one.cause is Cause.SINGLE_ROUND


def test_an_undecided_metric_says_that_the_baseline_engine_is_gone() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", [1.3, 0.8, 1.1]))

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)))

    assert one.verdict is Verdict.INCONCLUSIVE
    assert "the baseline's engine cannot be run here" in one.reason
    assert one.cause is Cause.NOISE


def test_one_wild_round_does_not_condemn() -> None:
    pairs = [(1.0, 1.01), (1.0, 3.0), (1.0, 1.0), (1.0, 0.99), (1.0, 1.0)]
    run = _run(LATENCY, _pairs("tpot_p50", pairs), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

    assert one.verdict is not Verdict.REGRESSED


def test_stored_rounds_can_acquit_only_where_sessions_differ_little() -> None:
    stored, gate = _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)

    assert acquittable([LATENCY], stored, gate) == {LATENCY.id}
    assert acquittable([LATENCY], stored, replace(gate, noise=replace(NOISE, session_sd=0.3))) == frozenset()


# ------------------------------------------------------------------ what cannot be compared


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_impossible_values_are_invalid(value: float) -> None:
    run = _run(LATENCY, _rounds("tpot_p50", [1.0, value, 1.0]))

    assert _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50"))).verdict is Verdict.INVALID


@pytest.mark.parametrize("value", [math.nan, 0.0, -1.0])
def test_impossible_values_in_a_baseline_are_invalid(value: float) -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    assert _only(judge(run, _baseline("tpot_p50", [1.0, value]), _gate("tpot_p50"))).verdict is Verdict.INVALID


def test_a_missing_metric_is_invalid() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    assert _only(judge(run, _baseline("ttft_p50", STEADY), _gate("ttft_p50"))).verdict is Verdict.INVALID


def test_an_optional_metric_that_no_round_can_measure_is_not_asked_for() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    assert judge(run, _baseline("tpot_p50", STEADY), _gate("energy_j_per_token")) == ()


@pytest.mark.parametrize(
    ("loads", "verdict"), [("others", Verdict.NO_BASELINE), ("same", Verdict.OK), ("", Verdict.OK)]
)
def test_peak_memory_has_a_baseline_only_under_the_loads_that_it_was_accepted_under(
    loads: str, verdict: Verdict
) -> None:
    """Of baselines of earlier versions nothing is known."""
    metric, gate = "peak_memory_bytes", _gate("peak_memory_bytes", margin=0.05, detect=0.2)
    run = replace(_run(BUILD, _rounds(metric, STEADY, BUILD)), cases=(BUILD, LATENCY))
    accepted = _baseline(metric, STEADY, BUILD)
    told = hash_of_loads(run, "fp32") if loads == "same" else loads
    accepted = replace(accepted, cases={BUILD.id: replace(accepted.cases[BUILD.id], loads=told)})

    (one,) = judge(run, accepted, gate, {(BUILD.id, metric): [(7.0, 7.1)]})

    assert one.verdict is verdict, one.reason
    assert ("other loads since it was accepted" in one.reason) == (loads == "others")


def test_a_percentile_without_enough_samples_is_invalid_and_says_how_many_it_needs() -> None:
    measured = CaseRound(LATENCY.id, {"ttft_p50": 1.0}, {"ttft": Floats([1.0] * 16)})
    run = _run(LATENCY, [_round(Side.CANDIDATE, 0, measured)])

    one = _only(judge(run, _baseline("ttft_p90", STEADY), _gate("ttft_p90")))

    assert one.verdict is Verdict.INVALID
    assert "16 samples a round, ttft_p90 needs 64" in one.reason
    assert one.cause is Cause.FEW_SAMPLES


def test_rounds_that_failed_count_for_nothing_and_their_reason_is_told() -> None:
    rounds = [_round(Side.CANDIDATE, i, fault="the measuring process ended with code -9") for i in range(3)]

    one = _only(judge(_run(LATENCY, rounds), _baseline("tpot_p50", STEADY), _gate("tpot_p50")))

    assert one.verdict is Verdict.INVALID
    assert one.reason == "the measuring process ended with code -9"
    assert one.cause is Cause.ROUNDS_FAILED


def test_cases_with_faults_count_for_nothing() -> None:
    short = CaseRound(LATENCY.id, {"tpot_p50": 1.0}, faults=("request 3 gave 12 tokens, 64 were asked for",))

    one = _only(
        judge(_run(LATENCY, [_round(Side.CANDIDATE, 0, short)]), _baseline("tpot_p50", STEADY), _gate("tpot_p50"))
    )

    assert one.verdict is Verdict.INVALID
    assert "12 tokens" in one.reason


def test_no_baseline_is_said() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    assert _only(judge(run, None, _gate("tpot_p50"))).verdict is Verdict.NO_BASELINE


def test_a_changed_case_has_no_baseline() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    one = _only(judge(run, _baseline("tpot_p50", STEADY, case_hash="other"), _gate("tpot_p50")))

    assert one.verdict is Verdict.NO_BASELINE
    assert "changed" in one.reason


def test_a_baseline_without_the_metric_is_no_baseline() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))

    assert _only(judge(run, _baseline("ttft_p50", STEADY), _gate("tpot_p50"))).verdict is Verdict.NO_BASELINE


def test_a_skipped_case_is_judged_where_its_baseline_has_it_alone() -> None:
    run = _run(replace(LATENCY, skip="no such kernel"), [])

    (found,) = judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50"))

    assert judge(run, None, _gate("tpot_p50")) == ()
    assert (found.verdict, found.cause) == (Verdict.INVALID, Cause.SKIPPED)
    assert found.reason.endswith("not supported any more: no such kernel")


# ------------------------------------------------------------------ exact metrics


@pytest.mark.parametrize(
    ("now", "verdict"),
    [(1000.0, Verdict.OK), (1009.0, Verdict.OK), (1011.0, Verdict.REGRESSED), (980.0, Verdict.IMPROVED)],
)
def test_bytes_are_compared_exactly(now: float, verdict: Verdict) -> None:
    run = _run(BUILD, _rounds("engine_bytes", [now] * 3, BUILD))

    assert _only(judge(run, _baseline("engine_bytes", [1000.0], BUILD), _gate("engine_bytes"))).verdict is verdict


def test_one_deviating_round_of_an_exact_metric_is_enough() -> None:
    run = _run(BUILD, _rounds("engine_bytes", [1000.0, 1000.0, 1100.0], BUILD))

    one = _only(judge(run, _baseline("engine_bytes", [1000.0], BUILD), _gate("engine_bytes")))

    assert one.verdict is Verdict.REGRESSED


# ------------------------------------------------------------------ perplexity, paired by document


def _scores(per_token: Sequence[float], tokens: int = 500) -> dict[str, DocumentScore]:
    return {f"d{i}": DocumentScore(value * tokens, tokens, tokens * 3) for i, value in enumerate(per_token)}


def _judge_text(before: dict[str, DocumentScore], now: dict[str, DocumentScore]) -> MetricVerdict:
    run = _run(TEXT, [_round(Side.CANDIDATE, 0, CaseRound(TEXT.id, {"perplexity": 5.0}, documents=now))])
    return _only(judge(run, _baseline("perplexity", [5.0], TEXT, before), _gate("perplexity")))


NLL = [1.2, 1.9, 1.5, 2.2, 1.7, 1.4, 1.6, 2.0, 1.8, 1.3]


def test_equal_scores_are_ok() -> None:
    assert _judge_text(_scores(NLL), _scores(NLL)).verdict is Verdict.OK


def test_a_uniform_loss_beyond_the_margin_is_red() -> None:
    one = _judge_text(_scores(NLL), _scores([nll + 0.03 for nll in NLL]))

    assert one.verdict is Verdict.REGRESSED
    assert one.change == pytest.approx(math.expm1(0.03))


def test_a_loss_inside_the_margin_is_ok() -> None:
    assert _judge_text(_scores(NLL), _scores([nll + 0.003 for nll in NLL])).verdict is Verdict.OK


def test_documents_that_disagree_are_inconclusive() -> None:
    shifts = [0.2, -0.2, 0.15, -0.1, 0.2, -0.2, 0.1, -0.1, 0.2, -0.15]

    one = _judge_text(_scores(NLL), _scores([nll + s for nll, s in zip(NLL, shifts, strict=True)]))

    assert one.verdict is Verdict.INCONCLUSIVE


def test_other_texts_do_not_compare() -> None:
    assert _judge_text(_scores(NLL), _scores(NLL, tokens=400)).verdict is Verdict.INVALID


def test_scores_that_are_no_numbers_are_invalid() -> None:
    assert _judge_text(_scores(NLL), _scores([math.nan, *NLL[1:]])).verdict is Verdict.INVALID


# ------------------------------------------------------------------ all metrics


@pytest.mark.parametrize("metric", [one for one in CATALOGUE.values() if one.works], ids=str)
def test_slowing_each_metric_down_turns_it_red(metric: Metric) -> None:
    """A direction that was declared the wrong way round would show here."""
    case = {"latency": LATENCY, "build": BUILD, "perplexity": TEXT, "tasks": TASKS, "serving": SERVING}[metric.works[0]]
    factor = 2.0 if metric.worse_by(1.0, 2.0) > 0 else 0.5
    before, now = _scores(NLL), _scores([nll * 1.3 for nll in NLL])
    rounds = [
        _round(Side.CANDIDATE, i, CaseRound(case.id, {metric.name: 100.0 * factor}, documents=now)) for i in range(12)
    ]

    one = _only(judge(_run(case, rounds), _baseline(metric.name, [100.0] * 12, case, before), _gate(metric.name)))

    assert one.verdict is Verdict.REGRESSED


def test_nothing_is_never_ok() -> None:
    assert worst([]) is Verdict.INVALID


def test_the_gravest_verdict_counts() -> None:
    assert worst([Verdict.OK, Verdict.INCONCLUSIVE, Verdict.IMPROVED]) is Verdict.INCONCLUSIVE
    assert worst([Verdict.REGRESSED, Verdict.INVALID]) is Verdict.REGRESSED


def test_the_sentence_says_how_much_and_how_sure() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", [v * 1.4 for v in STEADY]))

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50", margin=0.05, detect=0.20)))

    assert one.sentence.startswith("40.0 % worse (99 % interval ")
    assert "odds" in one.sentence


@pytest.mark.parametrize("pairing", Pairing)
@pytest.mark.parametrize("factor", [0.01, 0.1, 0.3, 0.5, 0.8, 1.3, 2.0, 3.0, 10.0, 100.0])
def test_a_change_far_beyond_detect_is_as_clear_as_one_of_its_size(factor: float, pairing: Pairing) -> None:
    """Heavy-tailed densities fit a huge change as badly as none; both must not come out alike."""
    wobble = (1.0, 1.003, 0.998, 1.001, 0.999, 1.002)
    run = _run(LATENCY, _pairs("tpot_p50", [(one, one * factor) for one in wobble]), rerunnable=True)

    one = _only(judge(run, _baseline("tpot_p50", STEADY), replace(_gate("tpot_p50"), pairing=pairing)))

    assert one.verdict is (Verdict.REGRESSED if factor > 1 else Verdict.IMPROVED)


@pytest.mark.parametrize("pairing", Pairing)
@pytest.mark.parametrize("rerunnable", [True, False])
def test_an_engine_with_two_modes_is_judged_in_every_way(pairing: Pairing, *, rerunnable: bool) -> None:
    """A clear metric tells a noisy one which rounds were slow: in pairs, beside, by stored rounds."""
    rng = np.random.default_rng(4)
    names, sds = ("tpot_p50", "ttft_p50"), (0.004, 0.03)
    slow = rng.random(60) < 0.3
    stored = {name: np.exp(0.05 * slow + sd * rng.standard_normal(60)) for name, sd in zip(names, sds, strict=True)}
    known = {(LATENCY.id, name): values.reshape(30, 2).tolist() for name, values in stored.items()}
    today = [_round(Side(side), i, CaseRound(LATENCY.id, {name: float(stored[name][i]) for name in names}))
             for i, side in enumerate([Side.BASELINE, Side.CANDIDATE] * 6)]  # fmt: skip
    run = _run(LATENCY, today, rerunnable=rerunnable)
    baseline = _baseline(names[0], [1.0])
    case = replace(baseline.cases[LATENCY.id], metrics={name: Series("s", ((1.0,),)) for name in names})

    judged = judge(run, replace(baseline, cases={LATENCY.id: case}), replace(_gate(*names), pairing=pairing), known)

    assert {one.verdict for one in judged} <= {Verdict.OK, Verdict.INCONCLUSIVE}
    assert "told by the engine's other metrics" in judged[1].reason


@pytest.mark.parametrize(("rounds", "verdict"), [(3, Verdict.INCONCLUSIVE), (6, Verdict.REGRESSED)])
def test_few_rounds_may_be_two_modes_of_an_unchanged_engine(rounds: int, verdict: Verdict) -> None:
    """All rounds of one side fast, all of the other slow: chance does that to a few, not to many."""
    wobble = (1.0, 1.003, 0.998, 1.001, 0.999, 1.002)[:rounds]
    run = _run(LATENCY, _pairs("tpot_p50", [(one, 1.16 * one) for one in wobble]), rerunnable=True)
    gate = Gate(_gate("tpot_p50").metrics * 60, NOISE)

    one = judge(run, _baseline("tpot_p50", [1.0]), gate)[0]

    assert one.verdict is verdict
    assert ("two modes" in one.reason) is (verdict is Verdict.INCONCLUSIVE)


def test_where_two_modes_are_ruled_out_few_rounds_are_enough() -> None:
    run = _run(LATENCY, _pairs("tpot_p50", [(one, 1.16 * one) for one in (1.0, 1.003, 0.998)]), rerunnable=True)
    gate = Gate(_gate("tpot_p50").metrics * 60, replace(NOISE, two_modes=0.0))

    assert judge(run, _baseline("tpot_p50", [1.0]), gate)[0].verdict is Verdict.REGRESSED


def test_nothing_is_ok_while_it_looks_worse_than_its_margin() -> None:
    """10 % worse, margin 5 %, detect 20 %: the promised size is ruled out, but ok it is not."""
    pairs = [(1.0, 1.10), (1.0, 1.12), (1.0, 1.085), (1.0, 1.10), (1.0, 1.11), (1.0, 1.095), (1.0, 1.10), (1.0, 1.105)]
    for count in range(3, 9):
        run = _run(LATENCY, _pairs("tpot_p50", pairs[:count]), rerunnable=True)

        one = _only(judge(run, _baseline("tpot_p50", STEADY), PAIRED))

        assert one.verdict in {Verdict.INCONCLUSIVE, Verdict.REGRESSED}


def test_a_wild_stored_round_is_named_though_it_is_taken_in() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))
    known = {(LATENCY.id, "tpot_p50"): [STEADY, (1.0, 1.01, 1.5, 0.99, 1.0), STEADY]}

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50"), known))

    assert "heavy tails, 1 of 20 stored rounds far off" in one.reason


def test_history_teaches_noise_but_never_an_exact_level() -> None:
    """A run that was red yesterday is in the history; it must be red today as well."""
    run = _run(BUILD, _rounds("engine_bytes", [1100.0], BUILD))
    known = {(BUILD.id, "engine_bytes"): [[1100.0]]}

    one = _only(judge(run, _baseline("engine_bytes", [1000.0], BUILD), _gate("engine_bytes"), known))

    assert (one.verdict, one.rounds_stored) == (Verdict.REGRESSED, 1)


def test_sessions_from_history_count_as_stored_rounds() -> None:
    run = _run(LATENCY, _rounds("tpot_p50", STEADY))
    known = {(LATENCY.id, "tpot_p50"): [STEADY, STEADY]}

    one = _only(judge(run, _baseline("tpot_p50", STEADY), _gate("tpot_p50"), known))

    assert one.rounds_stored == 3 * len(STEADY)
