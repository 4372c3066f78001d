from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfgate.baselines import (
    BASELINE_SCHEMA,
    Acceptance,
    Baseline,
    BaselineCase,
    Provenance,
    Series,
    baseline_from_run,
    baseline_path,
    documents_of,
    find_baseline,
    load_baseline,
    parse_expiry,
    save_baseline,
)
from perfgate.errors import BaselineError, RecordError, UsageError
from perfgate.record import CaseInfo, CaseRound, DocumentScore, Environment, PreparedInfo, Round, Run, Side

DEVICE = "sm_90/h200-141gb"
PROVENANCE = Provenance("2026-01-14T08:00:00+00:00", "first", "NVIDIA H200", {"fake": "1.0"}, "0b1c2d3")
CASE = BaselineCase("00ff", "k1", {"ttft_p50": Series("s", ((0.010, 0.011),))})
BASELINE = Baseline("small", DEVICE, PROVENANCE, {"e-c": CASE})

RUN = Run(
    "small",
    "2026-01-14T08:00:00+00:00",
    Environment(DEVICE, "NVIDIA H200", {"fake": "1.0"}, "0b1c2d3"),
    (CaseInfo("e-c", "e", "latency", "00ff"),),
    (PreparedInfo("e", "k1", False, {}, 10, {}),),
    (
        Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-c", {"ttft_p50": 0.020, "output_tokens": 64.0}),)),
        Round("e", Side.BASELINE, 1, "", 1.0, (CaseRound("e-c", {"ttft_p50": 0.999}),)),
        Round("e", Side.CANDIDATE, 2, "", 1.0, (CaseRound("e-c", {"ttft_p50": 0.777}),), fault="disturbed"),
        Round("e", Side.CANDIDATE, 3, "", 1.0, (CaseRound("e-c", {"ttft_p50": 0.021, "output_tokens": 64.0}),)),
    ),
)

