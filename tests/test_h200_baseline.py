"""The accepted rounds of an H200 belong to the shipped suite and are judged by it: no GPU is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from perfgate.baselines import Baseline, BaselineCase, Series, load_baseline
from perfgate.cli import main
from perfgate.comparison import Comparison, compare
from perfgate.record import CaseInfo, CaseRound, Environment, PreparedInfo, Round, Run, Side, encode
from perfgate.suite import Suite, load_suite
from perfgate.verdict import Verdict

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "fixtures" / "suites" / "llama8b_h200.yaml"
H200 = "sm_90/h200-141gb"
FILE = ROOT / "baselines" / H200 / "llama8b_h200.json"
TO_BE_MEASURED_ANEW = ("-c1", "-long-c1")  # their rounds had 4 and 2 requests, of which the first decided
ACCEPTED = 5  # rounds of an engine
Values = dict[str, float]
Change = Callable[[Values], Values]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite(SUITE)


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return load_baseline(FILE, H200, "llama8b_h200")


@pytest.fixture(scope="module")
def first(baseline: Baseline) -> Baseline:
    """The first session of vLLM in bf16 and fp8, whatever was accepted since."""
    mine = {name: case for name, case in baseline.cases.items() if name.split("-")[0] in ("bf16", "fp8")}
    return replace(baseline, cases={name: replace(case, metrics=_first(case)) for name, case in mine.items()})


def _first(case: BaselineCase) -> Mapping[str, Series]:
    return {name: replace(one, sessions=one.sessions[:1]) for name, one in case.metrics.items()}


def test_accepted_cases_are_those_of_the_suite(suite: Suite, baseline: Baseline) -> None:
    asked = {case.id: case.hash for case in suite.cases}

    changed = {name for name, case in baseline.cases.items() if case.hash != asked.get(name)}

    assert len(baseline.cases) >= 19
    assert [name for name in changed if not name.endswith(TO_BE_MEASURED_ANEW)] == []


# ------------------------------------------------------------------ what a change does to a round's values


def unchanged(values: Values) -> Values:
    return values


def slower_decode(values: Values) -> Values:
    """5 % more time between tokens, as a planted wait makes; the device's own steps stay."""
    if "itl_p50" not in values:
        return values
    decoding = 1 - values["ttft_mean"] / values["e2el_mean"]
    slower = {name: value * 1.05 for name, value in values.items() if name.startswith(("itl_", "tpot_"))}
    return {**values, **slower, "output_tokens_per_s": values["output_tokens_per_s"] / (1 + 0.05 * decoding)}


def slower_kernels(values: Values) -> Values:
    """5 % more time in the device's own step, hidden by the host."""
    step = {name: value * 1.05 for name, value in values.items() if name == "device_decode_step_p50"}
    return {**values, **step}


# ------------------------------------------------------------------ runs of accepted rounds


def run_of(suite: Suite, first: Baseline, change: Change, pairs: int, *, has_c1: bool = False) -> Run:
    """Rounds of an unchanged engine with a change put into them.

    pairs: so many, each with another round of the baseline's engine beside it; 0: the candidate's alone.
    """
    cases = [case for case in suite.cases if case.id in first.cases]
    cases = [case for case in cases if has_c1 or not case.id.endswith(TO_BE_MEASURED_ANEW)]
    infos = tuple(CaseInfo(one.id, one.engine.name, one.kind, first.cases[one.id].hash) for one in cases)
    keys = {info.engine: first.cases[info.id].engine_key for info in infos}
    made = first.provenance
    return Run(
        suite.name,
        "2026-12-01T08:00:00+00:00",
        Environment(H200, made.product, dict(made.versions), made.commit),
        infos,
        tuple(PreparedInfo(engine, key, False, {}, 5855, {}) for engine, key in keys.items()),
        tuple(one for engine in keys for one in rounds_of(engine, infos, first, change, pairs)),
        rerunnable=tuple(keys) if pairs else (),
    )


def rounds_of(engine: str, infos: tuple[CaseInfo, ...], first: Baseline, change: Change, pairs: int) -> Iterator[Round]:
    def measured(side: Side, number: int, accepted: int, how: Change) -> Round:
        stored = {info.id: first.cases[info.id].metrics for info in infos if info.engine == engine}
        values = {
            case: {name: one.sessions[0][accepted % ACCEPTED] for name, one in metrics.items()}
            for case, metrics in stored.items()
        }
        return Round(engine, side, number, "", 60.0, tuple(CaseRound(case, how(one)) for case, one in values.items()))

    for number in range(pairs or ACCEPTED):
        yield measured(Side.CANDIDATE, number, number, change)
        if pairs:
            yield measured(Side.BASELINE, number, number + 1 + number // ACCEPTED, unchanged)


def judged(suite: Suite, first: Baseline, change: Change, pairs: int, *, has_c1: bool = False) -> Comparison:
    return compare(run_of(suite, first, change, pairs, has_c1=has_c1), suite, (FILE, first), "ci")


def verdict(found: Comparison, case: str, metric: str) -> Verdict:
    return next(one.verdict for one in found.metrics if (one.case, one.metric) == (case, metric))


@pytest.mark.parametrize(("change", "code"), [(unchanged, 0), (slower_decode, 1), (slower_kernels, 1)])
def test_eight_pairs_are_green_without_a_change_and_red_with_5_percent(
    suite: Suite, first: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.json").write_bytes(encode(run_of(suite, first, change, 8)))
    command = ["judge", "run.json", "--suite", str(SUITE), "--baselines", str(ROOT / "baselines"), "--policy", "ci"]

    assert main(command) == code


def test_what_a_change_does_not_touch_stays_ok(suite: Suite, first: Baseline) -> None:
    found = judged(suite, first, slower_kernels, 8)

    regressed = {(one.case, one.metric) for one in found.metrics if one.verdict is not Verdict.OK}
    assert regressed == {(one.case, one.metric) for one in found.metrics if one.metric == "device_decode_step_p50"}


def test_a_spread_of_19_percent_hides_neither_a_spread_of_a_tenth_of_a_percent_nor_passes(
    suite: Suite, first: Baseline
) -> None:
    """One case holds both: four requests' TTFT, and the device's decode step."""
    same, slower = (judged(suite, first, change, 8, has_c1=True) for change in (unchanged, slower_kernels))

    assert {verdict(one, "bf16-c1", "ttft_tmean") for one in (same, slower)} == {Verdict.INCONCLUSIVE}
    assert verdict(same, "bf16-c1", "device_decode_step_p50") is Verdict.OK
    assert verdict(slower, "bf16-c1", "device_decode_step_p50") is Verdict.REGRESSED


def test_stored_rounds_of_one_session_alone_acquit_and_convict_too_little_but_never_wrongly(
    suite: Suite, first: Baseline
) -> None:
    """Where the baseline's engine cannot run again one session says little of the next: that is said, not guessed."""
    same, slower = (judged(suite, first, change, 0) for change in (unchanged, slower_kernels))

    assert {one.verdict for one in same.metrics} == {Verdict.OK, Verdict.INCONCLUSIVE}
    steps = {one.verdict for one in slower.metrics if one.metric == "device_decode_step_p50"}
    assert steps == {Verdict.INCONCLUSIVE}
