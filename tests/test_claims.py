"""Claims of the field: their data, the engines they are checked on, and what rounds say of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.case import (
    Batching,
    BuildWork,
    Case,
    Drafting,
    EngineSpec,
    LatencyWork,
    PerplexityWork,
    Precision,
    ServingWork,
    Speculation,
)
from perfgate.claim import At, Check, Claim, load_claims, shipped_claims, value_of
from perfgate.claim_findings import Finding, Standing, findings, is_failure, judge_claim
from perfgate.claim_pairs import ClaimCase, ClaimPair, claim_cases
from perfgate.errors import SuiteError
from perfgate.metrics import CATALOGUE
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, Round, Run, Side
from perfgate.suite import ClaimPolicy
from perfgate.versus import Ratio, goodness, paired_ratio, ratio

FP16 = EngineSpec("half", Path("m"), precision=Precision.FP16)
FP8 = replace(FP16, name="eight", precision=Precision.FP8)
B1, B8 = (LatencyWork(f"b{streams}", Path("t"), concurrency=streams) for streams in (1, 8))
BUILD, TEXT = BuildWork("build"), PerplexityWork("text", Path("t"))
WORKS = (B1, B8, BUILD, TEXT)


def cases(*specs: EngineSpec, works: tuple[Any, ...] = WORKS) -> list[Case]:
    return [Case(spec, work) for spec in specs for work in works]


def claim(name: str) -> Claim:
    return next(one for one in shipped_claims() if one.name == name)


def check_of(made: list[Case], name: str, check: str, *pairs: ClaimPair) -> ClaimCase:
    return next(one for one in claim_cases(made, pairs) if (one.claim.name, one.check.name) == (name, check))


def run_of(made: list[Case], *rounds: Round, **infos: Any) -> Run:
    known = tuple(CaseInfo(case.id, case.engine.name, case.kind, case.hash, **infos) for case in made)
    return Run("s", "", Environment("sm_90/x", "X", {}, ""), known, (), rounds)


def one_round(engine: str, index: int, work: str, metric: str, value: float) -> Round:
    return Round(engine, Side.CANDIDATE, index, "", 1.0, (CaseRound(f"{engine}-{work}", {metric: value}),))


def speeds(order: str, **values: list[float]) -> list[Round]:
    """Rounds of throughput at b8 in an order such as 'heeh': h is half, e is eight."""
    left = {name: iter(mine) for name, mine in values.items()}
    names = {"h": "half", "e": "eight"}
    return [
        one_round(names[letter], index, "b8", "output_tokens_per_s", next(left[names[letter]]))
        for index, letter in enumerate(order)
    ]


# ------------------------------------------------------------------ data


def test_every_claim_of_the_field_is_there_with_a_source() -> None:
    names = {one.name for one in shipped_claims()}

    assert names == {
        "fp8", "int8", "int4", "inflight-batching", "paged-kv", "speculation", "cuda-graphs", "overlap-scheduling",
    }  # fmt: skip
    assert all(source.startswith("https://") for one in shipped_claims() for source in one.sources)
    assert all(one.sources for one in shipped_claims())


def test_a_claim_names_values_that_specs_can_have() -> None:
    for one in shipped_claims():
        if one.key in ("precision", "batching"):
            kind = {"precision": Precision, "batching": Batching}[one.key]
            assert {*one.before, *one.after, *one.instead} <= {member.value for member in kind}


@pytest.mark.parametrize(
    ("key", "spec", "word"),
    [
        ("speculative", FP16, "none"),
        ("speculative", replace(FP16, speculative=Speculation(Drafting.NGRAM)), "ngram"),
        ("cuda_graphs", replace(FP16, cuda_graphs=True), "true"),
        ("cuda_graphs", FP16, "none"),
        ("paged_kv", replace(FP16, paged_kv=False), "false"),
        ("precision", FP8, "fp8"),
    ],
)
def test_values_of_specs_are_named_as_in_claims(key: str, spec: EngineSpec, word: str) -> None:
    assert value_of(spec, key) == word


def test_a_file_of_claims_with_faults_names_them_all(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(
        "schema: 1\nclaims:\n  a:\n    says: x\n    sources: [https://x.example]\n"
        "    differ: {key: precision, from: fp16, to: fp8}\n"
        "    checks: {one: {metric: tpot_mean}, two: {metric: tpot_mean, least: 3, most: 2}}\n"
    )

    with pytest.raises(SuiteError) as caught:
        load_claims(path)

    assert len(caught.value.faults) == 2
    assert "either 'least' or 'most_worse'" in str(caught.value)
    assert "'most' is below 'least'" in str(caught.value)


# ------------------------------------------------------------------ pairs


def test_engines_that_differ_in_nothing_else_are_found() -> None:
    found = check_of(cases(FP16, FP8), "fp8", "speed")

    assert found.id == "fp8-speed-eight-vs-half"
    assert [case.id for case in found.cases] == ["half-b8", "eight-b8"]
    assert found.notes == ()


def test_a_check_is_made_at_the_concurrency_that_it_names() -> None:
    found = check_of(cases(FP16, replace(FP16, name="int4", precision=Precision.INT4_AWQ)), "int4", "speed")

    assert found.check.at is At.LEAST
    assert found.cases[0].id == "half-b1"


def test_a_stand_in_reference_is_told() -> None:
    found = check_of(cases(replace(FP16, precision=Precision.FP32), FP8), "fp8", "quality")

    assert found.notes == ("against fp32: the claim is of fp16 or bf16",)


def test_against_fp32_twice_the_memory_is_claimed() -> None:
    alike, standing_in = (
        check_of(cases(replace(FP16, precision=precision), FP8), "fp8", "memory").check
        for precision in (Precision.BF16, Precision.FP32)
    )

    assert (alike.least, alike.most) == (1.8, 2.2)
    assert (standing_in.least, standing_in.most) == (3.6, 4.4)


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        ((FP16,), "no engine of the suite has precision: fp8"),
        ((FP8,), "no engine of the suite has precision: fp16 or bf16"),
        ((FP16, replace(FP8, max_batch_size=99, tp=2)), "eight and half differ in max_batch_size, tp too"),
    ],
)
def test_where_no_pair_is_there_the_reason_is(specs: tuple[EngineSpec, ...], said: str) -> None:
    found = check_of(cases(*specs), "fp8", "speed")

    assert found.cases == ()
    assert found.why_not == said


def test_a_named_pair_is_taken_as_it_is_and_what_differs_is_told() -> None:
    other = replace(FP8, max_batch_size=99)
    found = check_of(cases(FP16, other), "fp8", "speed", ClaimPair("fp8", "half", "eight"))

    assert found.is_named
    assert found.notes == ("eight and half differ in max_batch_size too",)


def test_memory_is_checked_only_where_an_engines_files_are_its_weights() -> None:
    served = [replace(spec, backend="vllm") for spec in (FP16, FP8)]

    assert check_of(cases(FP16, FP8), "fp8", "memory").cases
    assert "vllm" in check_of(cases(*served), "fp8", "memory").why_not


def test_engines_without_a_common_workload_cannot_be_compared() -> None:
    made = [*cases(FP16, works=(B1,)), *cases(FP8, works=(B8,))]

    assert "share no workload" in check_of(made, "fp8", "speed").why_not


def test_batching_may_differ_in_paging_and_wants_mixed_lengths() -> None:
    static = replace(FP16, name="static", batching=Batching.STATIC, paged_kv=False)
    mixed = ServingWork("c", osl="uniform:10:100", concurrency=9)

    alike = check_of(cases(static, FP16), "inflight-batching", "throughput")
    drawn = check_of(cases(static, FP16, works=(mixed,)), "inflight-batching", "throughput")

    assert "every output of this workload is as long" in alike.notes[0]
    assert drawn.notes == ()
    assert "batching too" in check_of(cases(static, FP16), "paged-kv", "throughput").why_not


# ------------------------------------------------------------------ verdicts

GAIN = Check("speed", "output_tokens_per_s", least=2, most=3)
COST = Check("quality", "perplexity", most_worse=0.03)


@pytest.mark.parametrize(
    ("check", "low", "high", "standing"),
    [
        (GAIN, 2.1, 2.6, Standing.HOLDS),
        (GAIN, 4.0, 5.0, Standing.HOLDS),
        (GAIN, 1.2, 1.8, Standing.PARTLY),
        (GAIN, 0.9, 1.4, Standing.FAILS),
        (GAIN, 0.4, 0.6, Standing.FAILS),
        (GAIN, 1.5, 2.5, Standing.PARTLY),
        (GAIN, 0.9, 2.5, Standing.UNTESTED),
        (COST, 0.98, 0.99, Standing.HOLDS),
        (COST, 1.01, 1.02, Standing.HOLDS),
        (COST, 0.90, 0.95, Standing.FAILS),
        (COST, 0.95, 0.99, Standing.UNTESTED),
    ],
)
def test_verdicts(check: Check, low: float, high: float, standing: Standing) -> None:
    assert judge_claim(check, Ratio((low * high) ** 0.5, low, high))[0] is standing


def test_one_round_a_side_cannot_test_a_claim() -> None:
    assert judge_claim(GAIN, Ratio(2.5)) == (
        Standing.UNTESTED,
        "one round a side has no interval: measure with more rounds",
    )


@given(st.floats(0.01, 100), st.floats(1, 10), st.floats(1.001, 10))
def test_a_better_interval_never_stands_worse(low: float, wide: float, better: float) -> None:
    order = [Standing.FAILS, Standing.UNTESTED, Standing.PARTLY, Standing.HOLDS]

    here, there = (judge_claim(GAIN, Ratio(low * by, low * by, low * wide * by))[0] for by in (1.0, better))

    assert order.index(there) >= order.index(here)


def found_in(run: Run, check: ClaimCase) -> Finding:
    return findings(run, [check])[0]


def test_rounds_that_took_turns_are_paired() -> None:
    made = cases(FP16, FP8)
    drifting = speeds("heehhe", half=[100, 200, 400], eight=[200, 400, 800])

    found = found_in(run_of(made, *drifting), check_of(made, "fp8", "speed"))

    assert found.basis == "3 pairs of rounds that took turns"
    assert found.times is not None
    assert found.times.low == pytest.approx(2.0)
    assert found.times.high == pytest.approx(2.0)
    assert found.standing is Standing.HOLDS


def test_rounds_that_did_not_take_turns_are_not() -> None:
    made = cases(FP16, FP8)
    after = speeds("hhhee", half=[100, 101, 102], eight=[150, 151])

    found = found_in(run_of(made, *after), check_of(made, "fp8", "speed"))

    assert found.basis == "3 and 2 rounds"
    assert found.times == ratio([100, 101, 102], [150, 151])
    assert found.standing is Standing.PARTLY


def test_bytes_have_no_noise() -> None:
    made = cases(FP16, FP8)
    rounds = [one_round(name, index, "build", "engine_bytes", size) for index, (name, size) in
              enumerate([("half", 200.0), ("eight", 104.0)])]  # fmt: skip

    found = found_in(run_of(made, *rounds), check_of(made, "fp8", "memory"))

    assert (found.standing, found.basis) == (Standing.HOLDS, "exact")
    assert found.times is not None
    assert found.times.value == pytest.approx(200 / 104)


@pytest.mark.parametrize(("loss", "standing"), [(1.001, Standing.HOLDS), (1.05, Standing.FAILS)])
def test_quality_is_paired_by_document(loss: float, standing: Standing) -> None:
    made = cases(FP16, FP8)
    scores = {f"d{n}": DocumentScore(100.0 + n, 100, 400) for n in range(9)}
    worse = {name: replace(one, nll=one.nll + 100 * (loss - 1)) for name, one in scores.items()}
    rounds = [
        Round(name, Side.CANDIDATE, index, "", 1.0, (CaseRound(f"{name}-text", {"perplexity": 2.7}, documents=mine),))
        for index, (name, mine) in enumerate([("half", scores), ("eight", worse)])
    ]

    found = found_in(run_of(made, *rounds), check_of(made, "fp8", "quality"))

    assert found.standing is standing
    assert found.basis == "paired over 9 documents"


def test_documents_of_other_tokens_are_not_compared() -> None:
    made = cases(FP16, FP8)
    rounds = [
        Round(name, Side.CANDIDATE, index, "", 1.0,
              (CaseRound(f"{name}-text", {"perplexity": 2.7}, documents={"d": DocumentScore(9.0, size, 9)}),))
        for index, (name, size) in enumerate([("half", 9), ("eight", 8)])
    ]  # fmt: skip

    assert "other documents or tokens" in found_in(run_of(made, *rounds), check_of(made, "fp8", "quality")).why


@pytest.mark.parametrize(
    ("infos", "said"),
    [
        ({"skip": "fp8 needs sm_89 or newer"}, "was skipped: fp8 needs sm_89 or newer"),
        ({}, "no valid round of half-b8 has output_tokens_per_s"),
    ],
)
def test_what_was_not_measured_cannot_be_tested(infos: dict[str, Any], said: str) -> None:
    made = cases(FP16, FP8)

    found = found_in(run_of(made, **infos), check_of(made, "fp8", "speed"))

    assert found.standing is Standing.UNTESTED
    assert said in found.why


def test_a_suite_that_changed_since_the_run_is_told() -> None:
    made = cases(FP16, FP8)
    changed = cases(FP16, FP8, works=(B1, replace(B8, output_len=99), BUILD, TEXT))

    found = found_in(run_of(made), check_of(changed, "fp8", "speed"))
    absent = found_in(run_of([]), check_of(made, "fp8", "speed"))

    assert "it has changed since" in found.why
    assert absent.why == "half-b8 was not measured in this run"


@pytest.mark.parametrize(
    ("standing", "is_named", "fails"),
    [
        (Standing.HOLDS, True, False),
        (Standing.PARTLY, False, True),
        (Standing.FAILS, False, True),
        (Standing.UNTESTED, False, False),
        (Standing.UNTESTED, True, True),
    ],
)
def test_only_a_suite_that_says_so_fails(standing: Standing, is_named: bool, fails: bool) -> None:  # noqa: FBT001
    one = Finding(ClaimCase(claim("fp8"), GAIN, is_named=is_named), standing)

    assert is_failure(one, ClaimPolicy.GATE) is fails
    assert not is_failure(one, ClaimPolicy.REPORT)


# ------------------------------------------------------------------ statistics that others share


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=8), st.floats(1e-2, 1e2))
def test_pairs_of_one_factor_have_no_spread(values: list[float], factor: float) -> None:
    found = paired_ratio([(value, value * factor) for value in values])

    assert found.low == pytest.approx(factor, rel=1e-6)
    assert found.high == pytest.approx(factor, rel=1e-6)


def test_goodness_turns_what_is_better_when_lower() -> None:
    faster = Ratio(0.5, 0.4, 0.8)

    assert goodness(CATALOGUE["tpot_mean"], faster) == Ratio(2.0, 1.25, 2.5)
    assert goodness(CATALOGUE["output_tokens_per_s"], faster) == faster