NAMES = st.text(max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SERIES = st.builds(Series, NAMES, st.lists(st.lists(FLOATS, max_size=3).map(tuple), max_size=3).map(tuple))
SCORES = st.builds(DocumentScore, FLOATS, st.integers(0, 2**53), st.integers(0, 2**53))
CASES = st.builds(
    BaselineCase,
    NAMES,
    NAMES,
    st.dictionaries(NAMES, SERIES, max_size=2),
    st.dictionaries(NAMES, SCORES, max_size=2),
    st.lists(NAMES, max_size=2).map(tuple),
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(NAMES, CASES, min_size=1, max_size=3))
def test_a_baseline_survives_its_file(tmp_path: Path, cases: Mapping[str, BaselineCase]) -> None:
    baseline = replace(BASELINE, cases=cases)

    save_baseline(tmp_path / "small.json", baseline)

    assert load_baseline(tmp_path / "small.json", DEVICE, "small") == baseline


def test_sessions_of_peak_memory_under_other_loads_do_not_add_up() -> None:
    """All that is not of the whole process keeps its earlier sessions."""

    def run(started: str, *loads: str) -> Run:
        infos = tuple(CaseInfo(f"e-{name}", "e", "latency", name) for name in loads)
        built = CaseRound("e-build", {"load_s": 1.0, "peak_memory_bytes": 1e8})
        rounds = (Round("e", Side.CANDIDATE, 0, started, 1.0, (built,)),)
        return replace(RUN, started=started, cases=(CaseInfo("e-build", "e", "build", "b"), *infos), rounds=rounds)

    first = baseline_from_run(run("1", "c1"), PROVENANCE)
    same = baseline_from_run(run("2", "c1"), PROVENANCE, first)
    other = baseline_from_run(run("3", "c1", "c8"), PROVENANCE, same)

    sizes = [
        [len(one.cases["e-build"].metrics[name].sessions) for name in ("load_s", "peak_memory_bytes")]
        for one in (first, same, other)
    ]
    assert sizes == [[1, 1], [2, 2], [3, 1]]
    assert first.cases["e-build"].loads == same.cases["e-build"].loads != other.cases["e-build"].loads


def test_a_baseline_stands_under_its_device_and_suite() -> None:
    assert baseline_path(Path("baselines"), DEVICE, "small") == Path("baselines/sm_90/h200-141gb/small.json")


def test_no_baseline_is_none(tmp_path: Path) -> None:
    assert find_baseline([], DEVICE, "small") is None
    assert find_baseline([tmp_path, tmp_path / "absent"], DEVICE, "small") is None


def test_the_first_root_that_has_a_baseline_wins(tmp_path: Path) -> None:
    reviewed, local = _saved(tmp_path / "reviewed"), _saved(tmp_path / "local")

    assert find_baseline([tmp_path / "reviewed", tmp_path / "local"], DEVICE, "small") == (reviewed, BASELINE)
    assert find_baseline([tmp_path / "local", tmp_path / "reviewed"], DEVICE, "small") == (local, BASELINE)
    assert find_baseline([tmp_path / "absent", tmp_path / "local"], DEVICE, "small") == (local, BASELINE)


def test_a_damaged_first_baseline_does_not_give_way_to_the_next(tmp_path: Path) -> None:
    _saved(tmp_path / "local")
    damaged = _saved(tmp_path / "reviewed")
    damaged.write_bytes(damaged.read_bytes()[:-10])

    with pytest.raises(RecordError, match="reviewed"):
        find_baseline([tmp_path / "reviewed", tmp_path / "local"], DEVICE, "small")


def test_a_baseline_of_another_device_is_refused(tmp_path: Path) -> None:
    foreign = baseline_path(tmp_path, "sm_80/a100-80gb", "small")
    save_baseline(foreign, BASELINE)

    with pytest.raises(BaselineError, match=r"'sm_90/h200-141gb', this device is 'sm_80/a100-80gb'; .* never cross"):
        find_baseline([tmp_path], "sm_80/a100-80gb", "small")


def test_a_baseline_of_another_suite_is_refused(tmp_path: Path) -> None:
    save_baseline(baseline_path(tmp_path, DEVICE, "large"), BASELINE)

    with pytest.raises(BaselineError, match="belongs to suite 'small', not 'large'"):
        find_baseline([tmp_path], DEVICE, "large")


def test_a_baseline_without_cases_is_refused(tmp_path: Path) -> None:
    save_baseline(baseline_path(tmp_path, DEVICE, "small"), replace(BASELINE, cases={}))

    with pytest.raises(BaselineError, match="holds no case; delete it or accept a run into it"):
        find_baseline([tmp_path], DEVICE, "small")


def test_a_baseline_of_another_schema_is_refused(tmp_path: Path) -> None:
    save_baseline(baseline_path(tmp_path, DEVICE, "small"), replace(BASELINE, schema=BASELINE_SCHEMA + 1))

    with pytest.raises(RecordError, match="has schema 2, this perfgate reads 1"):
        find_baseline([tmp_path], DEVICE, "small")


def test_a_baseline_cut_anywhere_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    whole = path.read_bytes().rstrip(b"\n")

    messages = [_refusal(path, whole[:length]) for length in range(len(whole))]

    assert [message for message in messages if not message.startswith(f"{path} is damaged")] == []


@pytest.mark.parametrize(
    "change", [{"hash": 5}, {"metrics": {"ttft_p50": {"unit": "s", "sessions": [1.0]}}}, {"metrics": None}]
)
def test_a_baseline_edited_wrongly_is_an_error_that_names_the_place(tmp_path: Path, change: dict[str, Any]) -> None:
    path = _saved(tmp_path)
    plain = json.loads(path.read_text())
    plain["cases"]["e-c"] |= change

    assert "$.cases[...]." in _refusal(path, json.dumps(plain).encode())


def test_the_candidates_valid_rounds_become_a_session() -> None:
    made = baseline_from_run(RUN, PROVENANCE)

    assert (made.suite, made.device, made.provenance) == ("small", DEVICE, PROVENANCE)
    assert made.cases == {
        "e-c": BaselineCase(
            "00ff",
            "k1",
            {"ttft_p50": Series("s", ((0.020, 0.021),)), "output_tokens": Series("tokens", ((64.0, 64.0),))},
            runs=(RUN.started,),
        )
    }


def test_sessions_of_the_same_engine_and_case_accumulate_in_order() -> None:
    made = baseline_from_run(RUN, PROVENANCE, BASELINE)

    assert made.cases["e-c"].metrics["ttft_p50"].sessions == ((0.010, 0.011), (0.020, 0.021))
    assert made.cases["e-c"].metrics["output_tokens"].sessions == ((64.0, 64.0),)
    assert made.cases["e-c"].runs == (RUN.started,)


def test_a_run_counts_once_however_often_it_is_accepted() -> None:
    once = baseline_from_run(RUN, PROVENANCE)

    assert baseline_from_run(RUN, PROVENANCE, once).cases == once.cases


def test_a_metric_that_the_newest_run_did_not_measure_keeps_its_sessions() -> None:
    built = replace(CASE, metrics={**CASE.metrics, "build_s": Series("s", ((3.0,),))})

    made = baseline_from_run(RUN, PROVENANCE, replace(BASELINE, cases={"e-c": built}))

    assert made.cases["e-c"].metrics["build_s"] == Series("s", ((3.0,),))


@pytest.mark.parametrize("change", [{"hash": "beef"}, {"engine_key": "k0"}])
def test_sessions_of_another_engine_or_case_are_replaced(change: dict[str, Any]) -> None:
    before = replace(BASELINE, cases={"e-c": replace(CASE, **change)})

    made = baseline_from_run(RUN, PROVENANCE, before)

    assert made.cases == baseline_from_run(RUN, PROVENANCE).cases


def test_cases_that_the_run_did_not_measure_are_kept() -> None:
    before = replace(BASELINE, cases={"other-c": CASE})

    made = baseline_from_run(RUN, PROVENANCE, before)

    assert made.cases["other-c"] == CASE
    assert set(made.cases) == {"other-c", "e-c"}


def test_the_provenance_is_that_of_the_newest_run() -> None:
    newest = replace(PROVENANCE, reason="faster kernels", commit="4e5f607")

    assert baseline_from_run(RUN, newest, BASELINE).provenance == newest


def test_what_was_there_before_is_left_as_it_was() -> None:
    before = replace(BASELINE, cases={"e-c": CASE})

    baseline_from_run(RUN, PROVENANCE, before)

    assert before == BASELINE


def test_a_skipped_case_is_not_accepted() -> None:
    skipped = CaseInfo("f-c", "f", "latency", "00ee", skip="needs sm_89")
    stray = Round("f", Side.CANDIDATE, 9, "", 1.0, (CaseRound("f-c", {"ttft_p50": 1.0}),))

    made = baseline_from_run(replace(RUN, cases=(*RUN.cases, skipped), rounds=(*RUN.rounds, stray)), PROVENANCE)

    assert set(made.cases) == {"e-c"}


def test_a_case_without_valid_rounds_keeps_what_it_had() -> None:
    unmeasured = CaseInfo("g-c", "g", "latency", "00ff")
    before = replace(BASELINE, cases={"g-c": CASE})

    made = baseline_from_run(replace(RUN, cases=(*RUN.cases, unmeasured)), PROVENANCE, before)

    assert made.cases["g-c"] == CASE


def test_a_run_with_a_planted_regression_is_refused() -> None:
    planted = replace(RUN, environment=replace(RUN.environment, inject={"decode": 1.25}))

    with pytest.raises(BaselineError, match=r"--perfgate-inject \{'decode': 1\.25\}; it can never be a baseline"):
        baseline_from_run(planted, PROVENANCE)


@pytest.mark.parametrize(
    "rounds",
    [
        (),
        tuple(one for one in RUN.rounds if one.side is Side.BASELINE),
        tuple(one for one in RUN.rounds if not one.is_valid),
        (Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-c", {"ttft_p50": 1.0}, faults=("short",)),)),),
        (Round("e", Side.CANDIDATE, 0, "", 1.0, (CaseRound("e-c", {}),)),),
    ],
    ids=["none", "baseline only", "invalid only", "case at fault", "no values"],
)
def test_a_run_without_valid_rounds_is_refused(rounds: tuple[Round, ...]) -> None:
    with pytest.raises(BaselineError, match="holds no valid round; nothing was accepted"):
        baseline_from_run(replace(RUN, rounds=rounds), PROVENANCE, BASELINE)


def test_documents_are_those_of_the_first_valid_round_that_scored_them() -> None:
    unscored, baseline, invalid, scored = (
        replace(one, cases=(CaseRound("e-c", {"perplexity": 20.0}, documents=documents),))
        for one, documents in zip(RUN.rounds, [{}, _scores(1.0), _scores(2.0), _scores(3.0)], strict=True)
    )
    run = replace(RUN, rounds=(unscored, baseline, invalid, scored))

    assert documents_of(run, "e-c", Side.CANDIDATE) == _scores(3.0)
    assert documents_of(run, "e-c", Side.BASELINE) == _scores(1.0)
    assert documents_of(run, "other", Side.CANDIDATE) == {}
    assert baseline_from_run(run, PROVENANCE).cases["e-c"].documents == _scores(3.0)


def test_documents_of_a_case_at_fault_are_left_out() -> None:
    case = CaseRound("e-c", {}, documents=_scores(1.0), faults=("not finite",))
    run = replace(RUN, rounds=(Round("e", Side.CANDIDATE, 0, "", 1.0, (case,)),))

    assert documents_of(run, "e-c", Side.CANDIDATE) == {}


def test_the_order_of_cases_and_metrics_does_not_change_the_file(tmp_path: Path) -> None:
    metrics = {"a": Series("s", ((1.0,),)), "b": Series("s", ((2.0,),))}
    case, backwards = replace(CASE, metrics=metrics), replace(CASE, metrics=dict(reversed(metrics.items())))

    save_baseline(tmp_path / "one.json", replace(BASELINE, cases={"x": case, "y": case}))
    save_baseline(tmp_path / "two.json", replace(BASELINE, cases={"y": backwards, "x": backwards}))

    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_names_stand_sorted(tmp_path: Path) -> None:
    metrics = {name: Series("s", ((1.0,),)) for name in ("z", "a", "m")}
    save_baseline(tmp_path / "one.json", replace(BASELINE, cases=dict.fromkeys("zam", replace(CASE, metrics=metrics))))

    plain = json.loads((tmp_path / "one.json").read_text())

    assert list(plain["cases"]) == ["a", "m", "z"]
    assert list(plain["cases"]["a"]["metrics"]) == ["a", "m", "z"]


def test_a_new_session_is_one_line_and_touches_its_neighbour_only(tmp_path: Path) -> None:
    save_baseline(tmp_path / "old.json", BASELINE)
    longer = replace(CASE, metrics={"ttft_p50": Series("s", ((0.010, 0.011), (0.020, 0.021)))})
    save_baseline(tmp_path / "new.json", replace(BASELINE, cases={"e-c": longer}))

    old, new = (set((tmp_path / name).read_text().splitlines()) for name in ("old.json", "new.json"))

    assert {line.strip() for line in new - old} == {"[0.01, 0.011],", "[0.02, 0.021]"}
    assert {line.strip() for line in old - new} == {"[0.01, 0.011]"}


def test_a_changed_case_changes_its_own_block_only(tmp_path: Path) -> None:
    cases = {name: replace(CASE, documents=_scores(1.0)) for name in ("a-c", "e-c", "z-c")}
    save_baseline(tmp_path / "old.json", replace(BASELINE, cases=cases))
    save_baseline(tmp_path / "new.json", replace(BASELINE, cases={**cases, "e-c": replace(CASE, hash="beef")}))

    old, new = ((tmp_path / name).read_text() for name in ("old.json", "new.json"))

    assert old.partition('"e-c"')[0] == new.partition('"e-c"')[0]
    assert old.partition('"z-c"')[2] == new.partition('"z-c"')[2]
    assert old != new


def test_a_document_is_one_line_and_so_is_a_list_of_words(tmp_path: Path) -> None:
    past = (Acceptance("2026-01-01T00:00:00+00:00", "first", "0b1", ("e-c ttft_p50 +9.0 %",)),)
    case = replace(CASE, documents=_scores(1.0))
    save_baseline(
        tmp_path / "one.json",
        replace(BASELINE, cases={"e-c": case}, provenance=replace(PROVENANCE, history=past)),
    )

    lines = [line.strip() for line in (tmp_path / "one.json").read_text().splitlines()]

    assert '"d": {"nll": 1.0, "text_bytes": 40, "tokens": 10}' in lines
    assert '"worse": ["e-c ttft_p50 +9.0 %"]' in lines


def test_a_file_without_the_newer_fields_is_read(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    plain = json.loads(path.read_text())
    del plain["cases"]["e-c"]["runs"]
    for name in ("worse", "left_out", "history"):
        del plain["provenance"][name]
    path.write_text(json.dumps(plain))

    assert load_baseline(path, DEVICE, "small") == BASELINE


def test_an_expired_baseline_is_refused_but_for_renewal(tmp_path: Path) -> None:
    gone = replace(BASELINE, provenance=replace(PROVENANCE, expires="2026-01-15T00:00:00+00:00"))
    path = baseline_path(tmp_path, DEVICE, "small")
    save_baseline(path, gone)

    with pytest.raises(BaselineError, match=r"expired on 2026-01-15T.*--perfgate-update"):
        load_baseline(path, DEVICE, "small")
    assert load_baseline(path, DEVICE, "small", may_be_expired=True) == gone


NOW = datetime(2026, 1, 14, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90d", "2026-04-14T08:00:00+00:00"),
        ("1d", "2026-01-15T08:00:00+00:00"),
        ("2026-12-01", "2026-12-01T00:00:00+00:00"),
    ],
)
def test_an_expiry_is_days_or_a_date(text: str, moment: str) -> None:
    assert parse_expiry("--expires", text, NOW) == moment


@pytest.mark.parametrize("text", ["soon", "90", "-3d", "2026-13-01", "", "90 days", "1e3d"])
def test_another_expiry_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"--expires: found '.*', expected days such as 90d"):
        parse_expiry("--expires", text, NOW)


@pytest.mark.parametrize("text", ["0d", "2026-01-14", "2025-12-31"])
def test_an_expiry_that_is_past_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="which is past"):
        parse_expiry("--expires", text, NOW)


def test_each_case_begins_a_line_and_the_file_ends_one(tmp_path: Path) -> None:
    save_baseline(tmp_path / "one.json", replace(BASELINE, cases={"a-c": CASE, "e-c": CASE}))

    text = (tmp_path / "one.json").read_text()

    assert text.count('\n  "a-c": {\n') == 1
    assert text.count('\n  "e-c": {\n') == 1
    assert text.endswith("}\n")


def _saved(root: Path) -> Path:
    path = baseline_path(root, DEVICE, "small")
    save_baseline(path, BASELINE)
    return path


def _refusal(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(RecordError) as caught:
        load_baseline(path, DEVICE, "small")
    return str(caught.value)


def _scores(nll: float) -> dict[str, DocumentScore]:
    return {"d": DocumentScore(nll, 10, 40)}
