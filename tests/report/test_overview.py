from __future__ import annotations

from examples import case, comparison, verdict

from perfgate.report.overview import mark, matrix, tally
from perfgate.verdict import Verdict


def test_cases_are_counted_gravest_first() -> None:
    assert [(kind, number) for kind, _, _, number in tally(comparison())] == [
        ("regressed", 1),
        ("invalid", 1),
        ("inconclusive", 1),
        ("no-baseline", 1),
        ("ok", 1),
        ("skipped", 1),
    ]


def test_every_verdict_has_a_shape_of_its_own() -> None:
    assert len({mark(one) for one in Verdict}) == len(Verdict)


def test_engines_are_rows_and_workloads_columns() -> None:
    found = matrix(comparison())

    assert found is not None
    assert found.workloads == ("chat", "batch")
    (name, cells) = found.rows[0]
    assert name == "int8"
    assert cells[0] is not None
    assert (cells[0].number, cells[0].kind, cells[0].change) == (0, "regressed", "+24.8 %")
    assert cells[1] is None


def test_cases_that_share_no_workload_are_no_matrix() -> None:
    made = comparison(*(case(f"e{i}-w{i}", verdict(f"e{i}-w{i}", "ttft_p50")) for i in range(9)))

    assert matrix(made) is None
