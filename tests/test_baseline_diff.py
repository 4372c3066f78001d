from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfgate.baseline_diff import diff_baselines, render_diff, render_diff_markdown
from perfgate.baselines import Baseline, BaselineCase, Provenance, Series

OLD = Provenance("2026-01-14T08:00:00+00:00", "first", "A CPU", {"engine": "1.0", "driver": "570"}, "0b1c2d3")
NEW = replace(OLD, versions={"engine": "1.1", "driver": "570"})


def _case(ttft: Sequence[Sequence[float]], key: str = "k1", **metrics: Series) -> BaselineCase:
    return BaselineCase("00ff", key, {"ttft_p50": Series("s", tuple(map(tuple, ttft))), **metrics})


def _baseline(provenance: Provenance, **cases: BaselineCase) -> Baseline:
    return Baseline("small", "cpu/x", provenance, cases)


STEADY = _case([[0.02, 0.02, 0.02]])
BEFORE = _baseline(OLD, kept=STEADY, moved=STEADY, longer=STEADY, gone=STEADY)
AFTER = _baseline(
    NEW,
    kept=STEADY,
    moved=_case([[0.03, 0.03, 0.03, 0.03]], key="k2", output_tokens_per_s=Series("tokens/s", ((2450.0,),))),
    longer=_case([[0.02, 0.02, 0.02], [0.019, 0.019, 0.019]]),
    fresh=STEADY,
)
DIFF = diff_baselines(BEFORE, AFTER)


def test_cases_are_told_apart_by_what_happens_to_them() -> None:
    assert DIFF.added == ("fresh",)
    assert DIFF.removed == ("gone",)
    assert DIFF.replaced == ("moved",)
    assert DIFF.extended == ("longer",)
    assert DIFF.kept == ("kept",)


def test_versions_that_differ_are_named() -> None:
    assert DIFF.versions == {"engine": ("1.0", "1.1")}


def test_each_touched_metric_has_both_medians_and_its_direction() -> None:
    found = {(one.case, one.metric): (one.change, one.word) for one in DIFF.metrics}

    assert round(found["moved", "ttft_p50"][0] or 0.0, 6) == 0.5
    assert found["moved", "ttft_p50"][1] == "worse"
    assert found["longer", "ttft_p50"][1] == "better"
    assert found["moved", "output_tokens_per_s"] == (None, "")
    assert not [case for case, _ in found if case == "kept"]


def test_a_higher_throughput_is_better() -> None:
    slow, fast = (_case([[0.02]], output_tokens_per_s=Series("tokens/s", ((value,),))) for value in (100.0, 110.0))

    (change,) = (
        one
        for one in diff_baselines(_baseline(OLD, a=slow), _baseline(OLD, a=fast)).metrics
        if one.metric == "output_tokens_per_s"
    )

    assert change.word == "better"


def test_the_text_aligns_medians_change_and_rounds() -> None:
    assert render_diff(DIFF, {"ttft_p50"}).splitlines() == [
        "added (1): fresh",
        "removed (1): gone",
        "another engine or definition (1): moved",
        "more sessions of the same engine (1): longer",
        "kept as they are (1): kept",
        "engine: 1.0 -> 1.1",
        "",
        "case    metric    accepted  proposed         change  rounds/sessions",
        "fresh   ttft_p50         -  20.00 ms              -         - -> 3/1",
        "gone    ttft_p50  20.00 ms         -              -         3/1 -> -",
        "longer  ttft_p50  20.00 ms  19.50 ms  -2.5 % better       3/1 -> 6/2",
        "moved   ttft_p50  20.00 ms  30.00 ms  +50.0 % worse       3/1 -> 4/1",
        "",
        "1 metric not gated (-v lists all)",
    ]


def test_markdown_has_a_table_and_escapes_names() -> None:
    hostile = _baseline(OLD, **{"a|b<script>": STEADY})

    told = render_diff_markdown(diff_baselines(None, hostile))

    assert "| case | metric | accepted | proposed | change | rounds/sessions |" in told
    assert "<script>" not in told
    assert "a|b" not in told


def test_equal_baselines_say_so() -> None:
    same = diff_baselines(BEFORE, BEFORE)

    assert render_diff(same).startswith("kept as they are (4)")
    assert same.metrics == ()
